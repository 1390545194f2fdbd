//! The functions of this process: versions are brought in, switched and taken away while calls go on.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use outrigger_component_api::{Error, ErrorKind, Result, nearest};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::config::check_name;
use super::entry::Entry;
use super::line::{Line, Next};
use super::report::{FunctionReport, Origin};
use super::version::{UnderWay, Version, version_of};
use super::{FunctionConfig, FunctionHost, FunctionLog, Load, Module, Triggers};

/// Every function of this process, by name. A function is switched in one step: a call has one version from its
/// beginning to its end, and one that is no longer called goes when its last call does.
#[derive(Default)]
pub struct Functions {
    host: OnceLock<Arc<dyn FunctionHost>>,
    entries: ArcSwap<BTreeMap<Arc<str>, Arc<Entry>>>,
    /// One change at a time. Bringing a version in is not one: that takes seconds, putting it in place does not.
    changing: Mutex<()>,
    changes: watch::Sender<u64>,
}

/// A version that was loaded and tried out, and that nothing calls yet.
pub struct Prepared {
    name: Arc<str>,
    log: Arc<FunctionLog>,
    version: Arc<Version>,
}

/// A version that is on its way, until this is dropped: whoever brings it may be stopped.
#[must_use = "it is on its way as long as this is held"]
pub struct Coming<'f> {
    functions: &'f Functions,
    name: Arc<str>,
}

/// Which versions of a function there were.
#[derive(Clone, Debug)]
pub struct Standing(Weak<Line<Version>>);

/// A function as those see it who call it by themselves.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub name: Arc<str>,
    /// The digest of the current version's module.
    pub sha256: Arc<str>,
    /// The current version's.
    pub config: Arc<FunctionConfig>,
    /// What the current version can be called for.
    pub triggers: Triggers,
}

impl Prepared {
    /// The beginning of the module's digest.
    pub fn version(&self) -> &Arc<str> {
        &self.version.id
    }

    pub fn sha256(&self) -> &Arc<str> {
        &self.version.sha256
    }

    pub fn triggers(&self) -> Triggers {
        self.version.function.triggers()
    }
}

impl Functions {
    /// Where functions run. Without a host none can be deployed; the first one stays.
    pub fn run_on(&self, host: Arc<dyn FunctionHost>) {
        self.host.set(host).ok();
    }

    /// Loads a version and tries it out. Nothing is in force yet.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a bad name, bad settings, another digest than was asked for and
    /// a bad module, [`Unsupported`](ErrorKind::Unsupported) in a program without functions, else as
    /// [`FunctionHost::load`].
    pub async fn prepare(&self, name: &str, module: Module, config: FunctionConfig) -> Result<Prepared> {
        check_name(name)?;
        if let Some((path, message)) = config.problems().into_iter().next() {
            return Err(Error::invalid(format!("{path}: {message}")));
        }
        let sha256 = Arc::clone(module.sha256());
        if config.sha256.as_ref().is_some_and(|wanted| !module.is(wanted)) {
            return Err(Error::invalid(format!("sha256: the module has another digest: {sha256}")));
        }
        let host = self.host.get().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "this program was built without the `wasm` feature")
        })?;
        let (name, version) = (Arc::<str>::from(name), version_of(&sha256));
        let log = self.log(&name).unwrap_or_default();
        let load = Load {
            name: Arc::clone(&name),
            version: Arc::clone(&version),
            module,
            config: config.clone(),
            log: Arc::clone(&log),
        };
        let function = host.load(load).await?;
        Ok(Prepared { name, log, version: Arc::new(Version::new(version, sha256, config, function)) })
    }

    /// Puts a version in force for the percentage of calls its configuration says.
    pub fn put(&self, prepared: Prepared, origin: Origin) {
        let Prepared { name, log, version } = prepared;
        let weight = version.config.weight;
        self.change(|| {
            let entry = self.entry_or_new(&name, log, origin);
            entry.advance(entry.line.load().put(version, weight));
            let mut rest = entry.rest.lock();
            (rest.origin, rest.refused, rest.coming) = (origin, None, None);
        });
    }

    /// Puts a version behind the current one: what a rollback returns to. For those that were here before.
    pub fn put_behind(&self, prepared: Prepared) {
        let Prepared { name, version, .. } = prepared;
        if let Ok(entry) = self.find(&name) {
            self.change(|| entry.advance(entry.line.load().backed(version)));
        }
    }

    /// Notes that a version is on its way; its name must be one. What is put in force or refused is here.
    pub fn expect(&self, name: &str, origin: Origin) -> Coming<'_> {
        let name = Arc::<str>::from(name);
        self.change(|| {
            let entry = self.entry_or_new(&name, Arc::default(), origin);
            entry.rest.lock().coming = Some(SystemTime::now());
        });
        Coming { functions: self, name }
    }

    /// It does not come after all. A name that nothing else is known of is forgotten.
    fn give_up(&self, name: &str) {
        let Ok(entry) = self.find(name) else { return };
        if entry.rest.lock().coming.is_none() {
            return;
        }
        self.change(|| {
            entry.rest.lock().coming = None;
            if entry.is_empty() {
                self.take_out(name);
            }
        });
    }

    /// Which versions there are, for who wants to know later whether they have changed.
    pub fn standing(&self, name: &str) -> Standing {
        let line = self.entries.load().get(name).map(|entry| entry.line.load_full());
        let line = line.filter(|line| line.all().next().is_some());
        Standing(line.map(|line| Arc::downgrade(&line)).unwrap_or_default())
    }

    /// Whether no version of the function has come, gone or changed its share since.
    pub fn stands(&self, name: &str, then: &Standing) -> bool {
        self.standing(name).0.ptr_eq(&then.0)
    }

    /// [`Functions::prepare`] and [`Functions::put`]. When a new version is refused the old one stays, and the report
    /// says why.
    ///
    /// # Errors
    /// Those of [`Functions::prepare`].
    pub async fn deploy(
        &self,
        name: &str,
        module: Bytes,
        config: FunctionConfig,
        origin: Origin,
    ) -> Result<Arc<str>> {
        let module = Module::from(module);
        let sha256 = Arc::clone(module.sha256());
        match self.prepare(name, module, config).await {
            Ok(prepared) => {
                let version = Arc::clone(prepared.version());
                self.put(prepared, origin);
                Ok(version)
            }
            Err(error) => {
                if let Ok(entry) = self.find(name) {
                    entry.refuse(sha256, error.message());
                }
                Err(error)
            }
        }
    }

    /// Notes that a version was refused, also of a function that has none; its name must be one. The digest is its
    /// module's, and empty where that could not be read.
    pub fn refuse(&self, name: &str, sha256: &Arc<str>, reason: &str, origin: Origin) {
        let name = Arc::<str>::from(name);
        self.change(|| {
            self.entry_or_new(&name, Arc::default(), origin).refuse(Arc::clone(sha256), reason);
        });
    }

    /// Forgets what was refused: nobody wants it any more.
    pub fn settle(&self, name: &str) {
        if let Ok(entry) = self.find(name) {
            self.change(|| {
                let mut rest = entry.rest.lock();
                (rest.refused, rest.coming) = (None, None);
            });
        }
    }

    /// Gives the candidate all calls.
    ///
    /// # Errors
    /// [`FailedPrecondition`](ErrorKind::FailedPrecondition) where there is none.
    pub fn promote(&self, name: &str) -> Result<()> {
        self.advance(name, |line| line.promoted(), "has no candidate to promote")
    }

    /// Gives the candidate this percentage of calls, of 1 to 100; 100 promotes it.
    ///
    /// # Errors
    /// As [`Functions::promote`].
    pub fn set_weight(&self, name: &str, weight: u8) -> Result<()> {
        if !(1..=100).contains(&weight) {
            return Err(Error::invalid("weight: must be between 1 and 100"));
        }
        self.advance(name, |line| line.weighted(weight), "has no candidate whose weight could change")
    }

    /// Takes the candidate back, or else returns to the version before. A second time that undoes it.
    ///
    /// # Errors
    /// [`FailedPrecondition`](ErrorKind::FailedPrecondition) where there is neither.
    pub fn rollback(&self, name: &str) -> Result<()> {
        self.advance(name, |line| line.rolled_back(), "has no version to go back to")
    }

    /// Takes a function away. Calls under way finish.
    ///
    /// # Errors
    /// [`NotConfigured`](ErrorKind::NotConfigured) for one that is not there.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.find(name)?;
        self.change(|| self.take_out(name));
        Ok(())
    }

    /// Whether calls find a function of this name.
    pub fn has(&self, name: &str) -> bool {
        self.entries.load().get(name).is_some_and(|entry| entry.line.load().current.is_some())
    }

    /// Who brought this one in.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.entries.load().get(name).map(|entry| entry.rest.lock().origin)
    }

    /// The function of this name, where it has a version that is called.
    pub fn get(&self, name: &str) -> Option<Deployed> {
        self.entries.load().get(name).and_then(|entry| entry.deployed())
    }

    /// Every function that has a version that is called, in the order of names.
    pub fn all(&self) -> Vec<Deployed> {
        self.entries.load().values().filter_map(|entry| entry.deployed()).collect()
    }

    /// Told of every change: of functions, of their versions, of who gets which calls.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Every function with its versions, in the order of names.
    pub fn list(&self) -> Vec<FunctionReport> {
        self.entries.load().values().map(|entry| entry.report()).collect()
    }

    /// One function with its versions.
    ///
    /// # Errors
    /// [`NotConfigured`](ErrorKind::NotConfigured) for one that is not there.
    pub fn report(&self, name: &str) -> Result<FunctionReport> {
        Ok(self.find(name)?.report())
    }

    /// What a function wrote lately.
    ///
    /// # Errors
    /// [`NotConfigured`](ErrorKind::NotConfigured) for one that is not there.
    pub fn logs(&self, name: &str) -> Result<Arc<FunctionLog>> {
        Ok(Arc::clone(&self.find(name)?.log))
    }

    /// Waits for calls under way, at most this long; how many are left. Whoever makes calls has stopped to.
    pub async fn drain(&self, limit: Duration) -> u64 {
        let entries = self.entries.load_full();
        let versions: Vec<_> = entries.values().flat_map(|entry| entry.versions()).collect();
        let idle = futures_util::future::join_all(versions.iter().map(|version| version.idle()));
        match tokio::time::timeout(limit, idle).await {
            Ok(_) => 0,
            Err(_) => versions.iter().map(|version| version.counts().in_flight).sum(),
        }
    }

    /// Begins a call on the version that is chosen for it.
    pub(super) fn begin(&self, name: &str) -> Result<UnderWay> {
        let entries = self.entries.load();
        let entry = entries.get(name).ok_or_else(|| missing(&entries, name))?;
        let line = entry.line.load();
        let version = line.pick(|| fastrand::u8(..100)).ok_or_else(|| entry.unusable())?;
        Ok(version.begin())
    }

    fn find(&self, name: &str) -> Result<Arc<Entry>> {
        let entries = self.entries.load();
        entries.get(name).cloned().ok_or_else(|| missing(&entries, name))
    }

    fn log(&self, name: &str) -> Option<Arc<FunctionLog>> {
        self.entries.load().get(name).map(|entry| Arc::clone(&entry.log))
    }

    fn advance(
        &self,
        name: &str,
        next: impl FnOnce(&Line<Version>) -> Option<Next<Version>>,
        none: &str,
    ) -> Result<()> {
        let entry = self.find(name)?;
        self.change(|| {
            let next = next(&entry.line.load()).ok_or_else(|| {
                Error::new(ErrorKind::FailedPrecondition, format!("the function '{name}' {none}"))
            })?;
            entry.advance(next);
            Ok(())
        })
    }

    fn change<R>(&self, change: impl FnOnce() -> R) -> R {
        let changed = {
            let _one = self.changing.lock();
            change()
        };
        self.changes.send_modify(|count| *count += 1);
        changed
    }

    /// Only under `changing`.
    fn entry_or_new(&self, name: &Arc<str>, log: Arc<FunctionLog>, origin: Origin) -> Arc<Entry> {
        let entries = self.entries.load();
        if let Some(entry) = entries.get(name) {
            return Arc::clone(entry);
        }
        let entry = Arc::new(Entry::new(Arc::clone(name), log, origin));
        let mut entries = BTreeMap::clone(&entries);
        entries.insert(Arc::clone(name), Arc::clone(&entry));
        self.entries.store(Arc::new(entries));
        entry
    }

    /// Only under `changing`.
    fn take_out(&self, name: &str) {
        let mut entries = BTreeMap::clone(&self.entries.load());
        entries.remove(name);
        self.entries.store(Arc::new(entries));
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.functions.give_up(&self.name);
    }
}

fn missing(entries: &BTreeMap<Arc<str>, Arc<Entry>>, name: &str) -> Error {
    let guess = nearest(name, entries.keys().map(|known| &**known));
    let guess = guess.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
    Error::new(ErrorKind::NotConfigured, format!("there is no function '{name}'{guess}"))
}

#[cfg(test)]
mod tests;
