//! The suites must be able to fail: one small correct store passes each, and each fault planted into that store is
//! caught by the case whose promise it breaks.

mod configuration;
mod lock;
mod registry;
mod sequencer;
mod state;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether a case fails.
fn fails(case: impl Future<Output = ()>) -> bool {
    catch_unwind(AssertUnwindSafe(|| outrigger_testkit::run_impatiently(case))).is_err()
}

/// One test per fault, named after it: the case must fail on a subject that has it.
macro_rules! caught {
    ($suite:ident, $subject:ident; $($fault:ident by $case:ident)*) => {$(
        #[test]
        #[expect(non_snake_case, reason = "named after the fault and the case")]
        fn $fault() {
            let failed = fails($suite::$case($subject::subject(Fault::$fault)));
            assert!(failed, "{} let {:?} pass", stringify!($case), Fault::$fault);
        }
    )*};
}
use caught;
