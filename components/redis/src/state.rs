//! The state block on Redis, in Dapr's layout: a hash per entry with the fields `data` and `version`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use outrigger_component_api::{
    Backend, BuildContext, BulkOptions, Change, Component, Concurrency, Condition, Consistency,
    DeleteOptions, Entry, Error, Etag, GetOptions, Key, Result, SetOptions, StateCapabilities, StateStore,
    async_trait,
};
use redis::{Cmd, RedisError, Value};

use crate::client::{Client, from_reading, from_redis};
use crate::config::RedisStateConfig;
use crate::key::beside;
use crate::link::Links;
use crate::replicas::Replicas;
use crate::script::{Argument, Call, Script};

/// What one pipeline carries at most: enough to hide the round trip, little enough for the others on the connection.
const PIPELINE: usize = 128;
/// The most keys of a cluster that are asked for at once.
const AT_ONCE: usize = 64;
/// Longer than anybody waits, and short enough for Redis to count.
const LONGEST_TTL: Duration = Duration::from_secs(1_000_000_000_000);

/// Registers [`RedisState`] as `state.redis`.
pub struct RedisStateBackend;

#[async_trait]
impl Backend for RedisStateBackend {
    const TYPE: &'static str = "state.redis";
    const ABOUT: &'static str = "State in Redis, a cluster of it, or what sentinels say is the master.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("redisHost", "localhost:6379")];
    type Config = RedisStateConfig;
    type Block = dyn StateStore;

    async fn build(config: RedisStateConfig, _: &BuildContext) -> Result<Arc<dyn StateStore>> {
        Ok(Arc::new(RedisState::new(&config)?))
    }
}

/// A state store in Redis.
///
/// Each write is one script, so that condition, fence, value and expiry are decided and written at one moment. A write
/// with [`Consistency::Strong`] is answered once every connected replica has it.
pub struct RedisState {
    links: Links,
    replicas: Replicas,
    write: Script,
    ttl: Option<Duration>,
}

impl RedisState {
    /// Reads the settings; connects to nothing.
    pub fn new(config: &RedisStateConfig) -> Result<Self> {
        let server = config.server();
        Ok(Self {
            links: Links::new(Client::new(&server)?),
            replicas: Replicas::new(Client::new(&server)?),
            write: Script::new(include_str!("state/write.lua")),
            ttl: config.ttl_in_seconds.map(Duration::from_secs),
        })
    }

    /// Applies changes all together or not at all.
    async fn apply(&self, changes: &[Change]) -> Result<Vec<Option<Etag>>> {
        let call = Arguments::of(changes, self.ttl, self.links.client().is_cluster())?;
        let answer = if changes.iter().any(|change| consistency(change) == Consistency::Strong) {
            // Boxed: the others should not carry its size.
            Box::pin(self.replicas.write(&self.links, &self.write, &call.call(), was_applied)).await?
        } else {
            self.write.run(&self.links, &call.call()).await?
        };
        read_answer(changes, &answer)
    }

    async fn apply_one(&self, change: Change) -> Result<Option<Etag>> {
        let mut etags = self.apply(&[change]).await.map_err(without_position)?;
        etags.pop().ok_or_else(|| Error::internal("redis gave no answer to a write"))
    }

    /// Changes in one go, each on its own.
    async fn pipeline(&self, changes: &[Change]) -> Result<Vec<Result<Option<Etag>>>> {
        let mut pipeline = redis::Pipeline::with_capacity(changes.len());
        let mut sent = Vec::with_capacity(changes.len());
        for change in changes {
            let arguments = Arguments::of(std::slice::from_ref(change), self.ttl, false);
            sent.push(arguments.map(|arguments| {
                // The first brings the script along, so that the others find it.
                let call = arguments.call();
                let first = pipeline.is_empty();
                pipeline.add_command(if first {
                    self.write.by_text(&call)
                } else {
                    self.write.by_hash(&call)
                });
            }));
        }
        let mut answers = match pipeline.is_empty() {
            true => Vec::new(),
            false => self.links.send_all(&pipeline).await?,
        }
        .into_iter();
        let read = |(change, sent): (&Change, Result<()>)| {
            sent?;
            let answer = answers.next().ok_or_else(|| Error::internal("redis gave no answer to a write"))?;
            let etags = read_answer(std::slice::from_ref(change), &answer.map_err(from_redis)?);
            Ok(etags.map_err(without_position)?.pop().flatten())
        };
        Ok(changes.iter().zip(sent).map(read).collect())
    }

    /// Changes of many nodes: one key's in order, the keys beside each other.
    async fn scatter(&self, changes: Vec<Change>) -> Vec<Result<Option<Etag>>> {
        let mut lanes: Vec<(Key, Vec<(usize, Change)>)> = Vec::new();
        for (position, change) in changes.into_iter().enumerate() {
            match lanes.iter_mut().find(|(key, _)| key == change.key()) {
                Some((_, lane)) => lane.push((position, change)),
                None => lanes.push((change.key().clone(), vec![(position, change)])),
            }
        }
        let run = |(_, lane): (Key, Vec<(usize, Change)>)| async move {
            let mut answers = Vec::with_capacity(lane.len());
            for (position, change) in lane {
                answers.push((position, self.apply_one(change).await));
            }
            answers
        };
        let lanes: Vec<_> = lanes.into_iter().map(run).collect();
        let mut answers: Vec<_> = stream::iter(lanes).buffered(AT_ONCE).collect::<Vec<_>>().await.concat();
        answers.sort_by_key(|(position, _)| *position);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Result<Option<Entry>>>> {
        let mut pipeline = redis::Pipeline::with_capacity(keys.len() * 2);
        for key in keys {
            pipeline.add_command(fields(key)).add_command(time_left(key));
        }
        let answers = self.links.send_all(&pipeline).await?;
        let mut answers = answers.into_iter();
        let mut pairs = Vec::with_capacity(keys.len());
        while let (Some(fields), Some(left)) = (answers.next(), answers.next()) {
            pairs.push(entry(fields, left));
        }
        Ok(pairs)
    }
}

#[async_trait]
impl Component for RedisState {
    async fn ping(&self) -> Result<()> {
        self.links.ping().await
    }
}

#[async_trait]
impl StateStore for RedisState {
    fn capabilities(&self) -> StateCapabilities {
        StateCapabilities {
            etags: true,
            ttl: true,
            transactions: true,
            max_changes: None,
            binary_keys: true,
            persistent: true,
            fencing: true,
        }
    }

    async fn get(&self, key: &Key, _: GetOptions) -> Result<Option<Entry>> {
        self.read_many(std::slice::from_ref(key)).await?.pop().unwrap_or(Ok(None))
    }

    async fn get_bulk(&self, keys: &[Key], options: BulkOptions) -> Result<Vec<Result<Option<Entry>>>> {
        if self.links.client().is_cluster() {
            let get = GetOptions { consistency: options.consistency };
            let reads: Vec<_> = keys.iter().map(|key| self.get(key, get)).collect();
            return Ok(stream::iter(reads).buffered(AT_ONCE).collect().await);
        }
        let mut entries = Vec::with_capacity(keys.len());
        for keys in keys.chunks(PIPELINE) {
            entries.extend(self.read_many(keys).await?);
        }
        Ok(entries)
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<Etag> {
        let etag = self.apply_one(Change::Set { key: key.clone(), value, options }).await?;
        etag.ok_or_else(|| Error::internal("redis gave no version"))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.apply_one(Change::Delete { key: key.clone(), options }).await.map(drop)
    }

    async fn write_bulk(&self, changes: Vec<Change>) -> Result<Vec<Result<Option<Etag>>>> {
        let strong = changes.iter().any(|change| consistency(change) == Consistency::Strong);
        if strong || self.links.client().is_cluster() {
            return Ok(self.scatter(changes).await);
        }
        let mut answers = Vec::with_capacity(changes.len());
        for changes in changes.chunks(PIPELINE) {
            match self.pipeline(changes).await {
                Ok(more) => answers.extend(more),
                Err(error) if answers.is_empty() => return Err(error),
                // What was applied before keeps its answer.
                Err(error) => answers.extend(changes.iter().map(|_| Err(error.clone()))),
            }
        }
        Ok(answers)
    }

    async fn transact(&self, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() { Ok(()) } else { self.apply(&changes).await.map(drop) }
    }
}

/// What the script takes, for some changes.
struct Arguments<'c> {
    keys: Vec<(&'c [u8], Cow<'c, [u8]>)>,
    words: Vec<[Word<'c>; 6]>,
}

#[derive(Clone)]
enum Word<'c> {
    Bytes(&'c [u8]),
    Number(u128),
    Fixed(&'static str),
}

impl<'c> Arguments<'c> {
    fn of(changes: &'c [Change], default_ttl: Option<Duration>, cluster: bool) -> Result<Self> {
        let mut arguments =
            Self { keys: Vec::with_capacity(changes.len()), words: Vec::with_capacity(changes.len()) };
        for (position, change) in changes.iter().enumerate() {
            arguments.add(change, default_ttl, cluster).map_err(|error| error.with("operation", position))?;
        }
        Ok(arguments)
    }

    fn add(&mut self, change: &'c Change, default_ttl: Option<Duration>, cluster: bool) -> Result<()> {
        let none = || Word::Fixed("");
        let condition = match change.condition() {
            Condition::Always => none(),
            Condition::Absent => Word::Fixed("absent"),
            Condition::Matches(etag) => {
                etag.version()?;
                Word::Bytes(etag.as_str().as_bytes())
            }
        };
        let (what, value, ttl, first_write, fence) = match change {
            Change::Set { value, options, .. } => (
                "set",
                value.as_ref(),
                options.ttl.or(default_ttl),
                options.concurrency == Concurrency::FirstWrite,
                options.fence,
            ),
            Change::Delete { options, .. } => ("delete", &[][..], None, false, options.fence),
        };
        let ttl = ttl.filter(|ttl| *ttl <= LONGEST_TTL);
        let key = change.key().as_bytes();
        self.keys.push((
            key,
            match fence {
                Some(_) => Cow::Owned(beside(key, "fence", cluster)?),
                None => Cow::Borrowed(key),
            },
        ));
        self.words.push([
            Word::Fixed(what),
            condition,
            Word::Bytes(value),
            ttl.map_or_else(none, |ttl| Word::Number(ttl.as_nanos().div_ceil(1_000_000))),
            Word::Fixed(if first_write { "1" } else { "" }),
            fence.map_or_else(none, |fence| Word::Number(fence.into())),
        ]);
        Ok(())
    }

    fn call(&self) -> Call<'_> {
        let argument = |word: &Word<'c>| match word {
            Word::Bytes(bytes) => Argument::Bytes(bytes),
            Word::Number(number) => Argument::Text(number.to_string()),
            Word::Fixed(word) => Argument::Word(word),
        };
        Call {
            keys: self.keys.iter().flat_map(|(key, fence)| [*key, fence.as_ref()]).collect(),
            arguments: self.words.iter().flatten().map(argument).collect(),
        }
    }
}

fn consistency(change: &Change) -> Consistency {
    match change {
        Change::Set { options, .. } => options.consistency,
        Change::Delete { options, .. } => options.consistency,
    }
}

/// The etag each set got, or why nothing was done.
fn read_answer(changes: &[Change], answer: &Value) -> Result<Vec<Option<Etag>>> {
    let numbers: Vec<i64> = redis::from_redis_value_ref(answer).map_err(from_reading)?;
    match *numbers.as_slice() {
        [-1, position, reason] => Err(refused(reason).with("operation", position)),
        _ if numbers.len() == changes.len() => Ok(changes
            .iter()
            .zip(numbers)
            .map(|(change, version)| {
                matches!(change, Change::Set { .. }).then(|| Etag::from(version.unsigned_abs()))
            })
            .collect()),
        _ => Err(Error::internal("redis gave an answer of the wrong length")),
    }
}

/// Whether the script did what it was asked.
fn was_applied(answer: &Value) -> bool {
    !matches!(answer, Value::Array(numbers) if numbers.first() == Some(&Value::Int(-1)))
}

fn refused(reason: i64) -> Error {
    Error::conflict(match reason {
        1 => "the key exists already: another write came first",
        2 => "the etag is stale: the key was written since it was read",
        3 => "the etag is stale: the key was deleted or has expired since",
        _ => "the fencing token is too old: a later holder of the lock has written since",
    })
}

/// A single change is not an operation of several.
fn without_position(error: Error) -> Error {
    let mut plain = Error::new(error.kind(), error.message().to_owned());
    for (name, value) in error.context().iter().filter(|(name, _)| *name != "operation") {
        plain = plain.with(name, value);
    }
    if let Some(source) = std::error::Error::source(&error) {
        plain = plain.with_source(source.to_string());
    }
    if error.is_retryable() { plain } else { plain.permanent() }
}

fn fields(key: &Key) -> Cmd {
    let mut command = redis::cmd("HMGET");
    command.arg(key.as_bytes()).arg("data").arg("version");
    command
}

fn time_left(key: &Key) -> Cmd {
    let mut command = redis::cmd("PTTL");
    command.arg(key.as_bytes());
    command
}

/// An entry from its fields and the milliseconds it has left (-1 is for ever, -2 is gone).
fn entry(fields: Result<Value, RedisError>, left: Result<Value, RedisError>) -> Result<Option<Entry>> {
    type Fields = (Option<Vec<u8>>, Option<String>);
    let fields = fields.map_err(from_redis)?;
    let (data, version): Fields = redis::from_redis_value(fields).map_err(from_reading)?;
    let left: i64 = redis::from_redis_value(left.map_err(from_redis)?).map_err(from_reading)?;
    let (Some(data), Some(version)) = (data, version) else { return Ok(None) };
    let Some(etag) = Etag::from_caller(&version) else { return Ok(None) };
    let expires = match u64::try_from(left) {
        Ok(left) => Some(SystemTime::now() + Duration::from_millis(left)),
        Err(_) if left == -1 => None,
        Err(_) => return Ok(None),
    };
    Ok(Some(Entry { value: data.into(), etag, expires }))
}
