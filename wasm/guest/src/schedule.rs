//! Called at the times of a schedule.

pub use crate::bindgen::schedule::exports::outrigger::functions::schedule::Tick;

use crate::Failure;

/// Does what is due.
pub trait Handler {
    /// A failure is logged and counted; the next time comes as scheduled.
    fn handle(tick: Tick) -> Result<(), Failure>;
}
