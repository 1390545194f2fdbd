//! Refuses a request whose body holds a word, even over two pieces of it. The configuration is the word.

use outrigger_filters::Filter;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Scan>);
}}

struct Scan {
    word: Vec<u8>,
    /// How much of the body has been looked at.
    seen: usize,
}

impl Filter for Scan {
    fn new(configuration: &str) -> Self {
        Self { word: configuration.as_bytes().to_vec(), seen: 0 }
    }
}

impl Context for Scan {}

impl HttpContext for Scan {
    /// While the answer is "pause", the body grows: `size` is all of it so far.
    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        let start = self.seen.saturating_sub(self.word.len());
        let piece = self.get_http_request_body(start, size - start).unwrap_or_default();
        if piece.windows(self.word.len().max(1)).any(|part| part == self.word) {
            self.send_http_response(403, vec![("x-found-after", &size.to_string())], Some(b"refused\n"));
            return Action::Pause;
        }
        self.seen = size;
        if end { Action::Continue } else { Action::Pause }
    }
}
