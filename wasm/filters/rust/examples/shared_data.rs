//! Numbers requests over all workers: a counter in shared data, raised by compare and set.

use outrigger_filters::Filter;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, Status};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<SharedData>);
}}

struct SharedData;

impl Filter for SharedData {
    fn new(_: &str) -> Self {
        Self
    }
}

impl SharedData {
    fn next(&self) -> Option<u64> {
        loop {
            let (value, cas) = self.get_shared_data("count");
            let bytes = value.unwrap_or_default().try_into().unwrap_or_default();
            let next = u64::from_le_bytes(bytes) + 1;
            match self.set_shared_data("count", Some(&next.to_le_bytes()), cas) {
                Ok(()) => return Some(next),
                // Another worker was faster.
                Err(Status::CasMismatch) => {}
                Err(_) => return None,
            }
        }
    }
}

impl Context for SharedData {}

impl HttpContext for SharedData {
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if let Some(number) = self.next() {
            self.set_http_response_header("x-count", Some(&number.to_string()));
        }
        Action::Continue
    }
}
