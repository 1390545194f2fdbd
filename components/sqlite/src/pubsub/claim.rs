//! A group's deliveries: finding what there is, claiming it, and settling it.

use bytes::Bytes;
use outrigger_component_api::{Error, ErrorKind, Message, Outcome, Result};
use rusqlite::{Connection, params};

use super::topics::metadata;
use crate::batch::Batch;
use crate::readers::now_millis;
use crate::wake::Channel;

/// The most that is claimed at once.
const CLAIMED_AT_ONCE: usize = 64;

/// A group and its member.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) group: i64,
    pub(super) member: i64,
}

/// One delivery, as the file knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) message: i64,
    pub(super) attempt: i64,
    /// When somebody else may have it, in milliseconds since 1970.
    pub(super) until: i64,
}

/// What a look has found.
pub(super) enum Seen {
    Something,
    /// Perhaps something at that time.
    Nothing(Option<i64>),
}

/// Whether there is something to claim now.
pub(super) fn look(connection: &Connection, place: &Place) -> rusqlite::Result<Seen> {
    let moment = connection.unchecked_transaction()?;
    let fresh = moment
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM messages WHERE topic = ?1
             AND id >= (SELECT next FROM topic_groups WHERE id = ?2))",
        )?
        .query_row(params![place.topic, place.group], |row| row.get(0))?;
    let due: Option<i64> = moment
        .prepare_cached("SELECT min(due) FROM deliveries WHERE grp = ?1")?
        .query_row([place.group], |row| row.get(0))?;
    let now = now_millis();
    Ok(if fresh || due.is_some_and(|due| due <= now) { Seen::Something } else { Seen::Nothing(due) })
}

/// Claims up to `most` messages for a member: first what is due again, then what is fresh.
pub(super) fn claim(
    batch: &mut Batch<'_>,
    place: &Place,
    most: usize,
    timeout: i64,
) -> Result<Vec<(Claim, Message)>> {
    let most = most.min(CLAIMED_AT_ONCE);
    let mut claimed = Vec::with_capacity(most);
    // Others wait for the writer: the rest of what has expired is for the next look.
    for _ in 0..4 * CLAIMED_AT_ONCE {
        if claimed.len() == most {
            break;
        }
        let message = match due(batch, place)? {
            Some(message) => message,
            None => match fresh(batch, place)? {
                Some(message) => message,
                None => break,
            },
        };
        // What has expired, or was forgotten for its age, is settled here.
        match read(batch, message)? {
            Some(content) => claimed.push((hold(batch, place, message, timeout)?, content)),
            None => settle_for_good(batch, place.group, message)?,
        }
    }
    Ok(claimed)
}

fn due(batch: &Batch<'_>, place: &Place) -> Result<Option<i64>> {
    let sql = "SELECT message FROM deliveries WHERE grp = ?1 AND due <= ?2 ORDER BY due, message LIMIT 1";
    batch.find(sql, params![place.group, batch.now()], |row| row.get(0))
}

fn fresh(batch: &Batch<'_>, place: &Place) -> Result<Option<i64>> {
    let sql = "SELECT id FROM messages WHERE topic = ?1
               AND id >= (SELECT next FROM topic_groups WHERE id = ?2) ORDER BY id LIMIT 1";
    let found = batch.find(sql, params![place.topic, place.group], |row| row.get::<_, i64>(0))?;
    if let Some(message) = found {
        batch.execute("UPDATE topic_groups SET next = ?2 WHERE id = ?1", [place.group, message + 1])?;
    }
    Ok(found)
}

fn read(batch: &Batch<'_>, message: i64) -> Result<Option<Message>> {
    let sql = "SELECT data, metadata FROM messages WHERE id = ?1 AND (expires IS NULL OR expires > ?2)";
    let row = batch.find(sql, params![message, batch.now()], |row| {
        let data = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        Ok((Bytes::copy_from_slice(data), row.get::<_, String>(1)?))
    })?;
    row.map(|(data, json)| Ok(Message { data, metadata: metadata(&json)?, ttl: None })).transpose()
}

fn hold(batch: &Batch<'_>, place: &Place, message: i64, timeout: i64) -> Result<Claim> {
    // The clock is read in whole milliseconds: rounded up, so that nothing is taken away early.
    let until = batch.now().saturating_add(timeout).saturating_add(1);
    let sql = "INSERT INTO deliveries (grp, message, attempts, holder, due) VALUES (?1, ?2, 1, ?3, ?4)
               ON CONFLICT (grp, message) DO UPDATE SET attempts = attempts + 1, holder = ?3, due = ?4
               RETURNING attempts";
    let attempt = batch.find(sql, params![place.group, message, place.member, until], |row| row.get(0))?;
    let attempt = attempt.ok_or_else(|| Error::internal("the delivery was not noted"))?;
    Ok(Claim { message, attempt, until })
}

/// Notes what became of a delivery, if it is the latest of its message.
pub(super) fn settle(batch: &mut Batch<'_>, place: &Place, claim: Claim, outcome: Outcome) -> Result<()> {
    let sql = "SELECT 1 FROM deliveries WHERE grp = ?1 AND message = ?2 AND holder = ?3 AND attempts = ?4";
    let of = [place.group, claim.message, place.member, claim.attempt];
    if batch.find(sql, of, |_| Ok(()))?.is_none() {
        let message =
            "the message is no longer this subscriber's: it took longer than the processing timeout, or left";
        return Err(Error::new(ErrorKind::FailedPrecondition, message));
    }
    let (after, uncounted) = match outcome {
        Outcome::Ack | Outcome::Drop => return settle_for_good(batch, place.group, claim.message),
        Outcome::Retry { after } => (after, 0),
        Outcome::Return { after } => (after, 1),
    };
    let pause = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    // Rounded up, so that it does not come early.
    let due = if pause == 0 { batch.now() } else { batch.now().saturating_add(pause).saturating_add(1) };
    batch.execute(
        "UPDATE deliveries SET holder = NULL, due = ?3, attempts = attempts - ?4 WHERE grp = ?1 AND message = ?2",
        [place.group, claim.message, due, uncounted],
    )?;
    batch.ring(Channel::PubSub);
    Ok(())
}

/// The group is done with a message; the last group frees it.
fn settle_for_good(batch: &Batch<'_>, group: i64, message: i64) -> Result<()> {
    batch.execute("DELETE FROM deliveries WHERE grp = ?1 AND message = ?2", [group, message])?;
    batch.execute("UPDATE messages SET waiting = waiting - 1 WHERE id = ?1", [message])?;
    batch.execute("DELETE FROM messages WHERE id = ?1 AND waiting <= 0", [message])?;
    Ok(())
}

/// Gives back everything a member holds: what it has handed out, and the rest, of which nobody has heard. What is
/// overdue was handed out once.
pub(super) fn leave(batch: &mut Batch<'_>, place: &Place, handed: &[i64]) -> Result<()> {
    let now = batch.now();
    for message in handed {
        batch.execute(
            "UPDATE deliveries SET holder = NULL, due = ?3 WHERE grp = ?1 AND message = ?4 AND holder = ?2",
            [place.group, place.member, now, *message],
        )?;
    }
    batch.execute(
        "UPDATE deliveries SET holder = NULL, due = ?3, attempts = attempts - (due > ?3)
         WHERE grp = ?1 AND holder = ?2",
        [place.group, place.member, now],
    )?;
    batch.ring(Channel::PubSub);
    Ok(())
}
