//! Keeps what this process announces in the registry, through every interruption, and takes it back at the end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::PutOptions;
use outrigger_component_api::{Announcement, Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::failure::{from_etcd, is_missing_lease};
use crate::lease;
use crate::link::Links;

/// What is to be found in the registry.
#[derive(Clone, Default)]
struct Wish {
    /// Counts wishes, so that whoever made one sees when it is fulfilled.
    turn: u64,
    announcement: Option<Announcement>,
}

/// The wish that was fulfilled last, as far as it was possible.
#[derive(Clone, Default)]
struct Standing {
    turn: u64,
    failure: Option<Error>,
}

/// The owner of the entry. Dropping it takes the entry back in the background, within [`FAREWELL`].
pub(super) struct Keeper {
    wish: watch::Sender<Wish>,
    standing: watch::Receiver<Standing>,
}

/// Without an answer for so long etcd is taken to be away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Taking the entry back takes no longer; then its lease does that.
const FAREWELL: Duration = Duration::from_secs(2);
/// Between attempts to reach etcd.
const PAUSE: Duration = Duration::from_millis(500);
/// A lease is kept alive so often within its time that one failure does not end it.
const BEATS: u32 = 3;

impl Keeper {
    pub(super) fn start(links: Arc<Links>, prefix: String) -> Self {
        let (wish, wished) = watch::channel(Wish::default());
        let (tell, standing) = watch::channel(Standing::default());
        let entry = Entry { links, prefix, lease: None };
        // It ends with the sender of wishes.
        tokio::spawn(keep(entry, wished, tell));
        Self { wish, standing }
    }

    pub(super) fn announce(&self, announcement: Announcement) {
        self.make(Some(announcement));
    }

    pub(super) async fn withdraw(&self) -> Result<()> {
        let turn = self.make(None);
        let ended = |_| Error::internal("the registry's task has ended");
        let mut standing = self.standing.clone();
        let standing = standing.wait_for(|standing| standing.turn >= turn).await.map_err(ended)?;
        standing.failure.clone().map_or(Ok(()), Err)
    }

    fn make(&self, announcement: Option<Announcement>) -> u64 {
        let mut turn = 0;
        self.wish.send_if_modified(|wish| {
            let differs = wish.announcement != announcement || announcement.is_none();
            if differs {
                *wish = Wish { turn: wish.turn + 1, announcement };
            }
            turn = wish.turn;
            differs
        });
        turn
    }
}

/// The entry as etcd has it, if it has one.
struct Entry {
    links: Arc<Links>,
    prefix: String,
    lease: Option<i64>,
}

async fn keep(mut entry: Entry, mut wished: watch::Receiver<Wish>, tell: watch::Sender<Standing>) {
    let mut failures = 0_u64;
    loop {
        let Wish { turn, announcement } = wished.borrow_and_update().clone();
        let Some(announcement) = announcement else {
            let failure = entry.take_back().await.err();
            tell.send_replace(Standing { turn, failure });
            if wished.changed().await.is_err() {
                return;
            }
            continue;
        };
        // Another id or address is another entry; the one before goes first.
        let failure = entry.take_back().await.err();
        tell.send_replace(Standing { turn, failure });
        tokio::select! {
            never = entry.hold_on(&announcement, &mut failures) => match never {},
            changed = wished.changed() => if changed.is_err() { break },
        }
    }
    if let Err(error) = entry.take_back().await {
        tracing::debug!(%error, "an entry of the registry is left to its time");
    }
}

impl Entry {
    /// Writes the entry and keeps it alive, again and again.
    async fn hold_on(&mut self, announcement: &Announcement, failures: &mut u64) -> Infallible {
        loop {
            let Err(error) = self.hold(announcement, failures).await;
            if *failures == 0 {
                tracing::warn!(app = announcement.app, %error, "other sidecars may not find this one");
            }
            *failures += 1;
            sleep(PAUSE).await;
        }
    }

    /// Until something fails.
    async fn hold(&mut self, announcement: &Announcement, failures: &mut u64) -> Result<Infallible> {
        let lease = match self.lease {
            Some(lease) => lease,
            None => within(lease::grant(&self.links, announcement.ttl)).await?,
        };
        // Noted before anything is on it, so that it is known to whoever takes it back.
        self.lease = Some(lease);
        let key = super::key(&self.prefix, &announcement.app, lease);
        let (address, options) = (announcement.address.clone(), PutOptions::new().with_lease(lease));
        let put = self.links.attempt(|etcd| async move { etcd.kv().put(key, address, Some(options)).await });
        if let Err(error) = within(put).await? {
            return Err(self.lost(&error));
        }
        if *failures > 0 {
            tracing::info!(app = announcement.app, failures, "other sidecars find this one again");
        }
        *failures = 0;
        loop {
            sleep(announcement.ttl / BEATS).await;
            let beat =
                self.links.attempt(|etcd| async move { etcd.lease().keep_alive(lease).await.map(drop) });
            if let Err(error) = timeout(announcement.ttl / BEATS, beat).await.map_err(|_| late())?? {
                return Err(self.lost(&error));
            }
        }
    }

    /// What an error means for the lease: one that has ended is not asked for again.
    fn lost(&mut self, error: &etcd_client::Error) -> Error {
        if is_missing_lease(error) {
            self.lease = None;
        }
        from_etcd(error)
    }

    /// Ends the lease, and the entry with it.
    async fn take_back(&mut self) -> Result<()> {
        let Some(lease) = self.lease.take() else { return Ok(()) };
        let revoke = self.links.attempt(|etcd| async move { etcd.lease().revoke(lease).await });
        match timeout(FAREWELL, revoke).await.map_err(|_| late())?? {
            Err(error) if !is_missing_lease(&error) => Err(from_etcd(&error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

async fn within<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(PATIENCE, call).await.map_err(|_| late())?
}

fn late() -> Error {
    Error::new(ErrorKind::Timeout, "etcd did not answer in time")
}
