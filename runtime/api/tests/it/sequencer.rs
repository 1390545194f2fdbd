//! Sequences over gRPC: both kinds of increment, and the codes of what is wrong.

use outrigger_api::access::Access;
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::runtime_client::RuntimeClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::Sidecar;

async fn next(
    client: &mut RuntimeClient<Channel>,
    store: &str,
    key: &str,
    increment: Option<i32>,
) -> Result<i64, Status> {
    let options = increment.map(|increment| proto::SequencerOptions { increment });
    let (store_name, key) = (store.into(), key.into());
    let request = proto::GetNextIdRequest { store_name, key, options, ..Default::default() };
    client.get_next_id(request).await.map(|answer| answer.into_inner().next_id)
}

#[tokio::test]
async fn numbers_begin_at_one_and_grow() {
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    for expected in 1..=10 {
        assert_eq!(next(c, "sequencer", "strong", Some(1)).await.unwrap(), expected);
        assert_eq!(next(c, "sequencer", "weak", Some(0)).await.unwrap(), expected);
        assert_eq!(next(c, "sequencer", "left-out", None).await.unwrap(), expected);
    }
    assert_eq!(next(c, "sequencer", "strong", Some(1)).await.unwrap(), 11, "nothing was taken in advance");
    assert_eq!(next(c, "sequencer", "weak", Some(1)).await.unwrap(), 10_001, "weak numbers were");
    assert_eq!(next(c, "sequencer", "left-out", Some(1)).await.unwrap(), 10_001, "weak when not told");
}

#[tokio::test]
async fn every_bad_value_has_its_code_and_names_its_field() {
    #[track_caller]
    fn refused(result: Result<i64, Status>, code: Code, names: &str) {
        let status = result.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(names), "{names}: {status}");
    }
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    refused(next(c, "sequence", "k", None).await, Code::InvalidArgument, "did you mean 'sequencer'?");
    refused(next(c, "sequencer", "", None).await, Code::InvalidArgument, "key is empty");
    refused(next(c, "sequencer", "a||b", Some(1)).await, Code::InvalidArgument, "key 'a||b'");
    refused(next(c, "sequencer", "k", Some(7)).await, Code::InvalidArgument, "options.increment");
    let served = Sidecar::empty(Access::default()).serve().await;
    let c = &mut served.runtime().await;
    refused(next(c, "sequencer", "k", None).await, Code::FailedPrecondition, "no sequencer is configured");
}
