//! A sidecar inside a test: real components, real sockets, and faults on demand.
//!
//! ```
//! use outrigger::testing::{Fault, Outrigger};
//! use outrigger_sdk::{Client, ErrorKind, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sidecar = Outrigger::start_test()?;
//! let client = Client::connect_with(Options { endpoint: sidecar.endpoint(), ..Options::default() }).await?;
//! client.state("state").save(("cart-7", "two apples")).await?;
//! sidecar.inject("state", Fault::Gone)?;
//! let error = client.state("state").get("cart-7").await.expect_err("nobody is there");
//! assert_eq!(error.kind(), ErrorKind::Unavailable);
//! sidecar.heal("state")?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use anyhow::{Context, bail};
pub use outrigger_blocks::{ErrorKind, Fault};
use outrigger_net::Address;
use tokio::sync::oneshot;

use crate::{
    app::{App, Logs, Options},
    config::Sources,
    listeners::Kind,
};

/// Every block on components that live in memory, under the names of the default set.
const COMPONENTS: &str = "
app: { id: test }
components:
  hello: { type: hello.helloworld }
  state: { type: state.in-memory }
  pubsub: { type: pubsub.in-memory }
  configuration: { type: configuration.in-memory }
  lock: { type: lock.in-memory }
  sequencer: { type: sequencer.in-memory }
";

/// A running sidecar, on a thread of its own. Dropping it stops it.
pub struct Outrigger {
    app: Arc<App>,
    endpoint: String,
    admin: String,
    dir: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Outrigger {
    /// Every block in memory, on ports the system picks. Ready when this returns, within milliseconds.
    pub fn start_test() -> anyhow::Result<Self> {
        Self::start_test_with(COMPONENTS)
    }

    /// A configuration in the native format, without `api` and `admin`: they get ports the system picks.
    pub fn start_test_with(config: &str) -> anyhow::Result<Self> {
        let dir = directory()?;
        let file = dir.join("outrigger.yaml");
        std::fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
        let sets = ["api.listeners.main.address=127.0.0.1:0", "admin.address=127.0.0.1:0"];
        // The test's environment is not the sidecar's.
        let sources = Sources { files: vec![file], sets: sets.map(str::to_owned).into(), env: Vec::new() };
        let (tell, told) = mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("outrigger-test".to_owned())
            .spawn(move || control(sources, &tell, stopped))
            .context("starting the sidecar's thread")?;
        let app = told.recv().context("the sidecar's thread ended before it was ready")??;
        let address = |kind: Kind| {
            let mut all = app.listeners.all().into_iter();
            let found = all.find(|listener| listener.kind == kind.as_str()).map(|listener| listener.address);
            match found {
                Some(Address::Tcp(address)) => Ok(address.to_string()),
                _ => bail!("no {} listener is bound", kind.as_str()),
            }
        };
        let (endpoint, admin) = (address(Kind::Api)?, address(Kind::Admin)?);
        Ok(Self { app, endpoint, admin, dir, stop: Some(stop), thread: Some(thread) })
    }

    /// Where the API listens: `127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// Where the actuator listens: `127.0.0.1:PORT`.
    pub fn admin(&self) -> String {
        self.admin.clone()
    }

    /// Has a component's calls meet a fault from now on.
    pub fn inject(&self, component: &str, fault: Fault) -> anyhow::Result<()> {
        self.set(component, Some(fault))
    }

    /// Ends a component's fault.
    pub fn heal(&self, component: &str) -> anyhow::Result<()> {
        self.set(component, None)
    }

    fn set(&self, component: &str, fault: Option<Fault>) -> anyhow::Result<()> {
        if self.app.blocks.inject(component, fault) {
            Ok(())
        } else {
            bail!("there is no component '{component}'")
        }
    }
}

impl Drop for Outrigger {
    fn drop(&mut self) {
        // Whether the thread still listens or has panicked, it is over after this.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
        let _left_to_the_system = std::fs::remove_dir_all(&self.dir);
    }
}

/// The sidecar's life, on its control runtime.
fn control(
    sources: Sources,
    tell: &mpsc::SyncSender<anyhow::Result<Arc<App>>>,
    stopped: oneshot::Receiver<()>,
) {
    outrigger_net::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime.context("starting the control runtime") {
        Ok(runtime) => runtime,
        Err(error) => return drop(tell.send(Err(error))),
    };
    runtime.block_on(async {
        match App::start(Options { sources, logs: Logs::Inherited }).await {
            Err(error) => drop(tell.send(Err(error))),
            Ok(app) => {
                if tell.send(Ok(Arc::clone(&app))).is_ok() {
                    // Sent by nobody: it ends when the owner lets go.
                    let _let_go = stopped.await;
                }
                app.stop().await;
            }
        }
    });
}

fn directory() -> anyhow::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("outrigger-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}
