//! Faults a test injects into a component: its calls then meet deadlines, retries and breakers as if the backend itself
//! were at fault.

use std::time::Duration;

use outrigger_component_api::{Error, ErrorKind, Result};

/// What is wrong with a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Each attempt takes this much longer.
    Slow(Duration),
    /// Each attempt finds nobody there.
    Gone,
    /// Each attempt fails in this way.
    Failing(ErrorKind),
}

impl Fault {
    /// What an attempt meets before it reaches the backend.
    pub(crate) async fn strike(self) -> Result<()> {
        match self {
            Self::Slow(delay) => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            Self::Gone => Err(Error::unavailable("the backend is gone (an injected fault)")),
            Self::Failing(kind) => Err(Error::new(kind, "the backend failed (an injected fault)")),
        }
    }
}
