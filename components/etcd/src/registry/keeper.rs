//! Keeps what this process announces in the registry, through every interruption, and takes it back at the end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::PutOptions;
use outrigger_component_api::{Announcement, Error, Result};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::client::Connection;
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
/// Between attempts to reach etcd, if the lease is not so short that it would be over.
const PAUSE: Duration = Duration::from_millis(500);
/// A lease is kept alive so often within its time that one failure does not end it: a beat that fails is known to have
/// failed after [`LATE`], and the next one, on another connection, comes after a [`RESPITE`] and still has as long.
const BEATS: u32 = 3;
/// The part of a lease's time a beat may take.
const LATE: u32 = 4;
/// The part of a lease's time between attempts.
const RESPITE: u32 = 12;

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
            sleep(PAUSE.min(announcement.ttl / RESPITE)).await;
        }
    }

    /// Until something fails.
    async fn hold(&mut self, announcement: &Announcement, failures: &mut u64) -> Result<Infallible> {
        let lease = match self.lease {
            Some(lease) => {
                // It is short of time, and what follows does not give it any.
                self.beat(lease, announcement.ttl).await?;
                lease
            }
            None => lease::grant_within(&self.links, PATIENCE, announcement.ttl).await?,
        };
        // Noted before anything is on it, so that it is known to whoever takes it back.
        self.lease = Some(lease);
        let key = super::key(&self.prefix, &announcement.app, lease);
        let (address, options) = (announcement.address.clone(), PutOptions::new().with_lease(lease));
        let put = |etcd: Arc<Connection>| async move { etcd.kv().put(key, address, Some(options)).await };
        let put = self.links.attempt_within(PATIENCE, put).await?;
        put.map_err(|error| self.lost(&error))?;
        if *failures > 0 {
            tracing::info!(app = announcement.app, failures, "other sidecars find this one again");
        }
        *failures = 0;
        loop {
            self.beat(lease, announcement.ttl).await?;
            sleep(announcement.ttl / BEATS).await;
        }
    }

    async fn beat(&mut self, lease: i64, ttl: Duration) -> Result<()> {
        let beat = |etcd: Arc<Connection>| async move { etcd.lease().keep_alive(lease).await.map(drop) };
        let beat = self.links.attempt_within(PATIENCE.min(ttl / LATE), beat).await?;
        beat.map_err(|error| self.lost(&error))
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
        let revoke = |etcd: Arc<Connection>| async move { etcd.lease().revoke(lease).await };
        match self.links.attempt_within(FAREWELL, revoke).await? {
            Err(error) if !is_missing_lease(&error) => Err(from_etcd(&error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
