//! A cluster of three masters keeps every block's promises.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use outrigger_component_api::{
    BulkOptions, Change, Component, Consistency, DeleteOptions, Entry, ErrorKind, Etag, GetOptions, Key,
    Result, SetOptions, StateCapabilities, StateStore, async_trait,
};
use outrigger_redis::{
    RedisConfig, RedisConfiguration, RedisLock, RedisPubSub, RedisPubSubConfig, RedisSequencer, RedisState,
    RedisStateConfig, RedisType,
};
use outrigger_testkit::{Subject, free_port};
use parking_lot::Mutex;

use crate::replicas::confirmed;
use crate::server::{BUSY, Server, wait_until};

const SLOTS: usize = 16_384;
const MASTERS: usize = 3;

/// Three masters that share the slots.
struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    fn start() -> Option<Self> {
        let nodes: Vec<_> = (0..MASTERS).map(|_| node()).collect::<Option<_>>()?;
        for (number, node) in nodes.iter().enumerate() {
            let (first, last) = (SLOTS * number / MASTERS, SLOTS * (number + 1) / MASTERS - 1);
            node.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            node.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
        }
        let bus = nodes[0].setting("--cluster-port");
        for node in &nodes[1..] {
            node.ask(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", nodes[0].port()));
        }
        let knows_all = |node: &Server| {
            let info = node.ask("CLUSTER INFO");
            info.contains("cluster_state:ok")
                && info.contains(&format!("cluster_slots_ok:{SLOTS}"))
                && info.contains(&format!("cluster_known_nodes:{MASTERS}"))
        };
        wait_until("the cluster", || nodes.iter().all(knows_all));
        for node in &nodes {
            // Quick to find each other, and slow to take one that has to wait for a processor for dead.
            node.ask("CONFIG SET cluster-node-timeout 30000");
        }
        Some(Self { nodes })
    }

    /// The cluster of whoever runs at the same time; it ends with the last of them.
    fn shared() -> Option<Arc<Self>> {
        static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock();
        if let Some(cluster) = running.upgrade() {
            return Some(cluster);
        }
        let cluster = Arc::new(Self::start()?);
        *running = Arc::downgrade(&cluster);
        Some(cluster)
    }

    fn hosts(&self) -> String {
        // Two suffice: the rest is found.
        format!("{}, {}", self.nodes[0].host(), self.nodes[2].host())
    }

    fn state_config(&self) -> RedisStateConfig {
        RedisStateConfig {
            redis_host: self.hosts(),
            redis_type: RedisType::Cluster,
            dial_timeout: BUSY,
            read_timeout: BUSY,
            ..RedisStateConfig::default()
        }
    }
}

fn node() -> Option<Server> {
    Server::start_with(None, |_, _| {
        let bus = free_port().to_string();
        let arguments =
            ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
        arguments.map(str::to_owned).to_vec()
    })
}

fn on_cluster<T: ?Sized>(component: impl FnOnce(&RedisConfig) -> Arc<T>) -> Option<Subject<T>> {
    let cluster = Cluster::shared()?;
    let config = RedisConfig {
        redis_host: cluster.hosts(),
        redis_type: RedisType::Cluster,
        dial_timeout: BUSY,
        read_timeout: BUSY,
        ..RedisConfig::default()
    };
    Some(Subject::new(component(&config)).keeping(cluster))
}

/// Puts all keys of a case on one node, as applications do that want transactions; each case has another.
struct Tagged {
    tag: String,
    store: RedisState,
}

impl Tagged {
    fn tagged(&self, key: &Key) -> Key {
        Key::new([self.tag.as_bytes(), key.as_bytes()].concat()).expect("not empty")
    }

    fn change(&self, change: Change) -> Change {
        match change {
            Change::Set { key, value, options } => Change::Set { key: self.tagged(&key), value, options },
            Change::Delete { key, options } => Change::Delete { key: self.tagged(&key), options },
        }
    }
}

#[async_trait]
impl Component for Tagged {
    async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }
}

#[async_trait]
impl StateStore for Tagged {
    fn capabilities(&self) -> StateCapabilities {
        self.store.capabilities()
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        self.store.get(&self.tagged(key), options).await
    }

    async fn get_bulk(&self, keys: &[Key], options: BulkOptions) -> Result<Vec<Result<Option<Entry>>>> {
        let keys: Vec<_> = keys.iter().map(|key| self.tagged(key)).collect();
        self.store.get_bulk(&keys, options).await
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<Etag> {
        self.store.set(&self.tagged(key), value, options).await
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.store.delete(&self.tagged(key), options).await
    }

    async fn write_bulk(&self, changes: Vec<Change>) -> Result<Vec<Result<Option<Etag>>>> {
        self.store.write_bulk(changes.into_iter().map(|change| self.change(change)).collect()).await
    }

    async fn transact(&self, changes: Vec<Change>) -> Result<()> {
        self.store.transact(changes.into_iter().map(|change| self.change(change)).collect()).await
    }
}

mod state {
    use super::*;

    fn tagged() -> Option<Subject<dyn StateStore>> {
        let cluster = Cluster::shared()?;
        let store = RedisState::new(&cluster.state_config()).expect("valid");
        let tag = format!("{{{:08x}}}", fastrand::u32(..));
        Some(Subject::new(Arc::new(Tagged { tag, store }) as Arc<dyn StateStore>).keeping(cluster))
    }

    outrigger_testkit::state_suite!(tagged());
}

mod lock {
    use super::*;
    use outrigger_component_api::LockStore;

    outrigger_testkit::lock_suite!(on_cluster(|config| {
        Arc::new(RedisLock::new(config).expect("valid")) as Arc<dyn LockStore>
    }));
}

mod sequencer {
    use super::*;
    use outrigger_component_api::Sequencer;

    outrigger_testkit::sequencer_suite!(on_cluster(|config| {
        Arc::new(RedisSequencer::new(config).expect("valid")) as Arc<dyn Sequencer>
    }));
}

mod configuration {
    use super::*;
    use outrigger_component_api::ConfigurationStore;

    outrigger_testkit::configuration_suite!(on_cluster(|config| {
        Arc::new(RedisConfiguration::new(config).expect("valid")) as Arc<dyn ConfigurationStore>
    }));
}

mod pubsub {
    use super::*;
    use outrigger_component_api::PubSub;

    fn broker() -> Option<Subject<dyn PubSub>> {
        let cluster = Cluster::shared()?;
        let config = RedisPubSubConfig {
            redis_host: cluster.hosts(),
            redis_type: RedisType::Cluster,
            dial_timeout: BUSY,
            read_timeout: BUSY,
            ..RedisPubSubConfig::default()
        };
        let broker = Arc::new(RedisPubSub::new(config).expect("valid"));
        Some(Subject::new(broker as Arc<dyn PubSub>).keeping(cluster))
    }

    outrigger_testkit::pubsub_suite!(broker());
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

#[tokio::test]
async fn keys_are_spread_over_the_nodes() {
    let Some(cluster) = Cluster::start() else { return };
    let store = RedisState::new(&cluster.state_config()).expect("valid");
    let keys: Vec<_> = (0..300).map(|number| key(&format!("key-{number}"))).collect();
    let set = |key: &Key| Change::Set {
        key: key.clone(),
        value: Bytes::copy_from_slice(key.as_bytes()),
        options: SetOptions { fence: Some(1), ..SetOptions::default() },
    };
    let answers = store.write_bulk(keys.iter().map(set).collect()).await.expect("written");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let entries = store.get_bulk(&keys, BulkOptions::default()).await.expect("read");
    for (key, entry) in keys.iter().zip(entries) {
        assert_eq!(entry.expect("read").expect("there").value, key.as_bytes(), "in the order asked");
    }
    for node in &cluster.nodes {
        assert_ne!(node.ask("DBSIZE"), ":0\r\n");
    }

    let apart = store.transact(keys[..10].iter().map(set).collect()).await.expect_err("on several nodes");
    assert_eq!(apart.kind(), ErrorKind::InvalidArgument, "{apart}");
    assert!(apart.message().contains("{tag}"), "{apart}");
    let odd =
        store.set(&key("a}b"), Bytes::new(), SetOptions { fence: Some(1), ..SetOptions::default() }).await;
    assert_eq!(odd.expect_err("its fence has no place").kind(), ErrorKind::InvalidArgument);
    store.set(&key("a}b"), Bytes::new(), SetOptions::default()).await.expect("without a fence it has");
}

/// Each master has its own replicas, and a strong write waits for those of the master that has its key.
#[tokio::test]
async fn a_strong_write_waits_for_the_replica_of_its_master() {
    let Some(cluster) = Cluster::start() else { return };
    let Some(replica) = node() else { return };
    let first = &cluster.nodes[0];
    replica.ask(&format!("CLUSTER MEET 127.0.0.1 {} {}", first.port(), first.setting("--cluster-port")));
    let id = first.ask("CLUSTER MYID").lines().nth(1).expect("an id").to_owned();
    wait_until("the replica", || replica.ask(&format!("CLUSTER REPLICATE {id}")).starts_with("+OK"));
    wait_until("the synchronisation", || first.ask("INFO replication").contains("state=online"));
    let store = RedisState::new(&cluster.state_config()).expect("valid");
    let write = async |name: &str| {
        let options = SetOptions { consistency: Consistency::Strong, ..SetOptions::default() };
        store.set(&key(name), Bytes::new(), options).await
    };
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for name in names {
        confirmed(async || write(name).await).await;
    }
    replica.pause();
    let mut waited = 0;
    for name in names {
        let slot = first.ask(&format!("CLUSTER KEYSLOT {name}"));
        let slot: usize = slot.trim_start_matches(':').trim().parse().expect("a number");
        let answer = write(name).await;
        if slot < SLOTS / MASTERS {
            let error = answer.expect_err("the replica stands still");
            assert!(error.to_string().contains("(confirmed=0, replicas=1)"), "{error}");
            waited += 1;
        } else {
            answer.expect("no replica to wait for");
        }
    }
    assert!((1..names.len()).contains(&waited), "{waited}");
    replica.resume();
}

/// Every node is killed and comes back; then all is well soon.
#[tokio::test]
async fn a_cluster_that_was_gone_is_used_again() {
    let Some(mut cluster) = Cluster::start() else { return };
    let config = RedisStateConfig {
        dial_timeout: Duration::from_secs(3),
        read_timeout: Duration::from_secs(3),
        ..cluster.state_config()
    };
    let store = RedisState::new(&config).expect("valid");
    let write = async |name: &str| store.set(&key(name), Bytes::new(), SetOptions::default()).await;
    write("before").await.expect("written");
    cluster.nodes.iter_mut().for_each(Server::kill);
    let down = tokio::time::timeout(Duration::from_secs(30), write("down")).await.expect("in time");
    let kind = down.expect_err("down").kind();
    assert!([ErrorKind::Unavailable, ErrorKind::Timeout].contains(&kind), "{kind}");
    cluster.nodes.iter_mut().for_each(Server::restart);
    wait_until("the cluster", || cluster.nodes[0].ask("CLUSTER INFO").contains("cluster_state:ok"));
    let back = std::time::Instant::now();
    for name in ["a", "b", "c", "d"] {
        while let Err(error) = write(name).await {
            assert!(back.elapsed() < Duration::from_secs(20), "still: {error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
