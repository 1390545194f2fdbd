//! The components of a configuration: built in the background, retried until they work, and kept across reloads that
//! do not touch them.

pub mod backing;

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use outrigger_blocks::{
    Blocks, BrokerComponent, ConfigurationComponent, FileComponent, GreeterComponent, InputComponent,
    LockComponent, Member, Meter, OutputComponent, Policy, Readiness, RegistryComponent, SecretComponent,
    SequencerComponent, StateComponent,
};
use outrigger_component_api::{BlockKind, ComponentSpec, Registry, Result};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    config::{Config, native::ComponentConfig},
    secrets,
};
use backing::{Backing, Source, State};

/// What runs for one configuration.
#[derive(Default)]
pub struct Components {
    live: BTreeMap<String, Live>,
}

/// One component. Cloned into the next configuration as long as nothing about it changes.
#[derive(Clone)]
struct Live {
    config: ComponentConfig,
    app_id: String,
    kind: BlockKind,
    backing: Arc<Backing>,
    seat: Seat,
}

/// What the component is to its block: an `Arc` of the block's [`Member`].
#[derive(Clone)]
struct Seat {
    member: Arc<dyn Any + Send + Sync>,
    _feed: Arc<Feed>,
}

/// Carries a backing's readiness into a slot; stops with its last owner.
struct Feed(JoinHandle<()>);

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What changed from one configuration to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Changes {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub kept: usize,
}

impl Components {
    /// The components of `config`, taking over from `previous` what is the same: all of it where nothing changed,
    /// the backend where only rules changed (scopes, policy, prefix). Those in `outdated` are made anew. The config has
    /// been checked.
    pub fn compile(
        config: &Config,
        registry: &Arc<Registry>,
        blocks: &Blocks,
        previous: &Components,
        outdated: &BTreeSet<String>,
    ) -> anyhow::Result<(Self, Changes)> {
        let mut next = Self::default();
        let mut changes = Changes::default();
        // Secret stores first: the others may take settings from them.
        let is_secrets = |c: &ComponentConfig| kind(registry, c) == Some(BlockKind::Secrets);
        let (stores, others): (Vec<_>, Vec<_>) = config.components.iter().partition(|(_, c)| is_secrets(c));
        for (name, component) in stores.into_iter().chain(others) {
            let known = previous.live.get(name);
            let fresh = known.filter(|_| !outdated.contains(name));
            let same = fresh.filter(|live| live.config == *component && live.app_id == config.app.id);
            let live = match same {
                Some(live) if next.still_resolves(previous, &live.backing) => {
                    changes.kept += 1;
                    live.clone()
                }
                _ => {
                    let live = match next.start(name, component, &config.app.id, registry, blocks, fresh) {
                        Ok(live) => live,
                        // A foreign file may ask for more than there is.
                        Err(error) if component.block.is_some() => {
                            tracing::warn!(component = %name, %error, "component left out");
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    if known.is_some() { &mut changes.changed } else { &mut changes.added }
                        .push(name.clone());
                    live
                }
            };
            next.live.insert(name.clone(), live);
        }
        changes.removed =
            previous.live.keys().filter(|name| !next.live.contains_key(*name)).cloned().collect();
        Ok((next, changes))
    }

    /// Those whose secrets are others by now.
    pub async fn outdated(&self) -> BTreeSet<String> {
        let asked =
            self.live.iter().map(async |(name, live)| live.backing.is_outdated().await.then(|| name.clone()));
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Whether the secret stores a backing took its settings from are the ones it would take them from now.
    fn still_resolves(&self, previous: &Components, backing: &Backing) -> bool {
        backing.stores().iter().all(|store| match (self.live.get(store), previous.live.get(store)) {
            (Some(now), Some(then)) => Arc::ptr_eq(&now.backing, &then.backing),
            _ => false,
        })
    }

    fn start(
        &self,
        name: &str,
        config: &ComponentConfig,
        app_id: &str,
        registry: &Arc<Registry>,
        blocks: &Blocks,
        known: Option<&Live>,
    ) -> anyhow::Result<Live> {
        let mut spec = ComponentSpec {
            name: config.name(name).to_owned(),
            r#type: config.r#type.clone(),
            settings: config.settings.clone(),
            scopes: config.scopes.clone(),
        };
        let kind = match kind(registry, config) {
            Some(kind) => kind,
            None => registry.find(&spec.r#type)?.kind,
        };
        let placed = place(kind, &mut spec, config.policy, blocks.meter())?;
        let source = Source { spec, app_id: app_id.to_owned(), stores: self.stores() };
        let reusable = known.filter(|live| live.backing.is_of(&source));
        let backing = match reusable {
            Some(live) => Arc::clone(&live.backing),
            None => Arc::new(Backing::start(source, Arc::clone(registry))),
        };
        let seat = placed(backing.watch());
        Ok(Live { config: config.clone(), app_id: app_id.to_owned(), kind, backing, seat })
    }

    /// The secret stores, which serve `secretRef` besides calls.
    fn stores(&self) -> BTreeMap<String, Arc<Backing>> {
        let stores = self.live.iter().filter(|(_, live)| live.kind == BlockKind::Secrets);
        stores.map(|(name, live)| (name.clone(), Arc::clone(&live.backing))).collect()
    }

    /// A secret store by its key.
    pub fn secret_store(&self, key: &str) -> Option<Arc<Backing>> {
        self.live
            .get(key)
            .filter(|live| live.kind == BlockKind::Secrets)
            .map(|live| Arc::clone(&live.backing))
    }

    /// Makes these the components that calls find.
    pub fn install(&self, blocks: &Blocks) {
        blocks.state.stores.replace(self.members());
        blocks.secrets.stores.replace(self.members());
        blocks.configuration.stores.replace(self.members());
        blocks.lock.stores.replace(self.members());
        blocks.sequencer.stores.replace(self.members());
        blocks.hello.greeters.replace(self.members());
        blocks.files.stores.replace(self.members());
        blocks.bindings.outputs.replace(self.members());
        blocks.bindings.inputs.replace(self.members());
        blocks.invoke.registries.replace(self.members());
        blocks.pubsub.brokers.replace(self.members());
    }

    /// The members of one block.
    fn members<M: Member>(&self) -> Vec<Arc<M>> {
        self.live.values().filter_map(|live| Arc::clone(&live.seat.member).downcast::<M>().ok()).collect()
    }

    /// Name and type of every component.
    pub fn types(&self) -> impl Iterator<Item = (&str, &str)> {
        self.live.iter().map(|(name, live)| (name.as_str(), live.config.r#type.as_str()))
    }
}

/// The files secrets in the settings of `config` come from, as far as the stores know of any.
pub fn secret_files(config: &Config, registry: &Registry) -> BTreeSet<PathBuf> {
    let references =
        config.components.values().flat_map(|component| secrets::references(&component.settings));
    let stores = references.filter_map(|(_, reference)| Some(reference.ok()?.store));
    let specs = stores.filter_map(|name| {
        let store = config.components.get(&name)?;
        let (r#type, settings) = (store.r#type.clone(), store.settings.clone());
        Some(ComponentSpec { name, r#type, settings, scopes: Vec::new() })
    });
    // What is wrong with a store is told where it is built.
    specs.filter_map(|spec| registry.files(&spec).ok()).flatten().collect()
}

/// The block of a component, whose type may not exist.
fn kind(registry: &Registry, component: &ComponentConfig) -> Option<BlockKind> {
    registry.find(&component.r#type).ok().map(|info| info.kind).or(component.block)
}

/// A member that waits for the backing that feeds it.
type Placed = Box<dyn FnOnce(watch::Receiver<State>) -> Seat>;

/// Puts a component where its block expects it; what comes back joins it to its backend.
fn place(kind: BlockKind, spec: &mut ComponentSpec, policy: Policy, meter: &Meter) -> Result<Placed> {
    Ok(match kind {
        BlockKind::State => seat(StateComponent::from_spec(spec, policy, meter)?),
        BlockKind::Secrets => seat(SecretComponent::from_spec(spec, policy, meter)?),
        BlockKind::OutputBinding => seat(OutputComponent::from_spec(spec, policy, meter)?),
        BlockKind::File => seat(FileComponent::from_spec(spec, policy, meter)?),
        BlockKind::Configuration => seat(ConfigurationComponent::from_spec(spec, policy, meter)?),
        BlockKind::Lock => seat(LockComponent::from_spec(spec, policy, meter)?),
        BlockKind::Sequencer => seat(SequencerComponent::from_spec(spec, policy, meter)?),
        BlockKind::Hello => seat(GreeterComponent::from_spec(spec, policy, meter)?),
        BlockKind::PubSub => seat(BrokerComponent::from_spec(spec, policy, meter)?),
        BlockKind::InputBinding => seat(InputComponent::from_spec(spec, policy, meter)?),
        BlockKind::AppRegistry => seat(RegistryComponent::from_spec(spec, policy, meter)?),
    })
}

fn seat<M: Member>(member: M) -> Placed {
    Box::new(|readiness| {
        let member = Arc::new(member);
        let feed = tokio::spawn(feed(Arc::clone(&member), readiness));
        Seat { member, _feed: Arc::new(Feed(feed)) }
    })
}

async fn feed<M: Member>(member: Arc<M>, mut readiness: watch::Receiver<State>) {
    let slot = member.slot();
    loop {
        match &*readiness.borrow_and_update() {
            State::Starting => {}
            State::NotReady(reason) => slot.not_ready(reason.as_str()),
            State::Ready(built) => match M::backend(built) {
                Some(backend) => return slot.ready(Arc::clone(backend)),
                None => return slot.not_ready("it was built for another block; this is a defect"),
            },
        }
        if readiness.changed().await.is_err() {
            // What was said last stays, if anything was.
            if matches!(*slot.readiness(), Readiness::Starting) {
                slot.not_ready("its construction ended without a result; see the log");
            }
            return;
        }
    }
}
