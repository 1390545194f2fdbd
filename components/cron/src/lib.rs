//! An input binding that yields an event whenever its schedule says so: `bindings.cron`.

mod binding;
mod clock;
mod expression;
mod schedule;

pub use binding::{CronBinding, CronBindingBackend, CronConfig};
pub use schedule::Schedule;
