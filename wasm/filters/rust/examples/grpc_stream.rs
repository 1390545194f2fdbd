//! Talks to a gRPC service in both directions before a request goes on. The configuration names its cluster.

use outrigger_filters::{Filter, text};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<GrpcStream>);
}}

#[derive(Default)]
struct GrpcStream {
    cluster: String,
    initial: String,
    messages: Vec<String>,
    trailing: String,
}

impl Filter for GrpcStream {
    fn new(configuration: &str) -> Self {
        Self { cluster: configuration.to_owned(), ..Self::default() }
    }
}

impl HttpContext for GrpcStream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let metadata = vec![("x-from", b"filter".as_slice())];
        match self.open_grpc_stream(&self.cluster, "filters.Echo", "Chat", metadata) {
            Ok(stream) => {
                self.send_grpc_stream_message(stream, Some(b"one"), false);
                self.send_grpc_stream_message(stream, Some(b"two"), true);
            }
            Err(_) => self.send_http_response(500, vec![], Some(b"nobody to ask\n")),
        }
        Action::Pause
    }
}

impl Context for GrpcStream {
    fn on_grpc_stream_initial_metadata(&mut self, _: u32, _: u32) {
        self.initial = text(self.get_grpc_stream_initial_metadata_value("x-initial"));
    }

    fn on_grpc_stream_message(&mut self, _: u32, size: usize) {
        let message = text(self.get_grpc_stream_message(0, size));
        self.messages.push(message);
    }

    fn on_grpc_stream_trailing_metadata(&mut self, _: u32, _: u32) {
        self.trailing = text(self.get_grpc_stream_trailing_metadata_value("x-trailing"));
    }

    fn on_grpc_stream_close(&mut self, _: u32, status: u32) {
        let said = [&self.initial, &self.messages.join("+"), &self.trailing, &status.to_string()];
        self.set_http_request_header("x-grpc", Some(&said.map(String::as_str).join(" ")));
        self.resume_http_request();
    }
}
