//! Locks over gRPC: the token in the header, the codes of what is wrong, and fencing in state.

use std::collections::BTreeMap;

use outrigger_api::access::Access;
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::runtime_client::RuntimeClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::Sidecar;

type Client = RuntimeClient<Channel>;

const TOKEN: &str = "x-outrigger-fencing-token";

/// Whether it was got, and the token.
async fn try_lock(
    client: &mut Client,
    store: &str,
    resource: &str,
    owner: &str,
    expire: i32,
) -> Result<(bool, Option<u64>), Status> {
    let (store_name, resource_id, lock_owner) = (store.into(), resource.into(), owner.into());
    let request = proto::TryLockRequest { store_name, resource_id, lock_owner, expire };
    let answer = client.try_lock(request).await?;
    let token = answer.metadata().get(TOKEN).map(|token| token.to_str().unwrap().parse().unwrap());
    Ok((answer.into_inner().success, token))
}

async fn unlock(client: &mut Client, store: &str, resource: &str, owner: &str) -> Result<i32, Status> {
    let (store_name, resource_id, lock_owner) = (store.into(), resource.into(), owner.into());
    let request = proto::UnlockRequest { store_name, resource_id, lock_owner };
    client.unlock(request).await.map(|answer| answer.into_inner().status)
}

async fn keep_alive(
    client: &mut Client,
    store: &str,
    resource: &str,
    owner: &str,
    expire: i32,
) -> Result<i32, Status> {
    let (store_name, resource_id, lock_owner) = (store.into(), resource.into(), owner.into());
    let request = proto::LockKeepAliveRequest { store_name, resource_id, lock_owner, expire };
    client.lock_keep_alive(request).await.map(|answer| answer.into_inner().status)
}

#[tokio::test]
async fn a_lock_is_held_kept_and_given_back() {
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    let (got, first) = try_lock(c, "lock", "r", "a", 100).await.unwrap();
    assert!(got && first.is_some());
    assert_eq!(try_lock(c, "lock", "r", "a", 100).await.unwrap(), (false, None), "the same owner");
    assert_eq!(try_lock(c, "lock", "r", "b", 100).await.unwrap(), (false, None));
    assert_eq!(keep_alive(c, "lock", "r", "a", 200).await.unwrap(), 0);
    assert_eq!(keep_alive(c, "lock", "r", "b", 200).await.unwrap(), 2, "it belongs to others");
    assert_eq!(unlock(c, "lock", "r", "b").await.unwrap(), 2);
    assert_eq!(unlock(c, "lock", "r", "a").await.unwrap(), 0);
    assert_eq!(unlock(c, "lock", "r", "a").await.unwrap(), 1, "it does not exist");
    assert_eq!(keep_alive(c, "lock", "r", "a", 200).await.unwrap(), 1);
    let (got, second) = try_lock(c, "lock", "r", "b", 100).await.unwrap();
    assert!(got && second > first, "{first:?} {second:?}");
}

#[tokio::test]
async fn every_bad_value_has_its_code_and_names_its_field() {
    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, names: &str) {
        let status = result.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(names), "{names}: {status}");
        assert!(status.metadata().contains_key("x-outrigger-reason"), "{status}");
    }
    use Code::{FailedPrecondition, InvalidArgument};
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    refused(try_lock(c, "lok", "r", "o", 1).await, InvalidArgument, "did you mean 'lock'?");
    refused(try_lock(c, "", "r", "o", 1).await, InvalidArgument, "store_name is empty");
    refused(try_lock(c, "lock", "", "o", 1).await, InvalidArgument, "resource_id is empty");
    refused(try_lock(c, "lock", "a||b", "o", 1).await, InvalidArgument, "resource_id 'a||b'");
    refused(try_lock(c, "lock", "r", "", 1).await, InvalidArgument, "lock_owner is empty");
    refused(try_lock(c, "lock", "r", "o", 0).await, InvalidArgument, "expire is 0");
    refused(try_lock(c, "lock", "r", "o", -5).await, InvalidArgument, "expire is -5");
    refused(unlock(c, "lok", "r", "o").await, InvalidArgument, "'lok'");
    refused(unlock(c, "lock", "", "o").await, InvalidArgument, "resource_id");
    refused(unlock(c, "lock", "a||b", "o").await, InvalidArgument, "resource_id");
    refused(unlock(c, "lock", "r", "").await, InvalidArgument, "lock_owner");
    refused(keep_alive(c, "lok", "r", "o", 1).await, InvalidArgument, "'lok'");
    refused(keep_alive(c, "lock", "", "o", 1).await, InvalidArgument, "resource_id");
    refused(keep_alive(c, "lock", "r", "", 1).await, InvalidArgument, "lock_owner");
    refused(keep_alive(c, "lock", "r", "o", 0).await, InvalidArgument, "expire is 0");

    let served = Sidecar::empty(Access::default()).serve().await;
    let c = &mut served.runtime().await;
    refused(try_lock(c, "lock", "r", "o", 1).await, FailedPrecondition, "no lock store is configured");
    refused(unlock(c, "lock", "r", "o").await, FailedPrecondition, "no lock store");
    refused(keep_alive(c, "lock", "r", "o", 1).await, FailedPrecondition, "no lock store");
}

fn fenced(key: &str, token: impl ToString) -> proto::StateItem {
    let metadata = BTreeMap::from([("fencingToken".to_owned(), token.to_string())]);
    proto::StateItem { key: key.to_owned(), value: "v".into(), metadata, ..Default::default() }
}

/// Each way to write, with a token.
async fn writes(client: &mut Client, key: &str, token: impl ToString) -> [(&'static str, Option<Code>); 5] {
    let store = || "state".to_owned();
    let item = || fenced(key, token.to_string());
    let transact = async |client: &mut Client, kind: &str| {
        let operation =
            proto::TransactionalStateOperation { operation_type: kind.into(), request: Some(item()) };
        let operations = vec![operation];
        let request =
            proto::ExecuteStateTransactionRequest { store_name: store(), operations, ..Default::default() };
        client.execute_state_transaction(request).await.map(drop)
    };
    let save = client.save_state(proto::SaveStateRequest { store_name: store(), states: vec![item()] });
    let save = save.await.map(drop);
    let proto::StateItem { key, metadata, .. } = item();
    let delete = proto::DeleteStateRequest { store_name: store(), key, metadata, ..Default::default() };
    let delete = client.delete_state(delete).await.map(drop);
    let states = vec![item()];
    let bulk = client.delete_bulk_state(proto::DeleteBulkStateRequest { store_name: store(), states }).await;
    let (upsert, remove) = (transact(client, "upsert").await, transact(client, "delete").await);
    [("save", save), ("delete", delete), ("bulk", bulk.map(drop)), ("upsert", upsert), ("remove", remove)]
        .map(|(way, result)| (way, result.err().map(|status| status.code())))
}

#[tokio::test]
async fn an_overtaken_holder_cannot_write() {
    let served = Sidecar::whole().serve().await;
    let c = &mut served.runtime().await;
    let (_, first) = try_lock(c, "lock", "r", "a", 100).await.unwrap();
    assert_eq!(unlock(c, "lock", "r", "a").await.unwrap(), 0);
    let (_, second) = try_lock(c, "lock", "r", "b", 100).await.unwrap();
    let (first, second) = (first.unwrap(), second.unwrap());
    for (way, code) in writes(c, "k", first).await {
        assert_eq!(code, None, "{way} of the first holder");
    }
    for (way, code) in writes(c, "k", second).await {
        assert_eq!(code, None, "{way} of the second holder");
    }
    for (way, code) in writes(c, "k", first).await {
        assert_eq!(code, Some(Code::Aborted), "{way} of the first holder, who was overtaken");
    }
    for (way, code) in writes(c, "k", "seven").await {
        assert_eq!(code, Some(Code::InvalidArgument), "{way} with what is not a token");
    }
}
