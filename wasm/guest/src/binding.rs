//! Called for events of input bindings.

pub use crate::bindgen::binding::exports::outrigger::functions::binding::Input;

use crate::Failure;

/// Handles what a binding reads.
pub trait Handler {
    /// After a failure the event is delivered again, as the binding's settings say.
    fn handle(input: Input) -> Result<(), Failure>;
}
