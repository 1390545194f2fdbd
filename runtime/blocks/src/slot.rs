//! The place of one configured component: its name and rules, and its backend once there is one.

use std::future::Future;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use outrigger_component_api::{Component, ComponentSpec, Error, Result};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::guard::{Call, Guard, Policy};
use crate::scope::Scopes;

/// What the configuration says about a component, whatever its block.
#[derive(Clone, Debug, Default)]
pub struct SlotConfig {
    /// The name calls use, unique within the block.
    pub name: String,
    /// The component type: `state.sqlite`.
    pub type_name: String,
    /// Who may use it.
    pub scopes: Scopes,
    /// Deadline, retries and breaker of calls to it.
    pub policy: Policy,
}

impl SlotConfig {
    /// What a component's configuration says about its slot.
    pub fn of(spec: &ComponentSpec, policy: Policy) -> Self {
        Self {
            name: spec.name.clone(),
            type_name: spec.r#type.clone(),
            scopes: Scopes::new(spec.scopes.iter().cloned()),
            policy,
        }
    }
}

/// Where a component's backend stands.
pub enum Readiness<T: ?Sized> {
    /// Being built for the first time: calls wait for it, as long as their deadline allows.
    Starting,
    /// Calls go to it.
    Ready(Arc<T>),
    /// It could not be built: calls are told why at once, while somebody keeps trying.
    NotReady {
        /// For the operator and the caller.
        reason: String,
    },
}

/// A configured component of one block. It outlives its backend: whoever holds the slot sees it become ready.
pub struct Slot<T: ?Sized> {
    name: Arc<str>,
    type_name: Box<str>,
    scopes: Scopes,
    guard: Guard,
    readiness: ArcSwap<Readiness<T>>,
    changed: Notify,
    fault: ArcSwapOption<Fault>,
}

impl<T: Component + ?Sized> Slot<T> {
    /// A slot whose backend is [`Readiness::Starting`].
    pub fn new(config: SlotConfig) -> Self {
        Self {
            name: config.name.into(),
            type_name: config.type_name.into(),
            scopes: config.scopes,
            guard: Guard::new(config.policy),
            readiness: ArcSwap::from_pointee(Readiness::Starting),
            changed: Notify::new(),
            fault: ArcSwapOption::empty(),
        }
    }

    /// The name calls use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The component type.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Who may use it.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Where the backend stands at the moment.
    pub fn readiness(&self) -> Arc<Readiness<T>> {
        self.readiness.load_full()
    }

    /// Gives the slot its backend; calls that wait go on.
    pub fn ready(&self, backend: Arc<T>) {
        self.set(Readiness::Ready(backend));
    }

    /// Says why there is no backend; calls that wait end.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Readiness::NotReady { reason: reason.into() });
    }

    fn set(&self, readiness: Readiness<T>) {
        self.readiness.store(Arc::new(readiness));
        self.changed.notify_waiters();
    }

    /// Runs one operation on the backend, under this component's policy.
    pub async fn run<R, F: Future<Output = Result<R>>>(
        &self,
        call: Call<'_>,
        operation: impl Fn(Arc<T>) -> F,
    ) -> Result<R> {
        let attempt = |backend| {
            let fault = self.fault.load().as_deref().copied();
            let attempt = operation(backend);
            async move {
                if let Some(fault) = fault {
                    fault.strike().await?;
                }
                attempt.await
            }
        };
        self.guard.run(call, |deadline| self.backend(deadline), attempt).await
    }

    /// Has every attempt from now on meet this fault; `None` ends it.
    pub fn inject(&self, fault: Option<Fault>) {
        self.fault.store(fault.map(Arc::new));
    }

    /// The backend, waiting until `deadline` for one that is starting.
    async fn backend(&self, deadline: Instant) -> Result<Arc<T>> {
        if let Readiness::Ready(backend) = &**self.readiness.load() {
            return Ok(Arc::clone(backend));
        }
        loop {
            // Registered before looking, so that a change in between is not missed.
            let changed = self.changed.notified();
            match &*self.readiness.load_full() {
                Readiness::Ready(backend) => return Ok(Arc::clone(backend)),
                Readiness::NotReady { reason } => return Err(self.unavailable(reason)),
                Readiness::Starting => {}
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(self.unavailable("it is still starting"));
            }
        }
    }

    fn unavailable(&self, reason: &str) -> Error {
        Error::unavailable(format!("component '{}' is not ready: {reason}", self.name))
    }
}
