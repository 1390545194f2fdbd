//! One open transaction of the writer: applies changes, each under its condition.

use bytes::Bytes;
use outrigger_component_api::{Change, Condition, Error, Etag, Key, Result, SetOptions, refuse_fence};
use rusqlite::{Connection, OptionalExtension, params};

use crate::failure::from_sqlite;
use crate::readers::now_millis;

/// The most expired rows one transaction frees, so that no write waits long for it.
const PURGED_AT_ONCE: u32 = 200;

/// A transaction that holds the write lock of the file. Ends with [`Batch::commit`]; dropped before, it is undone.
pub(crate) struct Batch<'c> {
    connection: &'c Connection,
    now: i64,
    /// The last version given out, read when first needed.
    revision: Option<i64>,
    committed: bool,
    /// Why SQLite undid the whole transaction by itself, as it does when a disk is full or fails. What was applied
    /// before is then gone too, and nothing more may be.
    lost: Option<Error>,
}

impl<'c> Batch<'c> {
    pub(crate) fn begin(connection: &'c Connection) -> Result<Self> {
        run(connection, "BEGIN IMMEDIATE")?;
        Ok(Self { connection, now: now_millis(), revision: None, committed: false, lost: None })
    }

    /// Applies one change; refused or failed, it leaves no trace.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<Option<Etag>> {
        self.guarded(|batch| batch.try_apply(change))
    }

    /// Applies all changes or none.
    pub(crate) fn apply_all(&mut self, changes: &[Change]) -> Result<()> {
        self.guarded(|batch| {
            run(batch.connection, "SAVEPOINT changes")?;
            let applied = changes.iter().enumerate().try_for_each(|(position, change)| {
                batch.try_apply(change).map(drop).map_err(|error| error.with("operation", position))
            });
            if applied.is_err() && batch.is_open() {
                run(batch.connection, "ROLLBACK TO changes")?;
            }
            if batch.is_open() {
                run(batch.connection, "RELEASE changes")?;
            }
            applied
        })
    }

    /// Frees some expired rows; true if there may be more.
    pub(crate) fn purge(&mut self) -> Result<bool> {
        self.guarded(|batch| {
            let purged = batch.execute(
                "DELETE FROM state WHERE rowid IN (SELECT rowid FROM state WHERE expires <= ?1 LIMIT ?2)",
                params![batch.now, PURGED_AT_ONCE],
            )?;
            Ok(purged == PURGED_AT_ONCE as usize)
        })
    }

    /// Why the transaction is lost, if it is: then it cannot be committed.
    pub(crate) fn lost(&self) -> Option<Error> {
        self.lost.clone()
    }

    /// Returns after the transaction is as durable as configured.
    pub(crate) fn commit(mut self) -> Result<()> {
        if let Some(revision) = self.revision {
            self.execute("UPDATE counters SET value = ?1 WHERE name = 'revision'", params![revision])?;
        }
        run(self.connection, "COMMIT")?;
        self.committed = true;
        Ok(())
    }

    /// Runs a step unless the transaction is lost, and notices if the step lost it.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        let result = step(self);
        if !self.is_open() {
            let error = result.as_ref().err().cloned();
            self.lost = Some(error.unwrap_or_else(|| Error::internal("the transaction ended too early")));
        }
        result
    }

    fn is_open(&self) -> bool {
        !self.connection.is_autocommit()
    }

    fn try_apply(&mut self, change: &Change) -> Result<Option<Etag>> {
        refuse_fence(change.fence())?;
        self.check(change.key(), change.condition())?;
        match change {
            Change::Set { key, value, options } => self.set(key, value, options).map(Some),
            Change::Delete { key, .. } => self.delete(key).map(|()| None),
        }
    }

    fn check(&self, key: &Key, condition: Condition<'_>) -> Result<()> {
        if condition == Condition::Always {
            return Ok(());
        }
        let current = || -> rusqlite::Result<Option<i64>> {
            let mut select = self.connection.prepare_cached(
                "SELECT version FROM state WHERE key = ?1 AND (expires IS NULL OR expires > ?2)",
            )?;
            select.query_row(params![key.as_bytes(), self.now], |row| row.get(0)).optional()
        };
        let current = current().map_err(|error| from_sqlite(&error))?;
        condition.check(current.map(i64::unsigned_abs))
    }

    fn set(&mut self, key: &Key, value: &Bytes, options: &SetOptions) -> Result<Etag> {
        let version = self.next_revision()?;
        // A ttl beyond what the column can count never ends.
        let expires = options.ttl.and_then(|ttl| self.now.checked_add(i64::try_from(ttl.as_millis()).ok()?));
        self.execute(
            "INSERT INTO state (key, value, version, expires) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (key) DO UPDATE SET value = ?2, version = ?3, expires = ?4",
            params![key.as_bytes(), value.as_ref(), version, expires],
        )?;
        Ok(Etag::from(version.unsigned_abs()))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.execute("DELETE FROM state WHERE key = ?1", params![key.as_bytes()]).map(drop)
    }

    fn next_revision(&mut self) -> Result<i64> {
        let last = match self.revision {
            Some(last) => last,
            None => {
                let read = || -> rusqlite::Result<i64> {
                    let mut select = self
                        .connection
                        .prepare_cached("SELECT value FROM counters WHERE name = 'revision'")?;
                    select.query_row([], |row| row.get(0))
                };
                read().map_err(|error| from_sqlite(&error))?
            }
        };
        let next = last.checked_add(1).ok_or_else(|| Error::internal("the store ran out of versions"))?;
        self.revision = Some(next);
        Ok(next)
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        let execute = || self.connection.prepare_cached(sql)?.execute(values);
        execute().map_err(|error| from_sqlite(&error))
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if !self.committed
            && self.is_open()
            && let Err(error) = run(self.connection, "ROLLBACK")
        {
            tracing::error!(%error, "state transaction could not be undone");
        }
    }
}

fn run(connection: &Connection, sql: &str) -> Result<()> {
    let run = || connection.prepare_cached(sql)?.execute([]);
    run().map(drop).map_err(|error| from_sqlite(&error))
}
