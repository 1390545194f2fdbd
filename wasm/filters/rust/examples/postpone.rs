//! Lets requests wait and releases one of them at every tick. The configuration is the tick in milliseconds.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use outrigger_filters::text;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, MapType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Plugin::default()));
}}

/// The requests that wait, by the number of their context, the longest first.
type Waiting = Rc<RefCell<VecDeque<u32>>>;

#[derive(Default)]
struct Plugin {
    waiting: Waiting,
}

struct Postpone {
    id: u32,
    waiting: Waiting,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _: usize) -> bool {
        let Ok(period) = text(self.get_plugin_configuration()).parse() else { return false };
        self.set_tick_period(Duration::from_millis(period));
        true
    }

    fn on_tick(&mut self) {
        let next = self.waiting.borrow_mut().pop_front();
        if let Some(id) = next
            && hostcalls::set_effective_context(id).is_ok()
            && hostcalls::add_map_value(MapType::HttpRequestHeaders, "x-postponed", "yes").is_ok()
        {
            let _ = hostcalls::resume_http_request();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Postpone { id, waiting: self.waiting.clone() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Postpone {}

impl HttpContext for Postpone {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.waiting.borrow_mut().push_back(self.id);
        Action::Pause
    }

    /// Who has gone is not waited for.
    fn on_log(&mut self) {
        self.waiting.borrow_mut().retain(|id| *id != self.id);
    }
}
