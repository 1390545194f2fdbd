//! Counts requests, those under way, and the bytes of their bodies. The configuration is the prefix of the names.

use outrigger_filters::text;
use proxy_wasm::hostcalls::{define_metric, get_metric, increment_metric, record_metric};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, MetricType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Plugin { meters: None }));
}}

#[derive(Clone, Copy)]
struct Meters {
    requests: u32,
    active: u32,
    bytes: u32,
}

struct Plugin {
    meters: Option<Meters>,
}

struct Metrics {
    meters: Meters,
    bytes: usize,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _: usize) -> bool {
        let prefix = text(self.get_plugin_configuration());
        let define = |kind, name: &str| define_metric(kind, &format!("{prefix}_{name}"));
        self.meters = (|| {
            Ok::<_, proxy_wasm::types::Status>(Meters {
                requests: define(MetricType::Counter, "requests")?,
                active: define(MetricType::Gauge, "active")?,
                bytes: define(MetricType::Histogram, "bytes")?,
            })
        })()
        .ok();
        self.meters.is_some()
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Metrics { meters: self.meters?, bytes: 0 }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Metrics {}

impl HttpContext for Metrics {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let _ = increment_metric(self.meters.requests, 1);
        let _ = increment_metric(self.meters.active, 1);
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, _: bool) -> Action {
        self.bytes += size;
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if let Ok(count) = get_metric(self.meters.requests) {
            self.set_http_response_header("x-requests", Some(&count.to_string()));
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        let _ = record_metric(self.meters.bytes, self.bytes as u64);
        let _ = increment_metric(self.meters.active, -1);
    }
}
