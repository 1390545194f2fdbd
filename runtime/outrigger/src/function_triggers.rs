//! What calls functions by itself, joined to the functions there are: events and schedules, which follow what is deployed
//! on their own, and input bindings, which the inlet of the application shares out.

mod endpoints;

use std::{
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use outrigger_blocks::{
    Blocks,
    function::{FunctionConfig, ReadTimes, ScheduleTrigger, Summons, Times},
};
use outrigger_cluster::{
    ClusterConfig,
    config::{EndpointConfig, Location, PassiveConfig},
};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::app::App;

pub use endpoints::Endpoints;

/// Runs while the process does.
#[derive(Default)]
pub struct Triggers(Mutex<Option<Running>>);

struct Running {
    summons: Summons,
    /// Tells the inlet of other functions.
    following: Following,
}

/// A task that ends with its owner.
struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Triggers {
    /// Calls functions from now on: there are components.
    pub fn start(&self, app: &Arc<App>) {
        let summons = Summons::start(Arc::clone(&app.blocks), reader(), Arc::new(SystemTime::now));
        let following = tokio::spawn(follow(Arc::downgrade(app), Arc::clone(&app.blocks)));
        *self.0.lock() = Some(Running { summons, following: Following(following) });
    }

    /// Begins no more calls. Waits for those under way in what it returns, at most this long.
    pub async fn stop(&self, limit: Duration) -> impl Future<Output = ()> + use<> {
        let running = self.0.lock().take();
        let summons = match running {
            None => None,
            Some(Running { summons, mut following }) => {
                following.0.abort();
                let _aborted = (&mut following.0).await;
                Some(summons)
            }
        };
        async move {
            if let Some(summons) = summons {
                summons.drain(limit).await;
            }
        }
    }
}

/// Bindings go to other functions when those change.
async fn follow(app: Weak<App>, blocks: Arc<Blocks>) {
    let mut changes = blocks.functions.changes();
    while changes.changed().await.is_ok() {
        let Some(app) = app.upgrade() else { return };
        app.callbacks.follow_inputs(|| app.snapshot(), &blocks).await;
    }
}

/// Reads the schedules of functions: those of `bindings.cron`.
#[cfg(feature = "cron")]
pub fn reader() -> ReadTimes {
    struct Cron(outrigger_cron::Schedule);
    impl Times for Cron {
        fn next(&self, after: SystemTime) -> Option<SystemTime> {
            self.0.following(after)
        }
    }
    Arc::new(
        |text| Ok(Arc::new(Cron(outrigger_cron::Schedule::try_from(text.to_owned())?)) as Arc<dyn Times>),
    )
}

#[cfg(not(feature = "cron"))]
pub fn reader() -> ReadTimes {
    Arc::new(|_| Err::<Arc<dyn Times>, _>("this program was built without the `cron` feature".to_owned()))
}

/// What is wrong with a function's schedules, as paths and messages.
pub fn problems(config: &FunctionConfig) -> Vec<(String, String)> {
    let read = reader();
    let wrong = |(name, times): (&String, &ScheduleTrigger)| {
        let why = read(&times.schedule).err()?;
        Some((format!("schedules.{name}.schedule"), why))
    };
    config.schedules.iter().filter_map(wrong).collect()
}

/// The cluster that a function's name stands for. There is one endpoint: leaving it out for failing, or for not being
/// there yet, would only turn its answers into ours.
pub fn cluster(function: &str) -> ClusterConfig {
    let location = Location::Function(function.into());
    let mut cluster =
        ClusterConfig { endpoints: vec![EndpointConfig { location, weight: 1 }], ..ClusterConfig::default() };
    cluster.health.passive = PassiveConfig {
        consecutive_5xx: 0,
        consecutive_gateway: 0,
        connect_backoff: Duration::ZERO,
        ..cluster.health.passive
    };
    cluster
}
