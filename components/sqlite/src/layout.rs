//! The tables, block by block: created where they are missing, refused where they are newer than this program.

use std::collections::BTreeMap;

use outrigger_component_api::{Error, ErrorKind, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::failure::from_sqlite;

/// The tables of one block as this program reads and writes them.
struct Layout {
    block: &'static str,
    version: i64,
    sql: &'static str,
}

const LAYOUTS: &[Layout] = &[
    Layout {
        block: "state",
        version: 1,
        // A rowid table, although the key is primary: values of a kilobyte would make a keyed tree deep and slow.
        sql: "CREATE TABLE state (
                  key     BLOB PRIMARY KEY NOT NULL,
                  value   BLOB NOT NULL,
                  version INTEGER NOT NULL,
                  expires INTEGER
              );
              CREATE INDEX state_expires ON state (expires) WHERE expires IS NOT NULL;
              INSERT OR IGNORE INTO counters (name, value) VALUES ('revision', 0);",
    },
    Layout {
        block: "fences",
        version: 1,
        sql: "CREATE TABLE fences (key BLOB PRIMARY KEY NOT NULL, token INTEGER NOT NULL) WITHOUT ROWID;",
    },
    Layout {
        block: "lock",
        version: 1,
        sql: "CREATE TABLE locks (
                  resource BLOB PRIMARY KEY NOT NULL,
                  owner    TEXT NOT NULL,
                  token    INTEGER NOT NULL,
                  expires  INTEGER NOT NULL
              );
              CREATE INDEX locks_expires ON locks (expires);
              INSERT OR IGNORE INTO counters (name, value) VALUES ('lock', 0);",
    },
    Layout {
        block: "sequencer",
        version: 1,
        sql: "CREATE TABLE sequences (key BLOB PRIMARY KEY NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID;",
    },
    Layout {
        block: "configuration",
        version: 1,
        sql: "CREATE TABLE configuration (
                  app     TEXT NOT NULL,
                  grp     TEXT NOT NULL,
                  label   TEXT NOT NULL,
                  key     TEXT NOT NULL,
                  content TEXT NOT NULL,
                  tags    TEXT NOT NULL,
                  version INTEGER NOT NULL,
                  PRIMARY KEY (app, grp, label, key)
              );
              CREATE TABLE configuration_changes (
                  revision INTEGER PRIMARY KEY NOT NULL,
                  app      TEXT NOT NULL,
                  grp      TEXT NOT NULL,
                  label    TEXT NOT NULL,
                  key      TEXT NOT NULL,
                  content  TEXT,
                  tags     TEXT NOT NULL
              );
              INSERT OR IGNORE INTO counters (name, value) VALUES ('configuration', 0);",
    },
    Layout {
        block: "hosts",
        version: 1,
        sql:
            "CREATE TABLE hosts (process TEXT PRIMARY KEY NOT NULL, app TEXT NOT NULL, address TEXT NOT NULL);
              CREATE INDEX hosts_app ON hosts (app);",
    },
    Layout {
        block: "pubsub",
        version: 1,
        // AUTOINCREMENT: the number of a message that is gone must not come back, groups count by it. Triggers count
        // the messages, whoever deletes them.
        sql: "CREATE TABLE messages (
                  id        INTEGER PRIMARY KEY AUTOINCREMENT,
                  topic     TEXT NOT NULL,
                  data      BLOB NOT NULL,
                  metadata  TEXT NOT NULL,
                  published INTEGER NOT NULL,
                  expires   INTEGER,
                  waiting   INTEGER NOT NULL
              );
              CREATE INDEX messages_topic ON messages (topic, id);
              CREATE INDEX messages_expires ON messages (expires) WHERE expires IS NOT NULL;
              CREATE INDEX messages_unheard ON messages (id) WHERE waiting = 0;
              CREATE TABLE topic_groups (
                  id    INTEGER PRIMARY KEY AUTOINCREMENT,
                  topic TEXT NOT NULL,
                  name  TEXT NOT NULL,
                  next  INTEGER NOT NULL,
                  UNIQUE (topic, name)
              );
              CREATE TABLE deliveries (
                  grp      INTEGER NOT NULL,
                  message  INTEGER NOT NULL,
                  attempts INTEGER NOT NULL,
                  holder   INTEGER,
                  due      INTEGER NOT NULL,
                  PRIMARY KEY (grp, message)
              ) WITHOUT ROWID;
              CREATE INDEX deliveries_due ON deliveries (grp, due, message);
              INSERT OR IGNORE INTO counters (name, value) VALUES ('messages', 0);
              CREATE TRIGGER messages_counted AFTER INSERT ON messages BEGIN
                  UPDATE counters SET value = value + 1 WHERE name = 'messages';
              END;
              CREATE TRIGGER messages_discounted AFTER DELETE ON messages BEGIN
                  UPDATE counters SET value = value - 1 WHERE name = 'messages';
              END;",
    },
];

/// Creates what is missing, in one transaction, so that of several processes that start at once one creates and the
/// others find.
pub(crate) fn create(connection: &mut Connection, application_id: i32) -> Result<()> {
    // Looking first keeps opening an existing store from waiting for the write lock.
    if missing(connection)?.is_empty() {
        return Ok(());
    }
    let begin = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = begin.map_err(|error| from_sqlite(&error))?;
    let missing = missing(&transaction)?;
    add(&transaction, &missing, application_id).map_err(|error| from_sqlite(&error))?;
    transaction.commit().map_err(|error| from_sqlite(&error))
}

fn add(transaction: &Transaction<'_>, missing: &[&Layout], application_id: i32) -> rusqlite::Result<()> {
    transaction.pragma_update(None, "application_id", application_id)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schemas (block TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID;",
    )?;
    for layout in missing {
        transaction.execute_batch(layout.sql)?;
        let sql = "INSERT INTO schemas (block, version) VALUES (?1, ?2)";
        transaction.execute(sql, (layout.block, layout.version))?;
    }
    Ok(())
}

/// The blocks whose tables are not there. Tables of a later layout are not touched.
fn missing(connection: &Connection) -> Result<Vec<&'static Layout>> {
    let present = present(connection).map_err(|error| from_sqlite(&error))?;
    let mut missing = Vec::new();
    for layout in LAYOUTS {
        match present.get(layout.block) {
            None => missing.push(layout),
            Some(version) if *version == layout.version => {}
            Some(version) => {
                let message = "the store was written by a newer version of this program";
                return Err(Error::new(ErrorKind::FailedPrecondition, message).with("schema", version));
            }
        }
    }
    Ok(missing)
}

fn present(connection: &Connection) -> rusqlite::Result<BTreeMap<String, i64>> {
    let exists = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schemas')";
    if !connection.query_row(exists, [], |row| row.get(0))? {
        return Ok(BTreeMap::new());
    }
    let mut select = connection.prepare("SELECT block, version FROM schemas")?;
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
