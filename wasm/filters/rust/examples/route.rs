//! Sends requests to another host by where they come from, as the host's properties say. The configuration is that
//! host.

use outrigger_filters::{Filter, text};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Route>);
}}

struct Route {
    host: String,
}

impl Filter for Route {
    fn new(configuration: &str) -> Self {
        Self { host: configuration.to_owned() }
    }
}

impl Route {
    fn number(&self, path: Vec<&str>) -> Option<i64> {
        Some(i64::from_le_bytes(self.get_property(path)?.try_into().ok()?))
    }
}

impl Context for Route {}

impl HttpContext for Route {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let source = text(self.get_property(vec!["source", "address"]));
        if source.starts_with("127.0.0.1") {
            let path = text(self.get_property(vec!["request", "path"]));
            self.set_http_request_header(":authority", Some(&self.host));
            self.set_http_request_header(":path", Some(&format!("/internal{path}")));
        }
        let protocol = text(self.get_property(vec!["request", "protocol"]));
        self.set_property(vec!["filters", "came", "by"], Some(protocol.as_bytes()));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let by = text(self.get_property(vec!["filters", "came", "by"]));
        self.set_http_response_header("x-came-by", Some(&by));
        let root = text(self.get_property(vec!["plugin_root_id"]));
        self.set_http_response_header("x-root-id", Some(&root));
        let code = self.number(vec!["response", "code"]).unwrap_or_default();
        self.set_http_response_header("x-code", Some(&code.to_string()));
        let unknown = self.get_property(vec!["no", "such", "property"]).is_none();
        self.set_http_response_header("x-unknown", Some(&unknown.to_string()));
        Action::Continue
    }
}
