//! Applying changes of state, each under its condition and its fencing token.

use bytes::Bytes;
use outrigger_component_api::{Change, Condition, Error, Etag, Key, Result, SetOptions, check_fence};
use rusqlite::params;
use tokio::sync::oneshot;

use crate::batch::Batch;
use crate::writer::{Task, Transact};

/// The answers to changes, one for each.
pub(super) type Answers = Vec<Result<Option<Etag>>>;

/// Changes of one call: all or none, or each on its own.
pub(super) struct Changes {
    changes: Vec<Change>,
    atomic: bool,
    reply: oneshot::Sender<Result<Answers>>,
    outcome: Result<Answers>,
}

impl Changes {
    pub(super) fn new(changes: Vec<Change>, atomic: bool, reply: oneshot::Sender<Result<Answers>>) -> Self {
        Self { changes, atomic, reply, outcome: Ok(Vec::new()) }
    }

    /// About how much they carry.
    pub(super) fn bytes(changes: &[Change]) -> usize {
        let size = |change: &Change| match change {
            Change::Set { key, value, .. } => key.as_bytes().len() + value.len(),
            Change::Delete { key, .. } => key.as_bytes().len(),
        };
        changes.iter().map(size).sum()
    }
}

impl Task for Changes {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, batch: &mut Batch<'_>) {
        self.outcome = match self.atomic {
            true => all(batch, &self.changes).map(|()| Vec::new()),
            false => Ok(self.changes.iter().map(|change| one(batch, change)).collect()),
        };
    }

    fn run_alone(&mut self, transact: &mut Transact<'_>) {
        if self.atomic {
            if let Err(error) = transact(&mut |batch| self.run(batch)) {
                self.fail(error);
            }
            return;
        }
        let apply = |change: &Change| {
            let mut answer = Ok(None);
            transact(&mut |batch| answer = one(batch, change)).and(answer)
        };
        self.outcome = Ok(self.changes.iter().map(apply).collect());
    }

    fn fail(&mut self, error: Error) {
        self.outcome = Err(error);
    }

    fn answer(self: Box<Self>) {
        // Whoever has stopped waiting misses the answer; the write has happened all the same.
        drop(self.reply.send(self.outcome));
    }
}

/// Applies all changes or none.
fn all(batch: &mut Batch<'_>, changes: &[Change]) -> Result<()> {
    batch.all_or_nothing(|batch| {
        changes.iter().enumerate().try_for_each(|(position, change)| {
            apply(batch, change).map(drop).map_err(|error| error.with("operation", position))
        })
    })
}

/// Applies one change; refused, it leaves no trace.
fn one(batch: &mut Batch<'_>, change: &Change) -> Result<Option<Etag>> {
    match change.fence() {
        // Two statements write: the token and the entry.
        Some(_) => batch.all_or_nothing(|batch| apply(batch, change)),
        None => batch.guarded(|batch| apply(batch, change)),
    }
}

fn apply(batch: &mut Batch<'_>, change: &Change) -> Result<Option<Etag>> {
    let fence = change.fence().map(|fence| fits(batch, change.key(), fence)).transpose()?;
    check(batch, change.key(), change.condition())?;
    if let Some(fence) = fence {
        let sql =
            "INSERT INTO fences (key, token) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET token = ?2";
        batch.execute(sql, params![change.key().as_bytes(), fence])?;
    }
    match change {
        Change::Set { key, value, options } => set(batch, key, value, options).map(Some),
        Change::Delete { key, .. } => {
            batch.execute("DELETE FROM state WHERE key = ?1", params![key.as_bytes()]).map(|_| None)
        }
    }
}

/// The token as stored, if the key has not seen a higher one.
fn fits(batch: &Batch<'_>, key: &Key, fence: u64) -> Result<i64> {
    let sql = "SELECT token FROM fences WHERE key = ?1";
    let seen: Option<i64> = batch.find(sql, params![key.as_bytes()], |row| row.get(0))?;
    check_fence(Some(fence), seen.map(i64::unsigned_abs))?;
    i64::try_from(fence).map_err(|_| Error::invalid("the fencing token is larger than any lock gives out"))
}

fn check(batch: &Batch<'_>, key: &Key, condition: Condition<'_>) -> Result<()> {
    if condition == Condition::Always {
        return Ok(());
    }
    let sql = "SELECT version FROM state WHERE key = ?1 AND (expires IS NULL OR expires > ?2)";
    let current: Option<i64> = batch.find(sql, params![key.as_bytes(), batch.now()], |row| row.get(0))?;
    condition.check(current.map(i64::unsigned_abs))
}

fn set(batch: &mut Batch<'_>, key: &Key, value: &Bytes, options: &SetOptions) -> Result<Etag> {
    let version = batch.next_revision()?;
    // A ttl beyond what the column can count never ends.
    let expires = options.ttl.and_then(|ttl| batch.now().checked_add(i64::try_from(ttl.as_millis()).ok()?));
    batch.execute(
        "INSERT INTO state (key, value, version, expires) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (key) DO UPDATE SET value = ?2, version = ?3, expires = ?4",
        params![key.as_bytes(), value.as_ref(), version, expires],
    )?;
    Ok(Etag::from(version.unsigned_abs()))
}
