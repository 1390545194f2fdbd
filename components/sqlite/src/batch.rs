//! One open transaction of the writer, which the work of many callers shares.

use outrigger_component_api::{Error, Result};
use rusqlite::{Connection, OptionalExtension, params};

use crate::failure::from_sqlite;
use crate::readers::now_millis;
use crate::wake::Channel;

/// The most expired rows one transaction frees, so that no write waits long for it.
const PURGED_AT_ONCE: u32 = 200;

/// A transaction that holds the write lock of the file. Ends with [`Batch::commit`]; dropped before, it is undone.
pub(crate) struct Batch<'c> {
    connection: &'c Connection,
    now: i64,
    /// The last version given out, read when first needed.
    revision: Option<i64>,
    rung: Vec<Channel>,
    committed: bool,
    /// Why SQLite undid the whole transaction by itself, as it does when a disk is full or fails. What was applied
    /// before is then gone too, and nothing more may be.
    lost: Option<Error>,
}

impl<'c> Batch<'c> {
    pub(crate) fn begin(connection: &'c Connection) -> Result<Self> {
        run(connection, "BEGIN IMMEDIATE")?;
        Ok(Self {
            connection,
            now: now_millis(),
            revision: None,
            rung: Vec::new(),
            committed: false,
            lost: None,
        })
    }

    /// Does something that leaves no trace when it fails.
    pub(crate) fn all_or_nothing<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        self.guarded(|batch| {
            run(batch.connection, "SAVEPOINT changes")?;
            let (revision, rung) = (batch.revision, batch.rung.len());
            let result = work(batch);
            if result.is_err() && batch.is_open() {
                run(batch.connection, "ROLLBACK TO changes")?;
                batch.revision = revision;
                batch.rung.truncate(rung);
            }
            if batch.is_open() {
                run(batch.connection, "RELEASE changes")?;
            }
            result
        })
    }

    /// When the transaction began, in milliseconds since 1970: now, for everything in it.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    /// Has listeners on this channel woken after the commit.
    pub(crate) fn ring(&mut self, channel: Channel) {
        if !self.rung.contains(&channel) {
            self.rung.push(channel);
        }
    }

    /// The next value of a counter that never goes back.
    pub(crate) fn count(&self, counter: &str) -> Result<i64> {
        let sql = "UPDATE counters SET value = value + 1 WHERE name = ?1 RETURNING value";
        self.find(sql, [counter], |row| row.get(0))?.ok_or_else(|| Error::internal("a counter is missing"))
    }

    /// The first row, if there is one.
    pub(crate) fn find<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let find = || self.connection.prepare_cached(sql)?.query_row(values, read).optional();
        find().map_err(|error| from_sqlite(&error))
    }

    pub(crate) fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        let execute = || self.connection.prepare_cached(sql)?.execute(values);
        execute().map_err(|error| from_sqlite(&error))
    }

    /// Frees some expired rows; true if there may be more.
    pub(crate) fn purge(&mut self) -> Result<bool> {
        self.guarded(|batch| {
            let mut more = false;
            for sql in [
                "DELETE FROM state WHERE rowid IN (SELECT rowid FROM state WHERE expires <= ?1 LIMIT ?2)",
                "DELETE FROM locks WHERE rowid IN (SELECT rowid FROM locks WHERE expires <= ?1 LIMIT ?2)",
            ] {
                let purged = batch.execute(sql, params![batch.now, PURGED_AT_ONCE])?;
                more |= purged == PURGED_AT_ONCE as usize;
            }
            Ok(more)
        })
    }

    /// Why the transaction is lost, if it is: then it cannot be committed.
    pub(crate) fn lost(&self) -> Option<Error> {
        self.lost.clone()
    }

    /// Returns after the transaction is as durable as configured, with the channels to ring.
    pub(crate) fn commit(mut self) -> Result<Vec<Channel>> {
        if let Some(revision) = self.revision {
            self.execute("UPDATE counters SET value = ?1 WHERE name = 'revision'", params![revision])?;
        }
        run(self.connection, "COMMIT")?;
        self.committed = true;
        Ok(std::mem::take(&mut self.rung))
    }

    /// Runs a step unless the transaction is lost, and notices if the step lost it.
    pub(crate) fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
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

    /// A version no entry has had before.
    pub(crate) fn next_revision(&mut self) -> Result<i64> {
        let last = match self.revision {
            Some(last) => last,
            None => self
                .find("SELECT value FROM counters WHERE name = 'revision'", [], |row| row.get(0))?
                .ok_or_else(|| Error::internal("a counter is missing"))?,
        };
        let next = last.checked_add(1).ok_or_else(|| Error::internal("the store ran out of versions"))?;
        self.revision = Some(next);
        Ok(next)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if !self.committed
            && self.is_open()
            && let Err(error) = run(self.connection, "ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be undone");
        }
    }
}

fn run(connection: &Connection, sql: &str) -> Result<()> {
    let run = || connection.prepare_cached(sql)?.execute([]);
    run().map(drop).map_err(|error| from_sqlite(&error))
}
