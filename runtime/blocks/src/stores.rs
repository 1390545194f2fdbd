//! The components of one block, found by name and replaced on reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use outrigger_component_api::{Built, Component, ComponentSpec, Error, ErrorKind, Result, nearest};
use tokio::sync::watch;

use crate::caller::Caller;
use crate::fault::Fault;
use crate::guard::{Meter, Policy};
use crate::health::ComponentReport;
use crate::slot::{Readiness, Slot};
use crate::stay::{Stay, stopping};

/// What a block keeps for each of its components: a slot, and whatever else the block needs beside it.
pub trait Member: Sized + Send + Sync + 'static {
    /// The block's trait: `dyn StateStore`.
    type Block: Component + ?Sized;
    /// The block's name in metrics, logs and the actuator: `state`.
    const BLOCK: &'static str;
    /// What the block calls such a component in messages: `state store`.
    const NOUN: &'static str;
    /// The field by which calls name it.
    const FIELD: &'static str = "store_name";
    /// A member as configured, still starting. The block's own settings are taken out of `spec`; the rest is the
    /// backend's.
    fn from_spec(spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Self>;
    /// Its slot.
    fn slot(&self) -> &Slot<Self::Block>;
    /// The backend of this block in what was built, if it is one.
    fn backend(built: &Built) -> Option<&Arc<Self::Block>>;
    /// What a backend can do beyond the basics, as the ecosystem spells it.
    fn capabilities(_: &Self::Block) -> Vec<&'static str> {
        Vec::new()
    }
    /// How it is doing.
    fn report(&self) -> impl Future<Output = ComponentReport> + Send {
        async {
            let slot = self.slot();
            let capabilities = match &*slot.readiness() {
                Readiness::Ready(backend) => Self::capabilities(backend),
                Readiness::Starting | Readiness::NotReady { .. } => Vec::new(),
            };
            ComponentReport {
                block: Self::BLOCK,
                name: slot.name().to_owned(),
                type_name: slot.type_name().to_owned(),
                health: slot.health().await,
                capabilities,
            }
        }
    }
}

/// The members of one block by name.
pub struct Stores<M> {
    members: ArcSwap<BTreeMap<String, Arc<M>>>,
    /// Told whenever the members are others; whether the process takes its leave.
    changes: watch::Sender<bool>,
}

impl<M> Default for Stores<M> {
    fn default() -> Self {
        Self { members: ArcSwap::default(), changes: watch::Sender::new(false) }
    }
}

impl<M: Member> Stores<M> {
    /// The member of this name, if the caller may use it.
    ///
    /// None configured at all is [`FailedPrecondition`](ErrorKind::FailedPrecondition), an unknown name is
    /// [`NotConfigured`](ErrorKind::NotConfigured) with the nearest one, and one not open to the caller is
    /// [`PermissionDenied`](ErrorKind::PermissionDenied).
    pub fn find(&self, caller: &Caller<'_>, name: &str) -> Result<Arc<M>> {
        let members = self.members.load();
        let Some(member) = members.get(name) else { return Err(missing::<M>(&members, name)) };
        let slot = member.slot();
        slot.scopes().check(slot.name(), caller.app_id)?;
        Ok(Arc::clone(member))
    }

    /// The same for longer than a call: whoever stays is told when that has to end. After [`Stores::close`] nobody may
    /// begin to, which is [`Unavailable`](ErrorKind::Unavailable).
    pub(crate) fn stay(self: &Arc<Self>, caller: &Caller<'_>, name: &str) -> Result<Stay<M>> {
        // Before the member is looked up, so that no change in between is missed.
        let changes = self.changes();
        if *changes.borrow() {
            return Err(stopping());
        }
        Ok(Stay::new(Arc::clone(self), self.find(caller, name)?, caller.app_id, changes))
    }

    /// Makes these the members. Calls under way finish on the ones they found; who stays with one that is no longer
    /// there, or not open to them any more, has to end.
    pub fn replace(&self, members: impl IntoIterator<Item = Arc<M>>) {
        let members = members.into_iter().map(|member| (member.slot().name().to_owned(), member)).collect();
        self.members.store(Arc::new(members));
        self.changes.send_modify(|_| {});
    }

    /// Ends every stay: the process takes its leave. Calls are answered as before.
    pub fn close(&self) {
        self.changes.send_replace(true);
    }

    /// Told whenever the members are others, or the process takes its leave, which is `true`.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.changes.subscribe()
    }

    /// How each member is doing, found out by asking all at once.
    pub async fn report(&self) -> Vec<ComponentReport> {
        let members = self.all();
        futures_util::future::join_all(members.iter().map(|member| member.report())).await
    }

    /// Injects a fault into the member of this name; whether there is one.
    pub(crate) fn inject(&self, name: &str, fault: Option<Fault>) -> bool {
        let members = self.members.load();
        let member = members.get(name);
        if let Some(member) = member {
            member.slot().inject(fault);
        }
        member.is_some()
    }

    /// Every member, in the order of names.
    pub fn all(&self) -> Vec<Arc<M>> {
        self.members.load().values().cloned().collect()
    }
}

fn missing<M: Member>(members: &BTreeMap<String, Arc<M>>, name: &str) -> Error {
    let noun = M::NOUN;
    if members.is_empty() {
        let message = format!("no {noun} is configured: add one under 'components'");
        return Error::new(ErrorKind::FailedPrecondition, message);
    }
    let names = members.keys().map(String::as_str);
    let message = match nearest(name, names.clone()) {
        _ if name.is_empty() => format!("{} is empty; {noun}s configured: {}", M::FIELD, join(names)),
        Some(near) => format!("{noun} '{name}' is not configured; did you mean '{near}'?"),
        None => format!("{noun} '{name}' is not configured; there are: {}", join(names)),
    };
    Error::new(ErrorKind::NotConfigured, message)
}

pub(crate) fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    /// Enough to recognise one's own configuration.
    const SHOWN: usize = 10;
    names.take(SHOWN).collect::<Vec<_>>().join(", ")
}
