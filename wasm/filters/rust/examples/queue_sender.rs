//! Puts `x-visit` of each request into the queue `visits` of the VM that the configuration names.

use outrigger_filters::Filter;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Sender>);
}}

struct Sender {
    vm: String,
}

impl Filter for Sender {
    fn new(configuration: &str) -> Self {
        Self { vm: configuration.to_owned() }
    }
}

impl Context for Sender {}

impl HttpContext for Sender {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let visit = self.get_http_request_header("x-visit").unwrap_or_default();
        let queued = self
            .resolve_shared_queue(&self.vm, "visits")
            .is_some_and(|queue| self.enqueue_shared_queue(queue, Some(visit.as_bytes())).is_ok());
        if queued {
            return Action::Continue;
        }
        self.send_http_response(500, vec![], Some(b"no queue\n"));
        Action::Pause
    }
}
