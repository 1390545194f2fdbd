//! Requests of functions, through `wasi:http/outgoing-handler`.

use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::function::state::Guest;

type Ending = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Ending), Error>;

impl WasiHttpHooks for Guest {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _ending: Ending,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        // Nothing can be granted yet.
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}
