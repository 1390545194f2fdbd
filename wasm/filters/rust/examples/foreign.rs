//! Calls a function of the host by name: `x-function` says which, `x-argument` with what.

use outrigger_filters::{Filter, text};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Foreign>);
}}

#[derive(Default)]
struct Foreign {
    result: String,
}

impl Filter for Foreign {
    fn new(_: &str) -> Self {
        Self::default()
    }
}

impl Context for Foreign {}

impl HttpContext for Foreign {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let function = self.get_http_request_header("x-function").unwrap_or_default();
        let argument = self.get_http_request_header("x-argument").unwrap_or_default();
        self.result = match self.call_foreign_function(&function, Some(argument.as_bytes())) {
            Ok(result) => text(result),
            Err(_) => "refused".to_owned(),
        };
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_response_header("x-result", Some(&self.result));
        Action::Continue
    }
}
