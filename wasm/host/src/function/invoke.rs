//! Calls by name, through `outrigger:functions/invoke`.

use std::sync::Arc;

use ::http::header::{CONTENT_TYPE, HeaderValue};
use ::http::{Request, Response, StatusCode};
use outrigger_blocks::{Body, Caller, Error, Result};

use super::exports::{Exports, bindings::invoke};
use super::instance::Started;
use super::measures::{Outcome, Trigger};
use super::message;
use super::runner::{Runner, Work};

struct Ask(invoke::Call);

impl Work for Ask {
    type Answer = Result<invoke::Answer, String>;

    async fn run(self, started: Started<'_>, exports: &Exports) -> wasmtime::Result<Self::Answer> {
        let Started { store, inner } = started;
        let invoke = exports.invoke.as_ref().ok_or_else(|| wasmtime::Error::msg("there is no `invoke`"))?;
        invoke.load(&mut *store, &inner)?.call_handle(&mut *store, &self.0).await
    }

    fn outcome(answer: &Self::Answer) -> Outcome {
        if answer.is_err() { Outcome::Error } else { Outcome::Ok }
    }
}

/// Verb and query, for which a call has no place of their own, come before the headers.
pub(crate) async fn serve(
    runner: &Arc<Runner>,
    caller: &Caller<'_>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let max = runner.program.config.max_body;
    let mut entry = runner.enter(caller, Trigger::Invoke)?;
    let Some(data) = entry.body(body, max).await? else { return Ok(message::too_large(max)) };
    let mut metadata = vec![(":method".to_owned(), head.method.as_str().to_owned())];
    metadata.extend(head.uri.query().map(|query| (":query".to_owned(), query.to_owned())));
    metadata.extend(message::metadata(&head.headers));
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let call = invoke::Call {
        caller: caller.app_id.to_owned(),
        method: head.uri.path().trim_start_matches('/').to_owned(),
        content_type: content_type.unwrap_or_default().to_owned(),
        data,
        metadata,
    };
    let answer = runner.call(caller, entry, Ask(call)).await?;
    respond(&runner.program.name, answer, max)
}

/// An error is answered with its text.
fn respond(function: &str, answer: Result<invoke::Answer, String>, max: usize) -> Result<Response<Body>> {
    let (status, answer) = match answer {
        Ok(answer) => (StatusCode::OK, answer),
        Err(text) => {
            let answer = invoke::Answer {
                content_type: "text/plain; charset=utf-8".to_owned(),
                data: text.into_bytes(),
            };
            (StatusCode::INTERNAL_SERVER_ERROR, answer)
        }
    };
    message::answerable(function, answer.data.len(), max)?;
    let mut response = Response::new(Body::full(answer.data));
    *response.status_mut() = status;
    if !answer.content_type.is_empty() {
        let content_type = HeaderValue::try_from(answer.content_type).map_err(|_| {
            Error::internal(format!("function '{function}' answered with a content type that is none"))
        })?;
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    Ok(response)
}
