//! One request on its way through one filter, and its response on the way back.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::StatusCode;
use http_body::Body as _;
use outrigger_http::chain::{Step, Visit};
use outrigger_http::{Body, Headers, Request, Response};

use super::abi::Side;
use super::body::{Early, Flow};
use super::local::Local;
use super::measures::Hold;
use super::stream::length_of;
use crate::limits;
use crate::plugin::{Cell, Gone, Plugin};

/// What the chain holds of a request while it is in the hands of a plugin.
#[derive(Debug)]
pub(crate) struct Passing {
    plugin: Arc<Plugin>,
    route: Arc<str>,
    is_grpc: bool,
    /// `None` before, and after a failure that lets the request pass.
    exchange: Option<Arc<Exchange>>,
}

/// A stream of an instance; when nobody holds it any more, the filter is told that it is over.
pub(crate) struct Exchange {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) cell: Arc<Cell>,
    pub(crate) context: u32,
}

/// What the trace says of a filter that has forgotten a message.
pub(crate) const HELD_TOO_LONG: &str = "it held a message back for a minute";

/// How a pause ends.
pub(crate) enum Released {
    Go,
    Answer(Local),
    /// The instance has failed, or the filter has forgotten the message.
    Gone,
}

impl Passing {
    pub(crate) fn new(plugin: Arc<Plugin>, route: Arc<str>) -> Self {
        Self { plugin, route, is_grpc: false, exchange: None }
    }

    /// Shows the filter the request's head, which it nearly always lets go at once.
    fn forth<'a>(&'a mut self, request: &'a mut Request) -> Step<'a, Option<Response>> {
        self.is_grpc = request.head.is_grpc();
        let end = request.body.is_end_stream();
        let begun = self.plugin.cell().map(|cell| {
            if cell.has_properties() {
                request.ext.state.get_or_insert_default();
            }
            (cell, cell.begin(&self.plugin, request, &self.route, end))
        });
        let Some((cell, Ok((context, released)))) = begun else {
            return Step::Done(self.plugin.refusal(self.is_grpc));
        };
        let (plugin, cell) = (Arc::clone(&self.plugin), Arc::clone(cell));
        let exchange = Arc::new(Exchange { plugin, cell, context });
        self.exchange = Some(Arc::clone(&exchange));
        if let Some(released) = released {
            return Step::Done(self.forward(request, released, end));
        }
        Step::Later(Box::pin(async move {
            let released = exchange.released(Side::Request, &mut request.body, !end).await;
            self.forward(request, released, end)
        }))
    }

    /// The request leaves as the filter made it; its body comes by the filter.
    fn forward(&mut self, request: &mut Request, released: Released, end: bool) -> Option<Response> {
        match released {
            Released::Answer(local) => return Some(local.into_response(self.is_grpc)),
            Released::Gone => return self.give_up(),
            Released::Go => {}
        }
        let exchange = self.exchange.as_ref()?;
        let left = exchange.cell.look(exchange.context, |stream| stream.let_request_go(request));
        let Ok(is_flowing) = left else { return self.give_up() };
        if !end && !is_flowing {
            exchange.flow(Side::Request, &request.head.headers, &mut request.body);
        }
        None
    }

    /// The failure policy decides; the filter has nothing more to do with the request.
    fn give_up(&mut self) -> Option<Response> {
        self.exchange = None;
        self.plugin.refusal(self.is_grpc)
    }

    fn back<'a>(&'a mut self, response: &'a mut Response) -> Step<'a, ()> {
        let Some(exchange) = self.exchange.clone() else { return Step::Done(()) };
        let context = exchange.context;
        let shown = exchange.cell.about(context, |vm| {
            // Its answer from the time when the request's body was on its way.
            if let Some(local) = vm.answered(context, response.upstream.clone()) {
                *response = local.into_response(self.is_grpc);
            }
            let end = response.body.is_end_stream();
            vm.response_headers(context, exchange.plugin.lend(&mut response.head), end)?;
            Ok(vm.released(context, Side::Response))
        });
        if let Some(released) = shown.unwrap_or(Some(Released::Gone)) {
            self.answer(response, released);
            return Step::Done(());
        }
        Step::Later(Box::pin(async move {
            let may_look = !response.body.is_end_stream() && response.tunnel.is_none();
            let released = exchange.released(Side::Response, &mut response.body, may_look).await;
            self.answer(response, released);
        }))
    }

    fn answer(&mut self, response: &mut Response, released: Released) {
        let is_gone = match released {
            Released::Answer(local) => {
                *response = local.into_response(self.is_grpc);
                false
            }
            Released::Gone => true,
            Released::Go => self.exchange.as_ref().is_some_and(|exchange| exchange.let_go(response).is_err()),
        };
        if is_gone && let Some(refused) = self.give_up() {
            *response = refused;
        }
    }
}

impl Visit for Passing {
    fn request<'a>(&'a mut self, request: &'a mut Request) -> Step<'a, Option<Response>> {
        self.forth(request)
    }

    fn response<'a>(&'a mut self, response: &'a mut Response) -> Step<'a, ()> {
        self.back(response)
    }
}

impl Exchange {
    /// Waits until the filter lets the message go, answers itself, or fails. Where it `may_look`, and is to, it is shown
    /// the body meanwhile.
    async fn released(self: &Arc<Self>, side: Side, body: &mut Body, may_look: bool) -> Released {
        let mut hold = None;
        self.hold(side, &mut hold);
        let later = async {
            match may_look && self.plugin.body_before_head() && self.cell.reads(side) {
                true => self.released_by_body(side, body).await,
                false => poll_fn(|cx| self.poll_released(side, cx)).await,
            }
        };
        tokio::time::timeout(limits::PAUSE, later).await.unwrap_or_else(|_| {
            tracing::warn!(plugin = %self.plugin.name, "filter held a message back for a minute");
            self.fail(HELD_TOO_LONG);
            Released::Gone
        })
    }

    /// The filter holds back what it has of a message, and perhaps did so before: `hold` is kept for as long. A body for
    /// which the head waits is held back with it, by the head's.
    pub(crate) fn hold(&self, side: Side, hold: &mut Option<Hold>) {
        let with_head = self.cell.look(self.context, |stream| {
            stream.hold(side);
            stream.message(side).does_head_wait()
        });
        if with_head != Ok(true) {
            hold.get_or_insert_with(|| self.plugin.hold());
        }
    }

    /// For the trace.
    pub(crate) fn fail(&self, why: &'static str) {
        let _ = self.cell.look(self.context, |stream| stream.fail(&why));
    }

    async fn released_by_body(self: &Arc<Self>, side: Side, body: &mut Body) -> Released {
        let _ = self.cell.look(self.context, |stream| stream.message(side).head_waits(true));
        // How long it is going to be is known when the head leaves.
        let mut flow = Body::wrap(Flow::new(Arc::clone(self), side, std::mem::take(body), None));
        let (first, released) = poll_fn(|cx| match Pin::new(&mut flow).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => Poll::Ready((Some(Err(error)), self.answer())),
            Poll::Ready(frame) => Poll::Ready((frame, Released::Go)),
            Poll::Pending => self.poll_released(side, cx).map(|released| (None, released)),
        })
        .await;
        let left = self.cell.look(self.context, |stream| stream.message(side).length()).unwrap_or_default();
        *body = Body::wrap(Early { first, rest: flow, left });
        released
    }

    /// The filter's own answer, if that is why a body has ended.
    fn answer(&self) -> Released {
        let local = self.cell.look(self.context, |stream| stream.local.take());
        local.ok().flatten().map_or(Released::Gone, Released::Answer)
    }

    pub(crate) fn poll_released(&self, side: Side, cx: &mut Context<'_>) -> Poll<Released> {
        let looked = self.cell.look(self.context, |stream| match stream.released(side) {
            Some(released) => Poll::Ready(released),
            None => {
                stream.message(side).wait(cx.waker());
                Poll::Pending
            }
        });
        looked.unwrap_or(Poll::Ready(Released::Gone))
    }

    /// The response's head leaves as the filter made it; its body comes by the filter.
    fn let_go(self: &Arc<Self>, response: &mut Response) -> Result<(), Gone> {
        let (end, status) = (response.body.is_end_stream(), response.head.status);
        let is_flowing = self.cell.look(self.context, |stream| stream.let_response_go(&mut response.head))?;
        if !still_opens_tunnel(status, response.head.status) {
            response.tunnel = None;
        }
        if !end && !is_flowing && response.tunnel.is_none() {
            self.flow(Side::Response, &response.head.headers, &mut response.body);
        }
        Ok(())
    }

    /// Puts itself between a body and its reader, if the filter looks at bodies at all.
    fn flow(self: &Arc<Self>, side: Side, headers: &Headers, body: &mut Body) {
        if self.cell.reads(side) {
            // A filter that leaves the length as it is promises to keep to it.
            let length = length_of(headers);
            *body = Body::wrap(Flow::new(Arc::clone(self), side, std::mem::take(body), length));
        }
    }
}

/// Whether the status a filter has made of another still says what it said of a tunnel: that it is open.
fn still_opens_tunnel(before: StatusCode, after: StatusCode) -> bool {
    before == after || (before.is_success() && after.is_success())
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // One that fails here has been told of by the cell.
        let _ = self.cell.about(self.context, |vm| vm.close(self.context));
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("context", &self.context).finish_non_exhaustive()
    }
}
