//! What a module lets itself be called with. All of it is optional; what is there must have the right type.

use wasmtime::{AsContextMut, Instance, TypedFunc, WasmParams, WasmResults};

pub(crate) type One = TypedFunc<u32, ()>;
pub(crate) type Two = TypedFunc<(u32, u32), ()>;
pub(crate) type Three = TypedFunc<(u32, u32, u32), ()>;
pub(crate) type Five = TypedFunc<(u32, u32, u32, u32, u32), ()>;

/// By which functions of Layotto's are asked for their ids.
pub(crate) const GET_ID: &str = "proxy_get_id";

/// `on_request_headers` and its twin; 0.1.0 does not say whether the message ends here.
#[derive(Clone)]
pub(crate) enum Headers {
    Plain(TypedFunc<(u32, u32), u32>),
    WithEnd(TypedFunc<(u32, u32, u32), u32>),
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
    pub(crate) request_headers: Option<Headers>,
    pub(crate) request_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) request_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) response_headers: Option<Headers>,
    pub(crate) response_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) response_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) new_connection: Option<TypedFunc<u32, u32>>,
    pub(crate) downstream_data: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) upstream_data: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) downstream_close: Option<Two>,
    pub(crate) upstream_close: Option<Two>,
    pub(crate) http_call_response: Option<Five>,
    pub(crate) grpc_initial: Option<Three>,
    pub(crate) grpc_receive: Option<Three>,
    pub(crate) grpc_trailing: Option<Three>,
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

    fn headers(&mut self, name: &str) -> wasmtime::Result<Option<Headers>> {
        if let Ok(Some(plain)) = self.function(name) {
            return Ok(Some(Headers::Plain(plain)));
        }
        Ok(self.function(name)?.map(Headers::WithEnd))
    }
}
