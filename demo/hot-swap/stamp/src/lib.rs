//! Numbers answers over all workers, and says which version of it does. The count is kept in shared data, which outlives
//! the filter: the next version goes on with it.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, Status};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Stamp));
}}

const VERSION: &str = if cfg!(feature = "v2") { "2" } else { "1" };

struct Stamp;

impl Context for Stamp {}

impl RootContext for Stamp {
    fn on_configure(&mut self, _: usize) -> bool {
        // Before there are requests: a value that is absent has no number to replace it by, so of two workers that meet
        // there both would count 1.
        match self.get_shared_data("count") {
            (None, _) => self.set_shared_data("count", Some(&0_u64.to_le_bytes()), None).is_ok(),
            (Some(_), _) => true,
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Self))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl HttpContext for Stamp {
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_response_header("x-stamp", Some(VERSION));
        if let Some(count) = self.count() {
            self.set_http_response_header("x-count", Some(&count.to_string()));
        }
        Action::Continue
    }
}

impl Stamp {
    fn count(&self) -> Option<u64> {
        loop {
            let (value, cas) = self.get_shared_data("count");
            let next = u64::from_le_bytes(value?.try_into().ok()?) + 1;
            match self.set_shared_data("count", Some(&next.to_le_bytes()), cas) {
                Ok(()) => return Some(next),
                // Another worker was faster.
                Err(Status::CasMismatch) => {}
                Err(_) => return None,
            }
        }
    }
}
