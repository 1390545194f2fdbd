//! Adds, replaces and removes a trailer, of the request and of the response. The configuration is the value.

use outrigger_filters::Filter;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Trailers>);
}}

struct Trailers {
    value: String,
}

impl Filter for Trailers {
    fn new(configuration: &str) -> Self {
        Self { value: configuration.to_owned() }
    }
}

impl Context for Trailers {}

impl HttpContext for Trailers {
    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.add_http_request_trailer("x-added", &self.value);
        self.set_http_request_trailer("x-replaced", Some(&self.value));
        self.remove_http_request_trailer("x-removed");
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.add_http_response_trailer("x-added", &self.value);
        self.set_http_response_trailer("x-replaced", Some(&self.value));
        self.remove_http_response_trailer("x-removed");
        Action::Continue
    }
}
