//! gRPC services, one folder for each dialect.

pub(crate) mod health;
pub(crate) mod layotto;
pub(crate) mod outrigger;
pub(crate) mod reflection;
