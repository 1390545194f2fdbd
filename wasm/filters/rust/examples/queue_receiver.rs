//! Takes what another plugin puts into the queue `visits` and reports it. The configuration names the cluster it
//! reports to.

use std::time::Duration;

use outrigger_filters::text;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Receiver { cluster: String::new() }));
}}

struct Receiver {
    cluster: String,
}

struct Request;

impl Context for Receiver {}
impl Context for Request {}
impl HttpContext for Request {}

impl RootContext for Receiver {
    fn on_configure(&mut self, _: usize) -> bool {
        self.cluster = text(self.get_plugin_configuration());
        self.register_shared_queue("visits");
        true
    }

    fn on_queue_ready(&mut self, queue: u32) {
        // Another worker's plugin may have taken it, or left more than one.
        while let Ok(Some(item)) = self.dequeue_shared_queue(queue) {
            let path = format!("/report/{}", String::from_utf8_lossy(&item));
            let headers =
                vec![(":method", "POST"), (":path", path.as_str()), (":authority", "reports.example")];
            let _ = self.dispatch_http_call(&self.cluster, headers, None, vec![], Duration::from_secs(2));
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
