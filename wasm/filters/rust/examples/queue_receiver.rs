//! Takes what another plugin puts into the queue `visits` and reports it. The configuration names the cluster it
//! reports to.

use std::time::Duration;

use outrigger_filters::text;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Receiver::default()));
}}

/// Reports on their way at a time: the host has a bound on call-outs, and what it refuses would be lost.
const AT_ONCE: usize = 4;

#[derive(Default)]
struct Receiver {
    cluster: String,
    queue: u32,
    open: usize,
}

struct Request;

impl Receiver {
    /// Another worker's plugin may have taken what there was, or left more than one.
    fn take(&mut self) {
        while self.open < AT_ONCE
            && let Ok(Some(item)) = self.dequeue_shared_queue(self.queue)
        {
            let path = format!("/report/{}", String::from_utf8_lossy(&item));
            let headers =
                vec![(":method", "POST"), (":path", path.as_str()), (":authority", "reports.example")];
            match self.dispatch_http_call(&self.cluster, headers, None, vec![], Duration::from_secs(10)) {
                Ok(_) => self.open += 1,
                Err(_) => {
                    // Back into the queue it came from, which has room for it.
                    self.enqueue_shared_queue(self.queue, Some(&item)).unwrap();
                    return;
                }
            }
        }
    }
}

impl Context for Receiver {
    fn on_http_call_response(&mut self, _: u32, _: usize, _: usize, _: usize) {
        self.open -= 1;
        self.take();
    }
}

impl Context for Request {}
impl HttpContext for Request {}

impl RootContext for Receiver {
    fn on_configure(&mut self, _: usize) -> bool {
        self.cluster = text(self.get_plugin_configuration());
        self.queue = self.register_shared_queue("visits");
        true
    }

    fn on_queue_ready(&mut self, _: u32) {
        self.take();
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
