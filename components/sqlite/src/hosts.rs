//! Who is on this host: the sidecars of one user, by the ids of their applications.
//!
//! A row stands for a running process. It needs no heartbeat, which would wake an idle process: a process that is gone,
//! or whose number belongs to another one now, is known to be gone by asking the system.

use std::fs;

use outrigger_component_api::{Error, Result};
use rusqlite::{Connection, OptionalExtension, params};

use crate::config::SqliteConfig;
use crate::database::Database;
use crate::failure::from_sqlite;

/// The table of sidecars in the embedded store's file. Connections are opened for each use, as uses are rare.
#[derive(Clone, Debug)]
pub struct SqliteHosts {
    database: Database,
    process: String,
}

impl SqliteHosts {
    /// The table in this file.
    pub fn new(config: SqliteConfig) -> Result<Self> {
        let id = std::process::id();
        let process = format!("{id}:{}", started(id).unwrap_or_default());
        Ok(Self { database: Database::new(config)?, process })
    }

    /// Says under which id, at which address this process is reached, in place of what it said before.
    pub async fn announce(&self, app: &str, address: &str) -> Result<()> {
        let (this, app, address) = (self.clone(), app.to_owned(), address.to_owned());
        blocking(move || {
            let mut connection = this.database.open_writer()?;
            let mut write = || -> rusqlite::Result<()> {
                let all = connection.transaction()?;
                all.execute("DELETE FROM hosts WHERE process = ?1", params![this.process])?;
                let row = params![app, this.process, address];
                all.execute("INSERT INTO hosts (app, process, address) VALUES (?1, ?2, ?3)", row)?;
                all.commit()
            };
            write().map_err(|error| from_sqlite(&error))?;
            clear(&connection)
        })
        .await
    }

    /// Takes back what this process announced.
    pub async fn withdraw(&self) -> Result<()> {
        let this = self.clone();
        blocking(move || {
            if !this.database.path().exists() {
                return Ok(());
            }
            let connection = this.database.open_writer()?;
            let deleted = connection.execute("DELETE FROM hosts WHERE process = ?1", params![this.process]);
            deleted.map(drop).map_err(|error| from_sqlite(&error))
        })
        .await
    }

    /// The addresses of the running processes of this id; this one is among them.
    pub async fn find(&self, app: &str) -> Result<Vec<String>> {
        let (this, app) = (self.clone(), app.to_owned());
        blocking(move || {
            if !this.database.path().exists() {
                return Ok(Vec::new());
            }
            let connection = this.database.open_reader()?;
            let rows = if has_table(&connection)? { rows(&connection, Some(&app))? } else { Vec::new() };
            Ok(rows.into_iter().filter(|row| is_running(&row.process)).map(|row| row.address).collect())
        })
        .await
    }
}

struct Row {
    process: String,
    address: String,
}

fn has_table(connection: &Connection) -> Result<bool> {
    let look = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'hosts'";
    let found = connection.query_row(look, [], |_| Ok(())).optional();
    found.map(|found| found.is_some()).map_err(|error| from_sqlite(&error))
}

fn rows(connection: &Connection, app: Option<&str>) -> Result<Vec<Row>> {
    let read = || -> rusqlite::Result<Vec<Row>> {
        let mut all = connection
            .prepare("SELECT process, address FROM hosts WHERE ?1 IS NULL OR app = ?1 ORDER BY address")?;
        let rows =
            all.query_map(params![app], |row| Ok(Row { process: row.get(0)?, address: row.get(1)? }))?;
        rows.collect()
    };
    read().map_err(|error| from_sqlite(&error))
}

/// Takes away what processes that were killed left behind.
fn clear(connection: &Connection) -> Result<()> {
    for row in rows(connection, None)?.iter().filter(|row| !is_running(&row.process)) {
        connection
            .execute("DELETE FROM hosts WHERE process = ?1", params![row.process])
            .map_err(|error| from_sqlite(&error))?;
    }
    Ok(())
}

/// Whether the process that wrote this of itself still runs.
fn is_running(process: &str) -> bool {
    let Some((id, since)) = process.split_once(':') else { return false };
    match id.parse().ok().and_then(started) {
        Some(now) => now == since,
        // Where the system does not tell, everybody is believed.
        None => !fs::exists("/proc/self/stat").unwrap_or(false),
    }
}

/// When a process started, in ticks since the host did: together with its number it is one process.
fn started(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is a name in parentheses that may hold anything; the start is the 20th after it.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    // A process that has ended and is not yet waited for answers nobody.
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("looking at the hosts was broken off").with_source(error))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(directory: &tempfile::TempDir) -> SqliteHosts {
        let path = Some(directory.path().join("outrigger.db"));
        SqliteHosts::new(SqliteConfig { path, ..SqliteConfig::default() }).expect("a place")
    }

    /// As another process would have written it.
    fn as_process(hosts: &SqliteHosts, process: &str) -> SqliteHosts {
        SqliteHosts { process: process.to_owned(), ..hosts.clone() }
    }

    #[tokio::test]
    async fn what_is_announced_is_found_until_it_is_withdrawn() {
        let directory = tempfile::tempdir().expect("a directory");
        let hosts = hosts(&directory);
        assert_eq!(hosts.find("orders").await.expect("no file is nobody"), [""; 0]);
        hosts.withdraw().await.expect("nothing to take back");
        hosts.announce("orders", "127.0.0.1:1").await.expect("written");
        assert_eq!(hosts.find("orders").await.expect("read"), ["127.0.0.1:1"]);
        assert_eq!(hosts.find("order").await.expect("read"), [""; 0]);
        hosts.announce("orders", "127.0.0.1:2").await.expect("written");
        assert_eq!(hosts.find("orders").await.expect("read"), ["127.0.0.1:2"]);
        hosts.withdraw().await.expect("taken back");
        assert_eq!(hosts.find("orders").await.expect("read"), [""; 0]);
    }

    #[tokio::test]
    async fn the_dead_are_not_found_and_are_cleared_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let hosts = hosts(&directory);
        // A process number nobody has, and ours as somebody had it before us.
        let dead =
            [as_process(&hosts, "4194304:1"), as_process(&hosts, &format!("{}:0", std::process::id()))];
        for dead in &dead {
            dead.announce("orders", "127.0.0.1:9").await.expect("written");
            assert_eq!(hosts.find("orders").await.expect("read"), [""; 0]);
        }
        hosts.announce("orders", "127.0.0.1:1").await.expect("written");
        assert_eq!(hosts.find("orders").await.expect("read"), ["127.0.0.1:1"]);
        let left = rows(&hosts.database.open_reader().expect("opens"), None).expect("reads").len();
        assert_eq!(left, 1);
    }
}
