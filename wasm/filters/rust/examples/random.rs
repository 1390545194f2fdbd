//! Gives each request a random number, taken from the host.

use outrigger_filters::Filter;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Random>);
}}

struct Random;

impl Filter for Random {
    fn new(_: &str) -> Self {
        Self
    }
}

impl Context for Random {}

impl HttpContext for Random {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_ok() {
            let number = format!("{:032x}", u128::from_le_bytes(bytes));
            self.set_http_request_header("x-random", Some(&number));
        }
        Action::Continue
    }
}
