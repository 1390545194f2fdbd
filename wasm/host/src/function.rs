//! Functions: components of the component model, called by requests, events and schedules.

pub(crate) mod journal;
pub(crate) mod limiter;
pub(crate) mod state;
