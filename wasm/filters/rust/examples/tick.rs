//! Asks a service at every tick, away from any request, and shows requests its last answer. The configuration names
//! the service's cluster.

use std::time::Duration;

use outrigger_filters::text;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Plugin { cluster: String::new() }));
}}

const PERIOD: Duration = Duration::from_millis(50);

struct Plugin {
    cluster: String,
}

struct Tick;

impl RootContext for Plugin {
    fn on_configure(&mut self, _: usize) -> bool {
        self.cluster = text(self.get_plugin_configuration());
        self.set_tick_period(PERIOD);
        true
    }

    fn on_tick(&mut self) {
        let headers = vec![(":method", "GET"), (":path", "/tick"), (":authority", "ticks.example")];
        let _ = self.dispatch_http_call(&self.cluster, headers, None, vec![], Duration::from_secs(1));
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Tick))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Plugin {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body: usize, _: usize) {
        if headers > 0 {
            let answer = self.get_http_call_response_body(0, body);
            let _ = self.set_shared_data("tick", answer.as_deref(), None);
        }
    }
}

impl Context for Tick {}

impl HttpContext for Tick {
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let (answer, _) = self.get_shared_data("tick");
        self.set_http_response_header("x-tick", Some(&text(answer)));
        Action::Continue
    }
}
