//! Staying with a component for longer than a call, as subscriptions and watches do: until a reload takes it away or puts
//! another in its place, the caller may not use it any more, or the process takes its leave.

use std::sync::Arc;

use outrigger_component_api::{Error, Result};
use tokio::sync::watch;

use crate::caller::Caller;
use crate::stores::{Member, Stores};

/// One member somebody stays with.
pub(crate) struct Stay<M> {
    stores: Arc<Stores<M>>,
    member: Arc<M>,
    app_id: String,
    /// Told when the members are others.
    changes: watch::Receiver<bool>,
}

impl<M: Member> Stay<M> {
    pub(crate) fn new(
        stores: Arc<Stores<M>>,
        member: Arc<M>,
        app_id: &str,
        changes: watch::Receiver<bool>,
    ) -> Self {
        Self { stores, member, app_id: app_id.to_owned(), changes }
    }

    /// The member found.
    pub(crate) fn member(&self) -> &Arc<M> {
        &self.member
    }

    /// Waits until this has to end; the error says why. Dropping the future loses nothing.
    pub(crate) async fn over(&mut self) -> Error {
        loop {
            if self.changes.changed().await.is_err() {
                return stopping();
            }
            if let Err(error) = self.still_there() {
                return error;
            }
        }
    }

    fn still_there(&self) -> Result<()> {
        if *self.changes.borrow() {
            return Err(stopping());
        }
        let name = self.member.slot().name();
        let now = self.stores.find(&Caller::new(&self.app_id), name)?;
        if Arc::ptr_eq(&now, &self.member) {
            return Ok(());
        }
        Err(Error::unavailable(format!("component '{name}' was replaced: subscribe again")))
    }
}

/// What is said to whoever wants to stay while the process takes its leave.
pub(crate) fn stopping() -> Error {
    Error::unavailable("the sidecar is stopping")
}
