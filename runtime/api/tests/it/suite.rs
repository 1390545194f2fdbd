//! The behaviour suites through everything: client, gRPC, block, backend. Each block has a component here that is only
//! its client; what the dialect has no words for, it does not claim or refuses itself, and says so.

mod configuration;
mod file;
mod lock;
mod pubsub;
mod secrets;
mod sequencer;
mod state;

use std::any::Any;
use std::time::Duration;

use outrigger_component_api::{Error, ErrorKind, Key, Result};
use outrigger_sdk as sdk;
use outrigger_sqlite::SqliteConfig;
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::harness::Sidecar;

/// What a call may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What must outlive a component: the folder of its file.
type Kept = Box<dyn Any>;

/// A component at the other end of a connection. Server and client have a runtime of their own, because the suites call
/// from several and end some of them.
struct Remote<S> {
    client: S,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
}

impl<S: Clone + Send + 'static> Remote<S> {
    /// A sidecar with what `seat` puts there, and a client of it.
    fn start(
        seat: impl FnOnce(&Sidecar) -> Kept + Send + 'static,
        of: impl FnOnce(&sdk::Client) -> S + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (started, start) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let sidecar = Sidecar::new();
                let _kept = seat(&sidecar);
                let served = sidecar.serve().await;
                let endpoint = served.endpoint.clone();
                let (timeout, connect_timeout) = (PATIENCE, PATIENCE);
                let options = sdk::Options { endpoint, timeout, connect_timeout, ..sdk::Options::default() };
                let client = sdk::Client::connect_with(options).await.unwrap();
                started.send((of(&client), Handle::current())).unwrap();
                let _stopped = stopped.await;
            });
        });
        let (client, runtime) = start.recv().unwrap();
        Self { client, runtime, stop: Some(stop) }
    }

    async fn call<T: Send + 'static, F: Future<Output = sdk::Result<T>> + Send + 'static>(
        &self,
        call: impl FnOnce(S) -> F,
    ) -> Result<T> {
        let answer = self.runtime.spawn(call(self.client.clone())).await;
        answer.expect("the remote runtime lives as long as this").map_err(error)
    }
}

impl<S> Drop for Remote<S> {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

/// Nothing to keep.
fn nothing() -> Kept {
    Box::new(())
}

/// A new file for SQLite, and the folder it is in.
fn new_file() -> (SqliteConfig, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = Some(folder.path().join("outrigger.db"));
    (SqliteConfig { path, ..SqliteConfig::default() }, folder)
}

fn text(key: &Key) -> Result<String> {
    String::from_utf8(key.as_bytes().to_vec()).map_err(|_| Error::invalid("the wire has keys of text only"))
}

/// The sidecar's word for it, as the blocks have it.
fn error(error: sdk::Error) -> Error {
    use sdk::ErrorKind as Sdk;
    let kind = match error.kind() {
        Sdk::NotFound => ErrorKind::NotFound,
        Sdk::Conflict => ErrorKind::Conflict,
        Sdk::FailedPrecondition => ErrorKind::FailedPrecondition,
        Sdk::InvalidArgument => ErrorKind::InvalidArgument,
        Sdk::Unsupported => ErrorKind::Unsupported,
        Sdk::RateLimited => ErrorKind::RateLimited,
        Sdk::Unavailable => ErrorKind::Unavailable,
        other => unreachable!("{other:?}: {error}"),
    };
    Error::new(kind, error.to_string())
}
