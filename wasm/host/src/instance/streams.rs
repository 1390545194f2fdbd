//! What the guest is called with about requests and connections.

use bytes::Bytes;
use http::HeaderMap;
use outrigger_http::{RequestHead, ResponseHead};

use super::{Called, Vm};
use crate::filter::abi::{Action, Map, Side};
use crate::filter::exports::Headers;
use crate::filter::headers::count;
use crate::filter::memory::length;
use crate::filter::stream::{At, Life, Message, Parts, Stream};

impl Vm {
    /// A request or a connection has come.
    pub(crate) fn open(&mut self, context: u32, stream: Stream) -> Called {
        self.state_mut().streams.insert(context, stream);
        let root = self.root_of(context);
        match self.exports.context_create.clone() {
            Some(create) => self.call(context, &create, (context, root)),
            None => Ok(()),
        }
    }

    pub(crate) fn request_headers(&mut self, context: u32, head: RequestHead, end: bool) -> Called {
        self.with_request(context, |message| {
            message.head = Some(head);
            message.show(At::Head);
        });
        let action = self.headers(context, self.exports.request_headers.clone(), Map::RequestHeaders, end)?;
        self.with_request(context, |message| message.decide(action));
        Ok(())
    }

    pub(crate) fn response_headers(&mut self, context: u32, head: ResponseHead, end: bool) -> Called {
        self.with_response(context, |message| {
            message.head = Some(head);
            message.show(At::Head);
        });
        let action =
            self.headers(context, self.exports.response_headers.clone(), Map::ResponseHeaders, end)?;
        self.with_response(context, |message| message.decide(action));
        Ok(())
    }

    fn headers(&mut self, context: u32, what: Option<Headers>, map: Map, end: bool) -> Called<Action> {
        let Some(what) = what else { return Ok(Action::Continue) };
        self.store.data_mut().focus(context);
        let fields = count(self.state(), map);
        Ok(Action::of(match &what {
            Headers::Plain(plain) => self.call(context, plain, (context, fields))?,
            Headers::WithEnd(with_end) => self.call(context, with_end, (context, fields, end.into()))?,
        }))
    }

    /// More of a body has come; the filter is shown it together with what it holds back.
    pub(crate) fn body(&mut self, context: u32, side: Side, data: Bytes, end: bool) -> Called {
        let mut size = 0;
        self.with_message(context, side, |message| {
            message.size(data.len());
            message.body().extend(data);
            message.show(At::Body);
            size = length(message.body().len());
        });
        let what = match (side, self.is_connection(context)) {
            (Side::Request, false) => self.exports.request_body.clone(),
            (Side::Response, false) => self.exports.response_body.clone(),
            (Side::Request, true) => self.exports.downstream_data.clone(),
            (Side::Response, true) => self.exports.upstream_data.clone(),
        };
        let action = match what {
            Some(what) => Action::of(self.call(context, &what, (context, size, end.into()))?),
            None => Action::Continue,
        };
        self.with_message(context, side, |message| message.decide(action));
        Ok(())
    }

    fn is_connection(&self, context: u32) -> bool {
        self.state().streams.get(&context).is_some_and(|stream| stream.is_connection)
    }

    /// A connection that has been opened may wait before the client is listened to.
    pub(crate) fn connected(&mut self, context: u32) -> Called {
        let Some(what) = self.exports.new_connection.clone() else { return Ok(()) };
        let action = Action::of(self.call(context, &what, context)?);
        self.with_request(context, |message| message.decide(action));
        Ok(())
    }

    /// One side of a connection is over; `by_peer` when it was the other end that closed.
    pub(crate) fn disconnected(&mut self, context: u32, side: Side, by_peer: bool) -> Called {
        const LOCAL: u32 = 1;
        const REMOTE: u32 = 2;
        let what = match side {
            Side::Request => self.exports.downstream_close.clone(),
            Side::Response => self.exports.upstream_close.clone(),
        };
        match what {
            Some(what) => self.call(context, &what, (context, if by_peer { REMOTE } else { LOCAL })),
            None => Ok(()),
        }
    }

    /// The peer's trailers have come. Those the filter has put there while it was shown the body come after them.
    pub(crate) fn trailers(&mut self, context: u32, side: Side, mut trailers: HeaderMap) -> Called {
        let mut fields = 0;
        self.with_message(context, side, |message| {
            for (name, value) in message.trailers().take().iter().flatten() {
                trailers.append(name, value.clone());
            }
            fields = length(trailers.len());
            *message.trailers() = Some(trailers);
            message.show(At::Trailers);
        });
        let what = match side {
            Side::Request => self.exports.request_trailers.clone(),
            Side::Response => self.exports.response_trailers.clone(),
        };
        let action = match what {
            Some(what) => Action::of(self.call(context, &what, (context, fields))?),
            None => Action::Continue,
        };
        self.with_message(context, side, |message| message.decide(action));
        Ok(())
    }

    /// Whether anybody looks at bodies or trailers of this side.
    pub(crate) fn reads(&self, side: Side) -> bool {
        match side {
            Side::Request => self.exports.request_body.is_some() || self.exports.request_trailers.is_some(),
            Side::Response => {
                self.exports.response_body.is_some() || self.exports.response_trailers.is_some()
            }
        }
    }

    /// Nothing more will come of a request. A filter that has still to do says so, and later that it is done.
    pub(crate) fn close(&mut self, context: u32) -> Called {
        let Some(stream) = self.state_mut().streams.get_mut(&context) else { return Ok(()) };
        stream.life = Life::Ending;
        // Bodies are not shown any more.
        drop((stream.request.body.take(), stream.response.body.take()));
        if let Some(done) = self.exports.done.clone()
            && self.call(context, &done, context)? == 0
        {
            self.state_mut().linger(context);
            return self.settle();
        }
        self.finish(context)
    }

    /// A context is through, whether or not the filter has said so.
    pub(crate) fn finish(&mut self, context: u32) -> Called {
        self.state_mut().finish(context);
        self.settle()
    }

    /// The instance is not needed any more; the plugins' own contexts are told.
    pub(crate) fn end(&mut self) -> Called {
        let roots: Vec<u32> = self.state().seats.iter().map(|seat| seat.root).collect();
        for root in roots {
            if let Some(done) = self.exports.done.clone() {
                self.call(root, &done, root)?;
            }
            if let Some(delete) = self.exports.delete.clone() {
                self.call(root, &delete, root)?;
            }
        }
        Ok(())
    }

    pub(super) fn bury(&mut self, context: u32) -> Called {
        if !self.state().streams.contains_key(&context) {
            return Ok(());
        }
        if let Some(log) = self.exports.log.clone() {
            self.call(context, &log, context)?;
        }
        if let Some(delete) = self.exports.delete.clone() {
            self.call(context, &delete, context)?;
        }
        let state = self.state_mut();
        state.streams.remove(&context);
        state.calls.forget(context);
        Ok(())
    }

    fn with_request(&mut self, context: u32, change: impl FnOnce(&mut Message<RequestHead>)) {
        if let Some(stream) = self.state_mut().streams.get_mut(&context) {
            change(&mut stream.request);
        }
    }

    fn with_response(&mut self, context: u32, change: impl FnOnce(&mut Message<ResponseHead>)) {
        if let Some(stream) = self.state_mut().streams.get_mut(&context) {
            change(&mut stream.response);
        }
    }

    pub(super) fn with_message(&mut self, context: u32, side: Side, change: impl FnOnce(&mut dyn Parts)) {
        if let Some(stream) = self.state_mut().streams.get_mut(&context) {
            change(stream.message(side));
        }
    }
}
