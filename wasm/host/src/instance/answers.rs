//! What the guest is called with about everything else: time, queues, and what its calls have brought.

use bytes::Bytes;

use super::{Called, Crash, Vm};
use crate::filter::calls::{Arrived, Part};
use crate::filter::memory::length;

impl Vm {
    pub(crate) fn tick(&mut self, root: u32) -> Called {
        if self.state().is_root(root) {
            self.call(root, |exports| &exports.tick, root)?;
        }
        Ok(())
    }

    pub(crate) fn queue_ready(&mut self, root: u32, queue: u32) -> Called {
        // The instance that registered may have been followed by another.
        if self.state().is_root(root) {
            self.call(root, |exports| &exports.queue_ready, (root, queue))?;
        }
        Ok(())
    }

    /// The plugin's context is named to the guest, and whoever called is the effective one: Go's SDK keeps its calls by
    /// plugin. `None` is a call that brought no answer: it is told as one without headers.
    pub(crate) fn http_call_ended(&mut self, token: u32, arrived: Option<Arrived>) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        let arrived = arrived.unwrap_or_default();
        let sizes = [arrived.headers.len(), arrived.body.len(), arrived.trailers.len()].map(length);
        self.state_mut().calls.end(token);
        let [headers, body, trailers] = sizes;
        let root = self.root_of(context);
        let with = (root, token, headers, body, trailers);
        self.about(arrived, |vm| vm.call(context, |exports| &exports.http_call_response, with))
    }

    pub(crate) fn grpc_call_ended(&mut self, token: u32, ended: Result<Bytes, (u32, String)>) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        self.state_mut().calls.end(token);
        match ended {
            Ok(body) => {
                let size = length(body.len());
                let arrived = Arrived { body, ..Arrived::default() };
                let root = self.root_of(context);
                self.about(arrived, |vm| {
                    vm.call(context, |exports| &exports.grpc_receive, (root, token, size))
                })
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
        let arrived = Arrived { status, message, ..Arrived::default() };
        let root = self.root_of(context);
        self.about(arrived, |vm| vm.call(context, |exports| &exports.grpc_close, (root, token, status)))
    }

    pub(crate) fn grpc_arrived(&mut self, token: u32, part: Part, arrived: Arrived) -> Called {
        let Some(context) = self.state().calls.context(token) else { return Ok(()) };
        let size = match part {
            Part::Initial => arrived.headers.len(),
            Part::Message => arrived.body.len(),
            Part::Trailing => arrived.trailers.len(),
        };
        let with = (self.root_of(context), token, length(size));
        self.about(arrived, |vm| vm.call(context, |exports| exports.part(part), with))
    }

    /// What has arrived can be read for as long as the callback takes.
    fn about(&mut self, arrived: Arrived, call: impl FnOnce(&mut Self) -> Called<Option<()>>) -> Called {
        self.state_mut().calls.arrive(Some(arrived));
        let result = call(self);
        self.state_mut().calls.arrive(None);
        result.map(|_| ())
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
