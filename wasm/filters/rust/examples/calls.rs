//! Holds a response until five questions have been answered. The configuration names whom to ask.

use std::time::Duration;

use outrigger_filters::{Filter, text};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Calls>);
}}

const CALLS: u32 = 5;

struct Calls {
    cluster: String,
    open: u32,
    answers: Vec<String>,
}

impl Filter for Calls {
    fn new(configuration: &str) -> Self {
        Self { cluster: configuration.to_owned(), open: 0, answers: Vec::new() }
    }
}

impl HttpContext for Calls {
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        for index in 0..CALLS {
            let path = format!("/count/{index}");
            let headers = vec![(":method", "GET"), (":path", path.as_str()), (":authority", "count.example")];
            let call = self.dispatch_http_call(&self.cluster, headers, None, vec![], Duration::from_secs(10));
            self.open += u32::from(call.is_ok());
        }
        if self.open == 0 { Action::Continue } else { Action::Pause }
    }
}

impl Context for Calls {
    fn on_http_call_response(&mut self, _: u32, _: usize, body: usize, _: usize) {
        self.answers.push(text(self.get_http_call_response_body(0, body)));
        self.open -= 1;
        if self.open == 0 {
            self.answers.sort();
            self.set_http_response_header("x-calls", Some(&self.answers.join(",")));
            self.resume_http_response();
        }
    }
}
