//! What the guest is called with about everything else: time, queues, and what its calls have brought.

use bytes::Bytes;

use super::{Called, Crash, Vm};
use crate::filter::calls::{Arrived, Part};
use crate::filter::memory::length;

impl Vm {
    pub(crate) fn tick(&mut self, root: u32) -> Called {
        match self.exports.tick.clone().filter(|_| self.state().is_root(root)) {
            Some(tick) => self.call(root, &tick, root),
            None => Ok(()),
        }
    }

    pub(crate) fn queue_ready(&mut self, root: u32, queue: u32) -> Called {
        // The instance that registered may have been followed by another.
        match self.exports.queue_ready.clone().filter(|_| self.state().is_root(root)) {
            Some(ready) => self.call(root, &ready, (root, queue)),
            None => Ok(()),
        }
    }

    /// The plugin's context is named to the guest, and whoever called is the effective one: Go's SDK keeps its calls by
    /// plugin. `None` is a call that brought no answer: it is told as one without headers.
    pub(crate) fn http_call_ended(&mut self, token: u32, arrived: Option<Arrived>) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        let arrived = arrived.unwrap_or_default();
        let sizes = [arrived.headers.len(), arrived.body.len(), arrived.trailers.len()].map(length);
        self.state_mut().calls.end(token);
        let Some(what) = self.exports.http_call_response.clone() else { return Ok(()) };
        let [headers, body, trailers] = sizes;
        let root = self.root_of(context);
        self.about(arrived, |vm| vm.call(context, &what, (root, token, headers, body, trailers)))
    }

    pub(crate) fn grpc_call_ended(&mut self, token: u32, ended: Result<Bytes, (u32, String)>) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        self.state_mut().calls.end(token);
        match ended {
            Ok(body) => {
                let Some(what) = self.exports.grpc_receive.clone() else { return Ok(()) };
                let size = length(body.len());
                let arrived = Arrived { body, ..Arrived::default() };
                let root = self.root_of(context);
                self.about(arrived, |vm| vm.call(context, &what, (root, token, size)))
            }
            Err(ended) => self.grpc_closed(context, token, ended),
        }
    }

    pub(crate) fn grpc_stream_ended(&mut self, token: u32, ended: (u32, String)) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        self.state_mut().calls.end(token);
        self.grpc_closed(context, token, ended)
    }

    fn grpc_closed(&mut self, context: u32, token: u32, (status, message): (u32, String)) -> Called {
        let Some(what) = self.exports.grpc_close.clone() else { return Ok(()) };
        let arrived = Arrived { status, message, ..Arrived::default() };
        let root = self.root_of(context);
        self.about(arrived, |vm| vm.call(context, &what, (root, token, status)))
    }

    pub(crate) fn grpc_arrived(&mut self, token: u32, part: Part, arrived: Arrived) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        let (what, size) = match part {
            Part::Initial => (&self.exports.grpc_initial, arrived.headers.len()),
            Part::Message => (&self.exports.grpc_receive, arrived.body.len()),
            Part::Trailing => (&self.exports.grpc_trailing, arrived.trailers.len()),
        };
        let Some(what) = what.clone() else { return Ok(()) };
        let root = self.root_of(context);
        self.about(arrived, |vm| vm.call(context, &what, (root, token, length(size))))
    }

    /// What has arrived can be read for as long as the callback takes.
    fn about(&mut self, arrived: Arrived, call: impl FnOnce(&mut Self) -> Called) -> Called {
        self.state_mut().calls.arrive(Some(arrived));
        let result = call(self);
        self.state_mut().calls.arrive(None);
        result
    }

    /// It is where those who call it look for it: calls made while it started may come back.
    pub(crate) fn placed(&mut self) {
        self.state_mut().gate = None;
    }

    /// The instance is going away: whatever waits for it looks again, and finds it gone.
    pub(crate) fn forsake(&mut self, crash: &Crash) {
        for stream in self.state_mut().streams.values_mut() {
            stream.fail(crash);
            stream.wake();
        }
    }
}
