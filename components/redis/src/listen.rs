//! Notifications of keys that were touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outrigger_component_api::{Error, ErrorKind, Result};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;

use crate::client::{Client, Connection, from_reading, from_redis};
use crate::link::Links;

/// Notifications that wait to be looked at. When there are more, listening starts over.
const WAITING: usize = 4096;
/// What we need to be told of: keyspace events of strings, of keys of any kind, expiry and eviction.
const EVENTS: &str = "K$gxe";

/// What comes in place of a channel when a connection is lost.
const END: &str = "";

/// One connection's way to the listener. Lost with the connection, it says so: the others go on without it.
struct End(mpsc::Sender<String>);

impl Drop for End {
    fn drop(&mut self) {
        // A full channel starts over anyway.
        drop(self.0.try_send(END.to_owned()));
    }
}

/// Listens to every master there is.
pub(crate) struct Listener {
    touched: mpsc::Receiver<String>,
    prefix: String,
    full: Arc<AtomicBool>,
    connections: Vec<Connection>,
}

impl Listener {
    /// Listens to these keys, or to all where none are named.
    pub(crate) async fn open(links: &Links, db: u16, keys: &[String]) -> Result<Self> {
        let (sender, touched) = mpsc::channel(WAITING);
        let full = Arc::new(AtomicBool::new(false));
        let prefix = format!("__keyspace@{db}__:");
        let mut connections = Vec::new();
        for master in links.client().masters(links).await? {
            let (sender, full) = (sender.clone(), Arc::clone(&full));
            let end = End(sender);
            let push = move |info: PushInfo| {
                if let Some(channel) = channel(info)
                    && end.0.try_send(channel).is_err()
                {
                    full.store(true, Ordering::Release);
                }
            };
            connections.push(listen(&master.client, push, &prefix, keys).await?);
        }
        Ok(Self { touched, prefix, full, connections })
    }

    /// The next key that was touched; none when some may have been missed, and listening has to start over.
    pub(crate) async fn touched(&mut self) -> Option<String> {
        loop {
            let overflowed = self.full.load(Ordering::Acquire);
            if overflowed || self.connections.iter().any(Connection::is_lost) {
                return None;
            }
            let channel = self.touched.recv().await?;
            if channel == END {
                return None;
            }
            if let Some(key) = channel.strip_prefix(&self.prefix) {
                return Some(key.to_owned());
            }
        }
    }
}

async fn listen(
    master: &Client,
    push: impl Fn(PushInfo) + Send + Sync + 'static,
    prefix: &str,
    keys: &[String],
) -> Result<Connection> {
    let mut connection = master.connect_to_listen(push).await?;
    turn_on(&mut connection).await?;
    if keys.is_empty() {
        connection.listen_to_all(&format!("{prefix}*")).await.map_err(from_redis)?;
    } else {
        let channels: Vec<_> = keys.iter().map(|key| format!("{prefix}{key}")).collect();
        connection.listen_to(&channels).await.map_err(from_redis)?;
    }
    Ok(connection)
}

/// Has Redis tell of what we need, besides what it tells already.
async fn turn_on(connection: &mut Connection) -> Result<()> {
    let mut get = redis::cmd("CONFIG");
    get.arg("GET").arg("notify-keyspace-events");
    let present: Vec<String> = match connection.send(&get).await {
        Ok(Value::Map(pairs)) => {
            let values = pairs.into_iter().map(|(_, value)| redis::from_redis_value(value));
            values.collect::<Result<_, _>>().map_err(from_reading)?
        }
        Ok(value) => redis::from_redis_value(value).map_err(from_reading)?,
        Err(error) => {
            let error = from_redis(error);
            if error.is_retryable() {
                return Err(error);
            }
            tracing::warn!(%error, "cannot see whether notify-keyspace-events has {EVENTS}");
            return Ok(());
        }
    };
    let present = present.last().map(String::as_str).unwrap_or_default();
    let has = |event: char| present.contains(event) || (event != 'K' && present.contains('A'));
    let missing: String = EVENTS.chars().filter(|event| !has(*event)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("notify-keyspace-events").arg(format!("{present}{missing}"));
    connection.send(&set).await.map(drop).map_err(|error| {
        let error = from_redis(error);
        if error.is_retryable() {
            return error;
        }
        let message = "redis tells nobody of changes: set its notify-keyspace-events to K$gxe";
        Error::new(ErrorKind::FailedPrecondition, message).with_source(error)
    })
}

/// The channel of a notification.
fn channel(info: PushInfo) -> Option<String> {
    let at = match info.kind {
        PushKind::Message => 0,
        PushKind::PMessage => 1,
        _ => return None,
    };
    redis::from_redis_value(info.data.into_iter().nth(at)?).ok()
}
