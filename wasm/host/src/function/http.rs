//! Requests with whole bodies, through `outrigger:functions/http`.

use std::sync::Arc;

use outrigger_blocks::{Body, Caller, Result};

use super::exports::{Exports, bindings::http};
use super::instance::Started;
use super::measures::{Outcome, Trigger};
use super::message;
use super::runner::{Runner, Work};

struct Ask(http::Request);

impl Work for Ask {
    type Answer = http::Response;

    async fn run(self, started: Started<'_>, exports: &Exports) -> wasmtime::Result<Self::Answer> {
        let Started { store, inner } = started;
        let http = exports.http.as_ref().ok_or_else(|| wasmtime::Error::msg("there is no `http`"))?;
        http.load(&mut *store, &inner)?.call_handle(&mut *store, &self.0).await
    }

    fn outcome(answer: &Self::Answer) -> Outcome {
        if answer.status >= 500 { Outcome::Error } else { Outcome::Ok }
    }
}

pub(crate) async fn serve(
    runner: &Arc<Runner>,
    caller: &Caller<'_>,
    request: ::http::Request<Body>,
) -> Result<::http::Response<Body>> {
    let (head, body) = request.into_parts();
    let max = runner.program.config.max_body;
    let mut entry = runner.enter(caller, Trigger::Http)?;
    let Some(body) = entry.body(body, max).await? else { return Ok(message::too_large(max)) };
    let request = http::Request {
        method: head.method.as_str().to_owned(),
        path: message::path(&head),
        authority: message::authority(&head).unwrap_or_default(),
        headers: message::metadata(&head.headers),
        body,
    };
    let answer = runner.call(caller, entry, Ask(request)).await?;
    let function = &runner.program.name;
    message::answerable(function, answer.body.len(), max)?;
    let head = message::head(function, answer.status, answer.headers)?;
    Ok(head.map(|()| Body::full(answer.body)))
}
