//! What managing functions asks of the process. The program implements it; gRPC here and JSON on the admin listener show
//! it.

use std::sync::Arc;

use bytes::Bytes;
use outrigger_blocks::Result;
pub use outrigger_blocks::function::MAX_MODULE;
use outrigger_blocks::function::{FunctionLog, FunctionReport};
use tonic::async_trait;

/// A version to bring in.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    pub name: String,
    pub module: Bytes,
    /// As in the section `functions`, as YAML or JSON. None: as the function is configured now.
    pub config: Option<String>,
    /// In hexadecimal; any other module is refused.
    pub sha256: Option<String>,
    /// The percentage of calls it gets. None: as its configuration says.
    pub weight: Option<u8>,
}

/// What to do with a function's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Give the candidate all calls.
    Promote,
    /// Give the candidate this percentage of calls.
    Weight(u8),
    /// Take the candidate back, or return to the version before.
    Rollback,
}

/// What a function is after a change.
#[derive(Clone, Debug)]
pub struct Changed {
    pub function: FunctionReport,
    /// Whether it is so after a restart.
    pub kept: bool,
}

/// The functions of the process as its operator sees them.
#[async_trait]
pub trait FunctionAdmin: Send + Sync + 'static {
    /// Brings in a version. One that is refused leaves everything as it was.
    async fn deploy(&self, deployment: Deployment) -> Result<Changed>;
    /// Changes who gets which calls.
    async fn change(&self, name: &str, change: Change) -> Result<Changed>;
    /// Takes a function away.
    async fn remove(&self, name: &str) -> Result<()>;
    /// Every function.
    fn list(&self) -> Vec<FunctionReport>;
    /// What a function wrote lately.
    fn logs(&self, name: &str) -> Result<Arc<FunctionLog>>;
}
