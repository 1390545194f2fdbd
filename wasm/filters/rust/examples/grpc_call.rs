//! Asks a gRPC service with one message, the path, and passes its answer on. The configuration names its cluster.

use std::time::Duration;

use outrigger_filters::{Filter, text};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<GrpcCall>);
}}

struct GrpcCall {
    cluster: String,
}

impl Filter for GrpcCall {
    fn new(configuration: &str) -> Self {
        Self { cluster: configuration.to_owned() }
    }
}

impl HttpContext for GrpcCall {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let metadata = vec![("x-from", b"filter".as_slice())];
        let message = Some(path.as_bytes());
        let call = self.dispatch_grpc_call(
            &self.cluster,
            "filters.Echo",
            "Say",
            metadata,
            message,
            Duration::from_secs(10),
        );
        if call.is_err() {
            self.send_http_response(500, vec![], Some(b"nobody to ask\n"));
        }
        Action::Pause
    }
}

impl Context for GrpcCall {
    fn on_grpc_call_response(&mut self, _: u32, status: u32, size: usize) {
        if status != 0 {
            let (_, message) = self.get_grpc_status();
            let status = status.to_string();
            let headers = vec![("x-grpc-status", status.as_str())];
            return self.send_http_response(403, headers, Some(message.unwrap_or_default().as_bytes()));
        }
        let answer = text(self.get_grpc_call_response_body(0, size));
        self.set_http_request_header("x-grpc", Some(&answer));
        self.resume_http_request();
    }
}
