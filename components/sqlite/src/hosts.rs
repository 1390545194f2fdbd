//! Who is on this host: the sidecars of one user, by the ids of their applications.
//!
//! A row stands for a running process. It needs no heartbeat, which would wake an idle process: a process that is gone,
//! or whose number belongs to another one now, is known to be gone by asking the system. What a look into the file
//! showed is believed for a while, whichever ids are asked for.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use outrigger_component_api::{Announcement, AppRegistry, Component, Error, Result, async_trait};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::SqliteConfig;
use crate::database::Database;
use crate::failure::from_sqlite;

/// How long a look into the file is believed.
const FRESH: Duration = Duration::from_secs(2);

/// The table of sidecars in the embedded store's file. Connections are opened for each use, as uses are rare.
#[derive(Clone, Debug)]
pub struct SqliteHosts {
    database: Database,
    process: String,
    seen: Arc<Seen>,
}

/// What was found in the file last.
#[derive(Debug, Default)]
struct Seen {
    last: ArcSwapOption<Look>,
    /// One look at a time; the others wait for what it shows.
    looking: Mutex<()>,
}

/// One look into the file.
#[derive(Debug)]
struct Look {
    at: Instant,
    /// The addresses of each id. Where this look failed, those of the one before.
    apps: BTreeMap<String, Vec<String>>,
    failure: Option<Error>,
}

impl SqliteHosts {
    /// The table in this file.
    pub fn new(config: SqliteConfig) -> Result<Self> {
        let id = std::process::id();
        let process = format!("{id}:{}", started(id).unwrap_or_default());
        Ok(Self { database: Database::new(config)?, process, seen: Arc::default() })
    }

    async fn write(&self, announcement: Announcement) -> Result<()> {
        let (this, Announcement { app, address, .. }) = (self.clone(), announcement);
        let announced = blocking(move || {
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
        });
        let announced = announced.await;
        self.seen.last.store(None);
        announced
    }

    async fn delete(&self) -> Result<()> {
        let this = self.clone();
        let withdrawn = blocking(move || {
            if !this.database.path().exists() {
                return Ok(());
            }
            let connection = this.database.open_writer()?;
            let deleted = connection.execute("DELETE FROM hosts WHERE process = ?1", params![this.process]);
            deleted.map(drop).map_err(|error| from_sqlite(&error))
        });
        let withdrawn = withdrawn.await;
        self.seen.last.store(None);
        withdrawn
    }

    async fn look(&self) -> Arc<Look> {
        if let Some(look) = self.seen.fresh() {
            return look;
        }
        let _looking = self.seen.looking.lock().await;
        if let Some(look) = self.seen.fresh() {
            return look;
        }
        let look = Arc::new(match self.read().await {
            Ok(apps) => Look { at: Instant::now(), apps, failure: None },
            Err(failure) => self.seen.failed(failure),
        });
        self.seen.last.store(Some(Arc::clone(&look)));
        look
    }

    async fn read(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let this = self.clone();
        blocking(move || {
            let mut apps: BTreeMap<String, Vec<String>> = BTreeMap::new();
            if !this.database.path().exists() {
                return Ok(apps);
            }
            let connection = this.database.open_reader()?;
            let rows = if has_table(&connection)? { rows(&connection)? } else { Vec::new() };
            for row in rows.into_iter().filter(|row| is_running(&row.process)) {
                apps.entry(row.app).or_default().push(row.address);
            }
            Ok(apps)
        })
        .await
    }
}

#[async_trait]
impl Component for SqliteHosts {
    async fn ping(&self) -> Result<()> {
        self.look().await.failure.clone().map_or(Ok(()), Err)
    }
}

/// A process that ends without a word is known to have ended, so that an announcement needs no time to live.
#[async_trait]
impl AppRegistry for SqliteHosts {
    async fn announce(&self, announcement: Announcement) -> Result<()> {
        self.write(announcement).await
    }

    async fn withdraw(&self) -> Result<()> {
        self.delete().await
    }

    /// The file is looked into at most every two seconds, whatever is asked.
    async fn find(&self, app: &str) -> Result<Vec<String>> {
        let look = self.look().await;
        match (look.apps.get(app), &look.failure) {
            (Some(addresses), _) => Ok(addresses.clone()),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Ok(Vec::new()),
        }
    }
}

impl Seen {
    fn fresh(&self) -> Option<Arc<Look>> {
        self.last.load_full().filter(|look| look.at.elapsed() < FRESH)
    }

    /// A failure is believed for as long, so that a file that cannot be read is not tried by every call.
    fn failed(&self, failure: Error) -> Look {
        let before = self.last.load_full();
        if before.as_ref().is_none_or(|before| before.failure.is_none()) {
            tracing::warn!(error = %failure, "the sidecars of this host cannot be looked up");
        }
        let apps = before.map(|before| before.apps.clone()).unwrap_or_default();
        Look { at: Instant::now(), apps, failure: Some(failure) }
    }
}

struct Row {
    app: String,
    process: String,
    address: String,
}

fn has_table(connection: &Connection) -> Result<bool> {
    let look = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'hosts'";
    let found = connection.query_row(look, [], |_| Ok(())).optional();
    found.map(|found| found.is_some()).map_err(|error| from_sqlite(&error))
}

fn rows(connection: &Connection) -> Result<Vec<Row>> {
    let read = || -> rusqlite::Result<Vec<Row>> {
        let mut all = connection.prepare("SELECT app, process, address FROM hosts ORDER BY address")?;
        let row = |row: &rusqlite::Row<'_>| {
            Ok(Row { app: row.get(0)?, process: row.get(1)?, address: row.get(2)? })
        };
        all.query_map([], row)?.collect()
    };
    read().map_err(|error| from_sqlite(&error))
}

/// Takes away what processes that were killed left behind.
fn clear(connection: &Connection) -> Result<()> {
    for row in rows(connection)?.iter().filter(|row| !is_running(&row.process)) {
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

    mod suite {
        use std::sync::Arc;

        use super::*;

        fn registry() -> outrigger_testkit::Subject<dyn AppRegistry> {
            let directory = tempfile::tempdir().expect("a directory");
            let hosts: Arc<dyn AppRegistry> = Arc::new(hosts(&directory));
            outrigger_testkit::Subject::new(hosts).keeping(directory)
        }

        outrigger_testkit::registry_suite!(registry());
    }

    fn hosts(directory: &tempfile::TempDir) -> SqliteHosts {
        let path = Some(directory.path().join("outrigger.db"));
        SqliteHosts::new(SqliteConfig { path, ..SqliteConfig::default() }).expect("a place")
    }

    async fn announce(hosts: &SqliteHosts, app: &str, address: &str) {
        let (app, address) = (app.to_owned(), address.to_owned());
        hosts.announce(Announcement { app, address, ttl: Duration::ZERO }).await.expect("written");
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
        announce(&hosts, "orders", "127.0.0.1:1").await;
        assert_eq!(hosts.find("orders").await.expect("read"), ["127.0.0.1:1"]);
        assert_eq!(hosts.find("order").await.expect("read"), [""; 0]);
        announce(&hosts, "orders", "127.0.0.1:2").await;
        assert_eq!(hosts.find("orders").await.expect("read"), ["127.0.0.1:2"]);
        hosts.withdraw().await.expect("taken back");
        assert_eq!(hosts.find("orders").await.expect("read"), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_look_into_the_file_serves_every_question_for_a_while() {
        let directory = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = (hosts(&directory), hosts(&directory));
        let nobody = [""; 0];
        assert_eq!(ours.find("orders").await.expect("no file is nobody"), nobody);
        announce(&theirs, "orders", "127.0.0.1:1").await;
        for app in ["orders", "shop"] {
            assert_eq!(ours.find(app).await.expect("as seen before"), nobody);
        }
        tokio::time::advance(FRESH).await;
        assert_eq!(ours.find("orders").await.expect("looked again"), ["127.0.0.1:1"]);

        // A file that cannot be read leaves what was seen, and is not tried by each question.
        let path = ours.database.path();
        let good = fs::read(path).expect("read");
        for file in fs::read_dir(directory.path()).expect("listed") {
            fs::write(file.expect("a file").path(), "no database").expect("written");
        }
        tokio::time::advance(FRESH).await;
        assert_eq!(ours.find("orders").await.expect("still found"), ["127.0.0.1:1"]);
        ours.find("shop").await.expect_err("nobody knows");
        for file in fs::read_dir(directory.path()).expect("listed") {
            fs::remove_file(file.expect("a file").path()).expect("removed");
        }
        fs::write(path, good).expect("written");
        ours.find("shop").await.expect_err("the failure is believed as long");
        tokio::time::advance(FRESH).await;
        assert_eq!(ours.find("shop").await.expect("looked again"), nobody);
    }

    #[tokio::test]
    async fn the_dead_are_not_found_and_are_cleared_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let hosts = hosts(&directory);
        // A process number nobody has, and ours as somebody had it before us.
        let dead =
            [as_process(&hosts, "4194304:1"), as_process(&hosts, &format!("{}:0", std::process::id()))];
        for dead in &dead {
            announce(dead, "orders", "127.0.0.1:9").await;
            assert_eq!(hosts.find("orders").await.expect("read"), [""; 0]);
        }
        announce(&hosts, "orders", "127.0.0.1:1").await;
        assert_eq!(hosts.find("orders").await.expect("read"), ["127.0.0.1:1"]);
        let left = rows(&hosts.database.open_reader().expect("opens")).expect("reads").len();
        assert_eq!(left, 1);
    }
}
