//! How a function of Layotto's is called: asked for its id, and given one request from its head to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use outrigger_http::RequestHead;
use outrigger_net::ConnInfo;

use super::{Called, Crash, Vm};
use crate::filter::abi::Side;
use crate::filter::blocks::Asking;
use crate::filter::local::Local;
use crate::filter::stream::{At, Stream};

/// A request as a function gets it, whole.
pub(crate) struct Asked {
    pub(crate) conn: Arc<ConnInfo>,
    pub(crate) route: Arc<str>,
    pub(crate) head: RequestHead,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
    pub(crate) asking: Asking,
}

/// What a function says to it.
#[derive(Debug)]
pub(crate) enum Said {
    /// What it wrote to the response's body.
    Body(Bytes),
    /// A response of its own.
    Local(Local),
    /// It wants to wait, which functions cannot.
    Paused,
}

impl Vm {
    /// The id requests name it by.
    pub(crate) fn id(&mut self) -> Called<String> {
        let nothing = || Crash::Unstartable("`proxy_get_id` names no id".into());
        let root = self.state().root;
        self.call(root, |exports| &exports.get_id, ())?.ok_or_else(nothing)?;
        let data = self.state_mut().acting.as_mut().map(|acting| acting.data.take()).unwrap_or_default();
        let id = String::from_utf8(data.into()).map_err(|_| nothing())?;
        // What no header can carry, no request can name.
        if id.is_empty() || http::HeaderValue::from_str(&id).is_err() { Err(nothing()) } else { Ok(id) }
    }

    /// Answers one request, which has `context` for its number, within this time.
    pub(crate) fn answer(&mut self, context: u32, asked: Asked, time: Duration) -> Called<Said> {
        self.deadline = time;
        if let Some(acting) = &mut self.state_mut().acting {
            acting.call = Some(asked.asking.clone());
        }
        let said = self.hear(context, asked)?;
        self.close(context)?;
        // One that has still to do has had its time.
        self.finish(context)?;
        if let Some(acting) = &mut self.state_mut().acting {
            acting.call = None;
        }
        Ok(said)
    }

    fn hear(&mut self, context: u32, asked: Asked) -> Called<Said> {
        let Asked { conn, route, head, mut body, trailers, .. } = asked;
        let (is_empty, has_trailers) = (body.is_empty(), !trailers.is_empty());
        if is_empty {
            body = Bytes::copy_from_slice(head.query().unwrap_or_default().as_bytes());
        }
        self.open(context, Stream::new(conn, Some(route), None))?;
        // What it writes there from the first is the answer.
        self.with_message(context, Side::Response, |message| message.show(At::Body));
        self.request_headers(context, head, is_empty && !has_trailers)?;
        if !self.is_through(context) && !body.is_empty() {
            self.body(context, Side::Request, body, !has_trailers)?;
        }
        if !self.is_through(context) && has_trailers {
            self.trailers(context, Side::Request, trailers)?;
        }
        let Some(stream) = self.state_mut().streams.get_mut(&context) else { return Ok(Said::Paused) };
        Ok(match (stream.local.take(), stream.request.paused) {
            (Some(local), _) => Said::Local(local),
            (None, true) => Said::Paused,
            (None, false) => Said::Body(stream.response.body.take()),
        })
    }

    /// It has answered, or given up: nothing more is shown to it.
    fn is_through(&self, context: u32) -> bool {
        let stream = self.state().streams.get(&context);
        stream.is_none_or(|stream| stream.local.is_some() || stream.request.paused)
    }
}
