//! The registry block: where applications are, known to every sidecar that shares a registry.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Component, Result};

/// Applications by their ids, and the addresses of the sidecars beside them.
///
/// An entry stands for one process. It goes when that process takes it back, and a while after the process has gone
/// without a word. Several processes may announce one id: all of them are found.
#[async_trait]
pub trait AppRegistry: Component {
    /// Says under which id, at which address this process is reached, in place of what it said before. `Ok` means that
    /// this is seen to from now on: where the registry cannot be told now, or forgets, it is told again.
    async fn announce(&self, announcement: Announcement) -> Result<()>;

    /// Takes back what this process announced. `Ok` means that it is not found any more, by whoever looks after that.
    /// Taking back nothing succeeds.
    async fn withdraw(&self) -> Result<()>;

    /// The addresses of an id, in the order of their text; none where nobody has it. While the registry cannot be asked,
    /// what was known of it before still holds, and an id nobody was known to have is
    /// [`Unavailable`](crate::ErrorKind::Unavailable), as it may have come since.
    async fn find(&self, app: &str) -> Result<Vec<String>>;
}

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The id of the application beside it; never empty.
    pub app: String,
    /// Where its API is reached: `10.0.0.7:34904`. The registry reads nothing into it.
    pub address: String,
    /// How long it is still found after it has gone without a word. Registries that notice at once need no time.
    pub ttl: Duration,
}
