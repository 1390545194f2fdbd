//! A place in the history of changes, moved along as the history grows.

use std::sync::Arc;

use outrigger_component_api::{
    ConfigurationChange as Change, ConfigurationEvent as Event, ConfigurationItem as Item, Error, Result,
    Revision, Selector, Watch, async_trait,
};
use rusqlite::{Connection, Row, params};

use super::tags;
use crate::store::Store;
use crate::wake::{Channel, Ear};

/// The most changes one event carries.
const CHANGES: u32 = 100;

pub(super) struct SqliteWatch {
    store: Arc<Store>,
    selector: Selector,
    /// The last revision that was looked at.
    at: i64,
    ear: Ear,
}

/// What the history had to say about the time after a revision.
struct Found {
    rows: Vec<Recorded>,
    /// The last revision looked at.
    at: i64,
    compacted: bool,
}

/// A change as a row has it.
struct Recorded {
    key: String,
    content: Option<String>,
    tags: String,
    revision: i64,
}

impl SqliteWatch {
    pub(super) async fn start(store: Arc<Store>, selector: Selector, from: Option<Revision>) -> Result<Self> {
        let from = from.map(|from| from.number()).transpose()?.map(i64::try_from);
        // Before looking where the history ends: what comes after that is heard.
        let ear = store.listen(Channel::Configuration).await?;
        let last = store.read(last).await?;
        let at = match from {
            None => last,
            Some(Ok(from)) if from <= last => from,
            Some(_) => return Err(Error::invalid("revision is later than any this store has given out")),
        };
        Ok(Self { store, selector, at, ear })
    }

    async fn look(&mut self) -> Result<Option<Event>> {
        let (selector, at) = (&self.selector, self.at);
        let found = self.store.read(|connection| look(connection, selector, at)).await?;
        if found.compacted {
            self.at = found.at;
            return Ok(Some(Event::Compacted));
        }
        let changes = found.rows.into_iter().filter(|row| self.selector.selects(&row.key));
        let changes = changes.map(|row| row.change(&self.selector)).collect::<Result<Vec<_>>>()?;
        self.at = found.at;
        let revision = Some(Revision(found.at.to_string()));
        Ok((!changes.is_empty()).then_some(Event::Changed { changes, revision }))
    }
}

#[async_trait]
impl Watch for SqliteWatch {
    async fn next(&mut self) -> Result<Event> {
        loop {
            let before = self.at;
            // Nothing waits between finding an event and returning it, so a dropped wait loses none.
            if let Some(event) = self.look().await? {
                return Ok(event);
            }
            if self.at == before {
                self.ear.rung().await?;
            }
        }
    }
}

fn last(connection: &Connection) -> rusqlite::Result<i64> {
    let mut select = connection.prepare_cached("SELECT value FROM counters WHERE name = 'configuration'")?;
    select.query_row([], |row| row.get(0))
}

fn look(connection: &Connection, selector: &Selector, at: i64) -> rusqlite::Result<Found> {
    let moment = connection.unchecked_transaction()?;
    let last = last(&moment)?;
    let oldest: Option<i64> = moment
        .prepare_cached("SELECT min(revision) FROM configuration_changes")?
        .query_row([], |row| row.get(0))?;
    if at < last && oldest.is_none_or(|oldest| oldest > at + 1) {
        return Ok(Found { rows: Vec::new(), at: last, compacted: true });
    }
    let mut select = moment.prepare_cached(
        "SELECT key, content, tags, revision FROM configuration_changes
         WHERE revision > ?1 AND app = ?2 AND grp = ?3 AND label = ?4 ORDER BY revision LIMIT ?5",
    )?;
    let Selector { app_id, group, label, .. } = selector;
    let rows = select.query_map(params![at, app_id, group, label, CHANGES], Recorded::read)?;
    let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    let full = rows.len() == CHANGES as usize;
    let at = rows.last().filter(|_| full).map_or(last, |row| row.revision);
    Ok(Found { rows, at, compacted: false })
}

impl Recorded {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { key: row.get(0)?, content: row.get(1)?, tags: row.get(2)?, revision: row.get(3)? })
    }

    fn change(self, selector: &Selector) -> Result<Change> {
        let item = Item {
            key: self.key,
            group: selector.group.clone(),
            label: selector.label.clone(),
            version: self.revision.to_string(),
            ..Item::default()
        };
        Ok(match self.content {
            None => Change::Deleted(item),
            Some(content) => Change::Set(Item { content, tags: tags(&self.tags)?, ..item }),
        })
    }
}
