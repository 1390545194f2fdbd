//! Behaviour suites every backend of a block must pass.
//!
//! A backend's integration test is one line, `outrigger_testkit::state_suite!(RedisState::for_test().await);`, and
//! makes one named test per promise of the trait. The expression is evaluated once per test, inside a runtime, and
//! gives a [`Subject`] (or the `Arc` of a store, or an `Option` of either, where `None` means that the server the
//! backend needs is not there).
//!
//! Suites share servers with each other and with earlier runs, so every case makes up its own keys.

#![expect(clippy::panic, clippy::indexing_slicing, reason = "this crate is tests: a panic is a verdict")]

pub mod configuration;
mod crowd;
pub mod file;
pub mod history;
pub mod lock;
mod names;
mod ports;
pub mod pubsub;
pub mod registry;
pub mod relay;
pub mod secrets;
pub mod sequencer;
pub mod state;
mod subject;

pub use crowd::{CALLERS, contend};
pub use names::{unique_key, unique_name};
pub use ports::free_port;
pub(crate) use subject::patience;
pub use subject::{IntoSubject, Subject, in_other_runtime, run, run_impatiently};

/// Makes the named cases of a suite's module tests against what the expression makes: the one way every `*_suite!` runs.
#[doc(hidden)]
#[macro_export]
macro_rules! cases {
    ($make:expr, $suite:ident, $block:path; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::run(async {
                    use $crate::IntoSubject as _;
                    let subject: Option<$crate::Subject<dyn $block>> = ($make).into_subject();
                    if let Some(subject) = subject {
                        $crate::$suite::$case(subject.handle()).await;
                    }
                });
            }
        )*
    };
}
