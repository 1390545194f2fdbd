//! What the guest is called with about requests and connections.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use outrigger_http::{RequestHead, ResponseHead, Upstream};

use super::{Called, Vm};
use crate::filter::abi::{Action, Side};
use crate::filter::headers::count;
use crate::filter::local::Local;
use crate::filter::memory::length;
use crate::filter::passing::Released;
use crate::filter::stream::{At, Life, Message, Parts, Stream};

impl Vm {
    /// A request or a connection has come.
    pub(crate) fn open(&mut self, context: u32, stream: Stream) -> Called {
        self.state_mut().streams.insert(context, Box::new(stream));
        let root = self.root_of(context);
        self.call(context, |exports| &exports.context_create, (context, root))?;
        Ok(())
    }

    pub(crate) fn request_headers(&mut self, context: u32, head: RequestHead, end: bool) -> Called {
        self.with_request(context, |message| {
            message.head = Some(head);
            message.show(At::Head);
        });
        let action = self.headers(context, Side::Request, end)?;
        self.with_request(context, |message| message.decide(action));
        Ok(())
    }

    /// The response is there: who gave it is known now. The filter may have answered itself before it came.
    pub(crate) fn answered(&mut self, context: u32, upstream: Option<Arc<Upstream>>) -> Option<Local> {
        let stream = self.state_mut().streams.get_mut(&context)?;
        stream.upstream = upstream;
        stream.local.take()
    }

    pub(crate) fn response_headers(&mut self, context: u32, head: ResponseHead, end: bool) -> Called {
        self.with_response(context, |message| {
            message.head = Some(head);
            message.show(At::Head);
        });
        let action = self.headers(context, Side::Response, end)?;
        self.with_response(context, |message| message.decide(action));
        Ok(())
    }

    fn headers(&mut self, context: u32, side: Side, end: bool) -> Called<Action> {
        let fields = self.state().streams.get(&context).map_or(0, |stream| count(stream, side));
        let with_end = (context, fields, end.into());
        let mut answer = self.call(context, |exports| &exports.headers(side).with_end, with_end)?;
        if answer.is_none() {
            answer = self.call(context, |exports| &exports.headers(side).plain, (context, fields))?;
        }
        Ok(Action::of(answer))
    }

    /// What the filter makes of what it was shown last; `None` while it has still to say so.
    pub(crate) fn released(&mut self, context: u32, side: Side) -> Option<Released> {
        let stream = self.state_mut().streams.get_mut(&context);
        stream.map_or(Some(Released::Gone), |stream| stream.released(side))
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
        let is_connection = self.is_connection(context);
        let with = (context, size, end.into());
        let answer = self.call(context, |exports| exports.data(side, is_connection), with)?;
        self.with_message(context, side, |message| message.decide(Action::of(answer)));
        Ok(())
    }

    fn is_connection(&self, context: u32) -> bool {
        self.state().streams.get(&context).is_some_and(|stream| stream.is_connection)
    }

    /// A connection that has been opened may wait before the client is listened to.
    pub(crate) fn connected(&mut self, context: u32) -> Called {
        let action = Action::of(self.call(context, |exports| &exports.new_connection, context)?);
        self.with_request(context, |message| message.decide(action));
        Ok(())
    }

    /// One side of a connection is over; `by_peer` when it was the other end that closed.
    pub(crate) fn disconnected(&mut self, context: u32, side: Side, by_peer: bool) -> Called {
        const LOCAL: u32 = 1;
        const REMOTE: u32 = 2;
        self.call(context, |exports| exports.close(side), (context, if by_peer { REMOTE } else { LOCAL }))?;
        Ok(())
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
        let answer = self.call(context, |exports| exports.trailers(side), (context, fields))?;
        self.with_message(context, side, |message| message.decide(Action::of(answer)));
        Ok(())
    }

    /// Nothing more will come of a request. A filter that has still to do says so, and later that it is done.
    pub(crate) fn close(&mut self, context: u32) -> Called {
        let Some(stream) = self.state_mut().streams.get_mut(&context) else { return Ok(()) };
        stream.life = Life::Ending;
        // Bodies are not shown any more.
        drop((stream.request.body.take(), stream.response.body.take()));
        if self.call(context, |exports| &exports.done, context)? == Some(0) {
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
            self.call(root, |exports| &exports.done, root)?;
            self.call(root, |exports| &exports.delete, root)?;
        }
        Ok(())
    }

    pub(super) fn bury(&mut self, context: u32) -> Called {
        if !self.state().streams.contains_key(&context) {
            return Ok(());
        }
        self.call(context, |exports| &exports.log, context)?;
        self.call(context, |exports| &exports.delete, context)?;
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
