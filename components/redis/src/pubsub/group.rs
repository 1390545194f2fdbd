//! The consumer groups this process has members of, and what members ask of Redis.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use outrigger_component_api::{Result, Start};
use parking_lot::Mutex;
use redis::Value;
use tokio::sync::watch;

use super::message::{Entry, array, number, text, unexpected};
use crate::client::{from_redis, lacks_group};
use crate::link::Links;
use crate::script::{Argument, Call, Script};

/// Whom messages belong to that nobody has.
const NOBODY: &str = "outrigger-nobody";
/// Longer than any processing timeout.
const LONG_AGO: Duration = Duration::from_secs(30 * 24 * 3600);
/// A message that waited for its retry is taken by the member that asked for it, and after this by any.
const GRACE: Duration = Duration::from_secs(1);
/// Far enough, and within what Redis counts exactly: ten years.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Every group with members here.
pub(super) struct Groups {
    links: Arc<Links>,
    scripts: Arc<Scripts>,
    groups: Mutex<HashMap<(String, String), Weak<Group>>>,
}

struct Scripts {
    claim: Script,
    reclaim: Script,
    release: Script,
    wait: Script,
}

/// One group of one topic.
pub(super) struct Group {
    pub(super) topic: String,
    pub(super) name: String,
    pub(super) links: Arc<Links>,
    scripts: Arc<Scripts>,
    /// Changes when somebody gave messages back, so that the others need not wait until they come across them.
    released: watch::Sender<u64>,
}

/// What looking for abandoned messages brought.
pub(super) struct Reclaimed {
    pub(super) entries: Vec<Entry>,
    /// Where to go on, if there was more than fitted.
    pub(super) more: Option<String>,
    /// When the next one may be due.
    pub(super) due: Duration,
}

impl Groups {
    pub(super) fn new(links: Arc<Links>) -> Self {
        let scripts = Scripts {
            claim: Script::new(include_str!("claim.lua")),
            reclaim: Script::new(include_str!("reclaim.lua")),
            release: Script::new(include_str!("release.lua")),
            wait: Script::new(include_str!("wait.lua")),
        };
        Self { links, scripts: Arc::new(scripts), groups: Mutex::default() }
    }

    pub(super) fn find(&self, topic: &str, name: &str) -> Arc<Group> {
        let mut groups = self.groups.lock();
        groups.retain(|_, group| group.strong_count() > 0);
        let key = (topic.to_owned(), name.to_owned());
        if let Some(group) = groups.get(&key).and_then(Weak::upgrade) {
            return group;
        }
        let group = Arc::new(Group {
            topic: topic.to_owned(),
            name: name.to_owned(),
            links: Arc::clone(&self.links),
            scripts: Arc::clone(&self.scripts),
            released: watch::Sender::new(0),
        });
        groups.insert(key, Arc::downgrade(&group));
        group
    }
}

impl Group {
    /// Tells when messages were given back.
    pub(super) fn releases(&self) -> watch::Receiver<u64> {
        self.released.subscribe()
    }

    /// Records that the group is done with a message.
    pub(super) async fn acknowledge(&self, id: &str) -> Result<()> {
        let mut command = redis::cmd("XACK");
        command.arg(&self.topic).arg(&self.name).arg(id);
        self.links.send(&command).await.map(drop)
    }

    /// Takes a message of this consumer again; none if it is not its own any more. `counted` tells whether its last
    /// delivery reached anybody.
    pub(super) async fn claim(&self, consumer: &str, id: &str, counted: bool) -> Result<Option<Entry>> {
        let arguments = vec![Argument::Bytes(id.as_bytes()), Argument::Word(if counted { "1" } else { "0" })];
        let answer = self.run(&self.scripts.claim, consumer, arguments).await?;
        let mut parts = array(answer)?.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(id), Some(fields), Some(attempt)) => entry(id, fields, &attempt),
            _ => Ok(None),
        }
    }

    /// Keeps everybody from taking a message of this consumer before a pause is over. `counted` tells whether its last
    /// delivery reached anybody.
    pub(super) async fn wait(&self, consumer: &str, id: &str, pause: Duration, counted: bool) -> Result<()> {
        let arguments = vec![
            Argument::Bytes(id.as_bytes()),
            Argument::Text(pause.min(LONGEST_PAUSE).as_millis().to_string()),
            Argument::Word(if counted { "0" } else { "1" }),
        ];
        self.run(&self.scripts.wait, consumer, arguments).await.map(drop)
    }

    /// Takes messages over that have been unsettled for `patience`.
    pub(super) async fn reclaim(
        &self,
        consumer: &str,
        patience: Duration,
        count: usize,
        from: Option<String>,
    ) -> Result<Reclaimed> {
        let arguments = vec![
            Argument::Text(patience.as_millis().to_string()),
            Argument::Text(GRACE.min(patience).as_millis().to_string()),
            Argument::Text(count.to_string()),
            Argument::Text(from.unwrap_or_else(|| "-".to_owned())),
        ];
        let answer = self.run(&self.scripts.reclaim, consumer, arguments).await?;
        let mut parts = array(answer)?.into_iter();
        let (Some(more), Some(due), Some(messages)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unexpected());
        };
        let mut entries = Vec::new();
        for message in array(messages)? {
            let mut parts = array(message)?.into_iter();
            if let (Some(id), Some(fields), Some(attempt)) = (parts.next(), parts.next(), parts.next()) {
                entries.extend(entry(id, fields, &attempt)?);
            }
        }
        let more = text(more)?;
        let due = Duration::from_millis(number(&due)?);
        Ok(Reclaimed { entries, more: (!more.is_empty()).then_some(more), due })
    }

    /// Gives back whatever a consumer has not settled, and forgets it. It has handed these out.
    pub(super) async fn release(&self, consumer: &str, handed_out: &[String]) -> Result<()> {
        loop {
            let long_ago = Argument::Text(LONG_AGO.as_millis().to_string());
            let handed_out = handed_out.iter().map(|id| Argument::Bytes(id.as_bytes()));
            let arguments = [Argument::Word(NOBODY), long_ago].into_iter().chain(handed_out).collect();
            let answer = self.run(&self.scripts.release, consumer, arguments).await?;
            if number(&answer)? == 0 {
                self.released.send_modify(|count| *count += 1);
                return Ok(());
            }
        }
    }

    /// Runs a script on the stream. A group that is gone, as after Redis has lost its data, is made again.
    async fn run(&self, script: &Script, consumer: &str, more: Vec<Argument<'_>>) -> Result<Value> {
        let mut arguments = vec![Argument::Bytes(self.name.as_bytes()), Argument::Bytes(consumer.as_bytes())];
        arguments.extend(more);
        let call = Call { keys: vec![self.topic.as_bytes()], arguments };
        match script.try_run(&self.links, &call).await? {
            Err(error) if lacks_group(&error) => {
                self.create_again().await?;
                script.run(&self.links, &call).await
            }
            answer => answer.map_err(from_redis),
        }
    }

    /// Makes the group again, from the first message there is: better twice than never.
    pub(super) async fn create_again(&self) -> Result<()> {
        tracing::warn!(topic = self.topic, group = self.name, "consumer group was gone; made again");
        super::create(&self.links, self, Start::Earliest).await
    }
}

fn entry(id: Value, fields: Value, attempt: &Value) -> Result<Option<Entry>> {
    let attempt = u32::try_from(number(attempt)?).unwrap_or(u32::MAX);
    Entry::read(id, fields, attempt)
}
