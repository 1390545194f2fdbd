//! Asks a service whether a request may pass, and holds the request meanwhile: not for long with the token `slow`. The
//! configuration names its cluster.

use std::time::Duration;

use outrigger_filters::{Filter, text};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Auth>);
}}

struct Auth {
    cluster: String,
}

impl Filter for Auth {
    fn new(configuration: &str) -> Self {
        Self { cluster: configuration.to_owned() }
    }
}

impl HttpContext for Auth {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let token = self.get_http_request_header("authorization").unwrap_or_default();
        let question = vec![
            (":method", "GET"),
            (":path", "/check"),
            (":authority", "auth.example"),
            ("authorization", token.as_str()),
        ];
        let patience = Duration::from_secs(if token == "slow" { 1 } else { 10 });
        if self.dispatch_http_call(&self.cluster, question, None, vec![], patience).is_err() {
            self.send_http_response(500, vec![], Some(b"nobody to ask\n"));
        }
        Action::Pause
    }
}

impl Context for Auth {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body: usize, _: usize) {
        if headers == 0 {
            return self.send_http_response(503, vec![], Some(b"no answer\n"));
        }
        let status = self.get_http_call_response_header(":status").unwrap_or_default();
        if status != "200" {
            return self.send_http_response(403, vec![("x-auth-status", &status)], Some(b"denied\n"));
        }
        let user = text(self.get_http_call_response_body(0, body));
        self.set_http_request_header("x-user", Some(&user));
        self.resume_http_request();
    }
}
