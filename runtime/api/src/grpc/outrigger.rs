//! The services of `outrigger.v1`.

mod actuator;

pub(crate) use actuator::ActuatorService;
