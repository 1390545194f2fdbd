//! Lua scripts, sent by their hash; their text only where the server does not have them.

use outrigger_component_api::Result;
use redis::{Cmd, RedisError, Value};

use crate::client::{Connection, from_redis, lacks_script};
use crate::link::Links;

/// A script and its hash.
pub(crate) struct Script {
    code: &'static str,
    hash: String,
}

/// What a script is called with.
#[derive(Default)]
pub(crate) struct Call<'a> {
    pub(crate) keys: Vec<&'a [u8]>,
    pub(crate) arguments: Vec<Argument<'a>>,
}

/// A value for a script.
pub(crate) enum Argument<'a> {
    Bytes(&'a [u8]),
    Text(String),
    Word(&'static str),
}

impl redis::ToRedisArgs for Argument<'_> {
    fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
        out.write_arg(match self {
            Self::Bytes(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
            Self::Word(word) => word.as_bytes(),
        });
    }
}

impl redis::ToSingleRedisArg for Argument<'_> {}

impl Script {
    pub(crate) fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Runs the script on the node that holds its first key.
    pub(crate) async fn run(&self, links: &Links, call: &Call<'_>) -> Result<Value> {
        self.try_run(links, call).await?.map_err(from_redis)
    }

    /// As [`Script::run`], leaving the server's own refusals to the caller.
    pub(crate) async fn try_run(&self, links: &Links, call: &Call<'_>) -> Result<Result<Value, RedisError>> {
        match links.try_send(&self.by_hash(call)).await? {
            Err(error) if lacks_script(&error) => links.try_send(&self.by_text(call)).await,
            answer => Ok(answer),
        }
    }

    /// Runs the script on this very connection.
    pub(crate) async fn run_on(
        &self,
        connection: &mut Connection,
        call: &Call<'_>,
    ) -> Result<Value, RedisError> {
        match connection.send(&self.by_hash(call)).await {
            Err(error) if lacks_script(&error) => connection.send(&self.by_text(call)).await,
            answer => answer,
        }
    }

    /// The command that needs the server to have the script.
    pub(crate) fn by_hash(&self, call: &Call<'_>) -> Cmd {
        command("EVALSHA", &self.hash, call)
    }

    /// The command that also gives the script to the server.
    pub(crate) fn by_text(&self, call: &Call<'_>) -> Cmd {
        command("EVAL", self.code, call)
    }
}

fn command(name: &str, script: &str, call: &Call<'_>) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(call.keys.len());
    for key in &call.keys {
        command.arg(*key);
    }
    for argument in &call.arguments {
        command.arg(argument);
    }
    command
}
