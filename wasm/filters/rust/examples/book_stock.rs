//! A function of Layotto's, `id_2`: the stock of the book its body names, from the store `state_demo`.

use outrigger_filters::layotto::{get_state, set_id};
use outrigger_filters::{Filter, plugin, text};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(plugin::<Stock>);
}}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_get_id() {
    set_id("id_2");
}

struct Stock;

impl Filter for Stock {
    fn new(_: &str) -> Self {
        Self
    }
}

impl Context for Stock {}

impl HttpContext for Stock {
    fn on_http_request_body(&mut self, size: usize, _: bool) -> Action {
        let book = text(self.get_http_request_body(0, size));
        match get_state("state_demo", &book) {
            Ok(stock) => self.set_http_response_body(0, 0, &stock),
            Err(_) => self.send_http_response(502, vec![], None),
        }
        Action::Continue
    }
}
