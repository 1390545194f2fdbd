//! Locks in the Layotto dialect. The fencing token, for which the dialect has no field, goes along as a header.

use outrigger_blocks::{Error, Held, Lease};
use outrigger_proto::layotto as proto;
use outrigger_proto::layotto::lock_keep_alive_response::Status as KeptAlive;
use outrigger_proto::layotto::unlock_response::Status as Unlocked;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Request, Status};

use super::RuntimeService;
use crate::status::{self, Block};

/// Response header of a lock that was got: larger than the token of every earlier holder. Passed to State as the
/// metadata `fencingToken` of a write, it has writes of holders that were overtaken refused.
const TOKEN: &str = "x-outrigger-fencing-token";

impl RuntimeService {
    pub(super) async fn lock_try(
        &self,
        request: Request<proto::TryLockRequest>,
    ) -> Result<(proto::TryLockResponse, MetadataMap), Status> {
        let caller = self.caller(request.metadata())?;
        let proto::TryLockRequest { store_name, resource_id, lock_owner, expire } = request.get_ref();
        let lease = self.blocks.lock.try_lock(&caller, store_name, resource_id, lock_owner, *expire).await;
        let lease = lease.map_err(error)?;
        let mut headers = MetadataMap::new();
        if let Some(Lease { token }) = lease {
            headers.insert(TOKEN, AsciiMetadataValue::from(token));
        }
        Ok((proto::TryLockResponse { success: lease.is_some() }, headers))
    }

    pub(super) async fn lock_unlock(
        &self,
        request: Request<proto::UnlockRequest>,
    ) -> Result<proto::UnlockResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let proto::UnlockRequest { store_name, resource_id, lock_owner } = request.get_ref();
        let held = self.blocks.lock.unlock(&caller, store_name, resource_id, lock_owner).await;
        let status = match held.map_err(error)? {
            Held::Yes => Unlocked::Success,
            Held::Nobody => Unlocked::LockUnexist,
            Held::Other => Unlocked::LockBelongToOthers,
        };
        Ok(proto::UnlockResponse { status: status.into() })
    }

    pub(super) async fn lock_keep(
        &self,
        request: Request<proto::LockKeepAliveRequest>,
    ) -> Result<proto::LockKeepAliveResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let proto::LockKeepAliveRequest { store_name, resource_id, lock_owner, expire } = request.get_ref();
        let held = self.blocks.lock.keep_alive(&caller, store_name, resource_id, lock_owner, *expire).await;
        let status = match held.map_err(error)? {
            Held::Yes => KeptAlive::Success,
            Held::Nobody => KeptAlive::LockUnexist,
            Held::Other => KeptAlive::LockBelongToOthers,
        };
        Ok(proto::LockKeepAliveResponse { status: status.into() })
    }
}

fn error(error: Error) -> Status {
    status::layotto::status(Block::Lock, &error)
}
