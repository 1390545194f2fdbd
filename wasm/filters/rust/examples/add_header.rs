//! Adds, replaces and removes a header, of the request and of the response.

use outrigger_filters::Filter;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<AddHeader>);
}}

struct AddHeader {
    value: String,
}

impl Filter for AddHeader {
    fn new(configuration: &str) -> Self {
        Self { value: configuration.to_owned() }
    }
}

impl Context for AddHeader {}

impl HttpContext for AddHeader {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.add_http_request_header("x-added", &self.value);
        self.set_http_request_header("x-replaced", Some(&self.value));
        self.remove_http_request_header("x-removed");
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.add_http_response_header("x-added", &self.value);
        self.set_http_response_header("x-replaced", Some(&self.value));
        self.remove_http_response_header("x-removed");
        Action::Continue
    }
}
