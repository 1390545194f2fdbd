//! Does nothing, to requests or, configured as `tcp`, to connections: the suite has to notice it in every other's place.

use outrigger_filters::text;
use proxy_wasm::traits::{Context, HttpContext, RootContext, StreamContext};
use proxy_wasm::types::ContextType;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Nothing { connections: false }));
}}

struct Nothing {
    connections: bool,
}

impl Context for Nothing {}
impl HttpContext for Nothing {}
impl StreamContext for Nothing {}

impl RootContext for Nothing {
    fn on_configure(&mut self, _: usize) -> bool {
        self.connections = text(self.get_plugin_configuration()) == "tcp";
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Self { connections: false }))
    }

    fn create_stream_context(&self, _: u32) -> Option<Box<dyn StreamContext>> {
        Some(Box::new(Self { connections: true }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(if self.connections { ContextType::StreamContext } else { ContextType::HttpContext })
    }
}
