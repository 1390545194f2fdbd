//! The Layotto API of the running program, as a client of its protos calls it.

use outrigger_proto::layotto::{lifecycle_client::LifecycleClient, runtime_client::RuntimeClient};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::program::Program;

pub(crate) struct Client {
    pub(crate) runtime: RuntimeClient<Channel>,
    pub(crate) lifecycle: LifecycleClient<Channel>,
}

/// Runs a test's calls to their end.
pub(crate) fn run<T>(program: &Program, calls: impl AsyncFnOnce(&mut Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", program.api())).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let runtime = RuntimeClient::new(channel.clone());
        calls(&mut Client { runtime, lifecycle: LifecycleClient::new(channel) }).await
    })
}

/// The code, words of the message, and the kind that goes along.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, words: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(words), "{words}: {status}");
    assert!(status.metadata().contains_key("x-outrigger-reason"), "{status}");
}
