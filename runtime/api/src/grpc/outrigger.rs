//! The services of `outrigger.v1`.

mod actuator;
mod functions;

pub(crate) use actuator::ActuatorService;
pub(crate) use functions::FunctionsService;
