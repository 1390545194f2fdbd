//! Shouts: holds what a client says until its line is whole, sends it on in capitals, marks the answer, and hangs up
//! on `bye`. The configuration is the name of a counter of connections that have ended.

use outrigger_filters::text;
use proxy_wasm::hostcalls::{define_metric, increment_metric};
use proxy_wasm::traits::{Context, RootContext, StreamContext};
use proxy_wasm::types::{Action, ContextType, MetricType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Plugin { ended: 0 }));
}}

struct Plugin {
    ended: u32,
}

struct Shout {
    ended: u32,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _: usize) -> bool {
        let name = text(self.get_plugin_configuration());
        define_metric(MetricType::Counter, &name).map(|id| self.ended = id).is_ok()
    }

    fn create_stream_context(&self, _: u32) -> Option<Box<dyn StreamContext>> {
        Some(Box::new(Shout { ended: self.ended }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::StreamContext)
    }
}

impl Context for Shout {}

impl StreamContext for Shout {
    fn on_downstream_data(&mut self, size: usize, end: bool) -> Action {
        let data = self.get_downstream_data(0, size).unwrap_or_default();
        if data.starts_with(b"bye") {
            self.close_downstream();
            return Action::Pause;
        }
        if !data.ends_with(b"\n") && !end {
            return Action::Pause;
        }
        self.set_downstream_data(0, size, &data.to_ascii_uppercase());
        Action::Continue
    }

    fn on_upstream_data(&mut self, size: usize, _: bool) -> Action {
        if size > 0 {
            self.set_upstream_data(0, 0, b"> ");
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        let _ = increment_metric(self.ended, 1);
    }
}
