//! A function of Layotto's, `id_1`: tells the stock of the book in its query (`?name=book1`), which it asks `id_2` for.

use outrigger_filters::layotto::{invoke_service, set_id};
use outrigger_filters::{Filter, plugin, text};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(plugin::<Shop>);
}}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_get_id() {
    set_id("id_1");
}

struct Shop;

impl Filter for Shop {
    fn new(_: &str) -> Self {
        Self
    }
}

impl Context for Shop {}

impl HttpContext for Shop {
    fn on_http_request_body(&mut self, size: usize, _: bool) -> Action {
        let asked = text(self.get_http_request_body(0, size));
        let Some(book) = asked.split('&').find_map(|pair| pair.strip_prefix("name=")) else {
            self.send_http_response(400, vec![], Some(b"which book? ?name=..."));
            return Action::Continue;
        };
        match invoke_service("id_2", "", book.as_bytes()) {
            Ok(stock) => {
                let told = format!("There are {} inventories for {book}.", text(Some(stock)));
                self.set_http_response_body(0, 0, told.as_bytes());
            }
            Err(status) => {
                let _ =
                    proxy_wasm::hostcalls::log(LogLevel::Error, &format!("nobody knows the stock: {status}"));
                self.send_http_response(502, vec![], None);
            }
        }
        Action::Continue
    }
}
