//! What a module lets itself be called with. All of it is optional; what is there must have the right type.

use wasmtime::{AsContextMut, Instance, Module, TypedFunc, WasmParams, WasmResults};

use super::abi::Side;
use super::calls::Part;

pub(crate) type One = TypedFunc<u32, ()>;
pub(crate) type Two = TypedFunc<(u32, u32), ()>;
pub(crate) type Three = TypedFunc<(u32, u32, u32), ()>;
pub(crate) type Five = TypedFunc<(u32, u32, u32, u32, u32), ()>;
/// What is asked whether a message goes on.
pub(crate) type Asking<P> = TypedFunc<P, u32>;

/// By which functions of Layotto's are asked for their ids.
pub(crate) const GET_ID: &str = "proxy_get_id";

/// `on_request_headers` and its twin, in one of two shapes: 0.1.0 does not say whether the message ends here.
pub(crate) struct Headers {
    pub(crate) plain: Option<Asking<(u32, u32)>>,
    pub(crate) with_end: Option<Asking<(u32, u32, u32)>>,
}

pub(crate) struct Exports {
    pub(crate) context_create: Option<Two>,
    pub(crate) vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) configure: Option<TypedFunc<(u32, u32), u32>>,
    /// Of functions: asks what they answer to.
    pub(crate) get_id: Option<TypedFunc<(), ()>>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) log: Option<One>,
    pub(crate) delete: Option<One>,
    pub(crate) tick: Option<One>,
    pub(crate) queue_ready: Option<Two>,
    request_headers: Headers,
    request_body: Option<Asking<(u32, u32, u32)>>,
    request_trailers: Option<Asking<(u32, u32)>>,
    response_headers: Headers,
    response_body: Option<Asking<(u32, u32, u32)>>,
    response_trailers: Option<Asking<(u32, u32)>>,
    pub(crate) new_connection: Option<Asking<u32>>,
    downstream_data: Option<Asking<(u32, u32, u32)>>,
    upstream_data: Option<Asking<(u32, u32, u32)>>,
    downstream_close: Option<Two>,
    upstream_close: Option<Two>,
    pub(crate) http_call_response: Option<Five>,
    grpc_initial: Option<Three>,
    pub(crate) grpc_receive: Option<Three>,
    grpc_trailing: Option<Three>,
    pub(crate) grpc_close: Option<Three>,
}

impl Exports {
    pub(crate) fn of(instance: &Instance, mut store: impl AsContextMut) -> wasmtime::Result<Self> {
        let mut find = Find { instance, store: &mut store };
        Ok(Self {
            context_create: find.function("proxy_on_context_create")?,
            vm_start: find.function("proxy_on_vm_start")?,
            configure: find.function("proxy_on_configure")?,
            get_id: find.function(GET_ID)?,
            done: find.function("proxy_on_done")?,
            log: find.function("proxy_on_log")?,
            delete: find.function("proxy_on_delete")?,
            tick: find.function("proxy_on_tick")?,
            queue_ready: find.function("proxy_on_queue_ready")?,
            request_headers: find.headers("proxy_on_request_headers")?,
            request_body: find.function("proxy_on_request_body")?,
            request_trailers: find.function("proxy_on_request_trailers")?,
            response_headers: find.headers("proxy_on_response_headers")?,
            response_body: find.function("proxy_on_response_body")?,
            response_trailers: find.function("proxy_on_response_trailers")?,
            new_connection: find.function("proxy_on_new_connection")?,
            downstream_data: find.function("proxy_on_downstream_data")?,
            upstream_data: find.function("proxy_on_upstream_data")?,
            downstream_close: find.function("proxy_on_downstream_connection_close")?,
            upstream_close: find.function("proxy_on_upstream_connection_close")?,
            http_call_response: find.function("proxy_on_http_call_response")?,
            grpc_initial: find.function("proxy_on_grpc_receive_initial_metadata")?,
            grpc_receive: find.function("proxy_on_grpc_receive")?,
            grpc_trailing: find.function("proxy_on_grpc_receive_trailing_metadata")?,
            grpc_close: find.function("proxy_on_grpc_close")?,
        })
    }

    pub(crate) fn headers(&self, side: Side) -> &Headers {
        match side {
            Side::Request => &self.request_headers,
            Side::Response => &self.response_headers,
        }
    }

    /// More has come: of a body, or of what one end of a connection says.
    pub(crate) fn data(&self, side: Side, of_connection: bool) -> &Option<Asking<(u32, u32, u32)>> {
        match (side, of_connection) {
            (Side::Request, false) => &self.request_body,
            (Side::Response, false) => &self.response_body,
            (Side::Request, true) => &self.downstream_data,
            (Side::Response, true) => &self.upstream_data,
        }
    }

    pub(crate) fn trailers(&self, side: Side) -> &Option<Asking<(u32, u32)>> {
        match side {
            Side::Request => &self.request_trailers,
            Side::Response => &self.response_trailers,
        }
    }

    /// One end of a connection is over.
    pub(crate) fn close(&self, side: Side) -> &Option<Two> {
        match side {
            Side::Request => &self.downstream_close,
            Side::Response => &self.upstream_close,
        }
    }

    /// Something has come of a gRPC stream.
    pub(crate) fn part(&self, part: Part) -> &Option<Three> {
        match part {
            Part::Initial => &self.grpc_initial,
            Part::Message => &self.grpc_receive,
            Part::Trailing => &self.grpc_trailing,
        }
    }
}

/// Whether a module looks at bodies or trailers of this side.
pub(crate) fn reads(module: &Module, side: Side) -> bool {
    let names = match side {
        Side::Request => ["proxy_on_request_body", "proxy_on_request_trailers"],
        Side::Response => ["proxy_on_response_body", "proxy_on_response_trailers"],
    };
    names.iter().any(|name| module.get_export(name).is_some())
}

pub(crate) struct Find<'f, S> {
    pub(crate) instance: &'f Instance,
    pub(crate) store: &'f mut S,
}

impl<S: AsContextMut> Find<'_, S> {
    pub(crate) fn function<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &str,
    ) -> wasmtime::Result<Option<TypedFunc<P, R>>> {
        let Some(function) = self.instance.get_func(&mut *self.store, name) else { return Ok(None) };
        let typed = function.typed(&*self.store);
        typed.map(Some).map_err(|error| error.context(format!("export `{name}`")))
    }

    fn headers(&mut self, name: &str) -> wasmtime::Result<Headers> {
        if let Ok(plain @ Some(_)) = self.function(name) {
            return Ok(Headers { plain, with_end: None });
        }
        Ok(Headers { plain: None, with_end: self.function(name)? })
    }
}
