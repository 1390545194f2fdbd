//! Answers by itself: instead of the backend (`x-deny: request`), or in place of what it said (`x-deny: response`).

use outrigger_filters::Filter;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Deny>);
}}

struct Deny {
    text: String,
    response: bool,
}

impl Filter for Deny {
    fn new(configuration: &str) -> Self {
        Self { text: configuration.to_owned(), response: false }
    }
}

impl Deny {
    fn answer(&self, status: u32) -> Action {
        self.send_http_response(status, vec![("x-denied", "yes")], Some(self.text.as_bytes()));
        Action::Pause
    }
}

impl Context for Deny {}

impl HttpContext for Deny {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        match self.get_http_request_header("x-deny").as_deref() {
            Some("request") => return self.answer(418),
            Some("response") => self.response = true,
            _ => {}
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if self.response { self.answer(502) } else { Action::Continue }
    }
}
