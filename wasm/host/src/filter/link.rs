//! The functions a module may import from `env`.

use wasmtime::{Linker, Module};

use super::memory::{Guest, Place, Span, told};
use super::state::State;
use super::{blocks, buffers, calls, control, headers, metrics, properties, shared, wasi};

type Asked = wasmtime::Result<u32>;

const ENV: &str = "env";

/// Everything a module can ask for, whichever version it was written for.
pub(crate) fn linker(engine: &wasmtime::Engine, module: &Module) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    control(&mut linker)?;
    messages(&mut linker)?;
    outside(&mut linker)?;
    shared_things(&mut linker)?;
    of_functions(&mut linker)?;
    wasi::link(&mut linker)?;
    wasi::link_rest(&mut linker, module);
    Ok(linker)
}

fn control(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .func_wrap(ENV, "proxy_log", |mut guest: Guest<'_>, level: u32, at: u32, length: u32| -> Asked {
            told(control::log(&mut guest, level, Span(at, length)))
        })?
        .func_wrap(ENV, "proxy_get_log_level", |mut guest: Guest<'_>, at: u32| -> Asked {
            told(control::get_log_level(&mut guest, at))
        })?
        .func_wrap(ENV, "proxy_get_current_time_nanoseconds", |mut guest: Guest<'_>, at: u32| -> Asked {
            told(control::get_time(&mut guest, at))
        })?
        .func_wrap(ENV, "proxy_set_tick_period_milliseconds", |mut guest: Guest<'_>, period: u32| -> Asked {
            told(control::set_tick_period(&mut guest, period))
        })?
        .func_wrap(ENV, "proxy_done", |mut guest: Guest<'_>| -> Asked { told(control::done(&mut guest)) })?
        .func_wrap(ENV, "proxy_set_effective_context", |mut guest: Guest<'_>, context: u32| -> Asked {
            told(control::set_effective_context(&mut guest, context))
        })?
        .func_wrap(ENV, "proxy_continue_stream", |mut guest: Guest<'_>, side: u32| -> Asked {
            told(control::continue_stream(&mut guest, side))
        })?
        .func_wrap(ENV, "proxy_close_stream", |mut guest: Guest<'_>, side: u32| -> Asked {
            told(control::close_stream(&mut guest, side))
        })?
        .func_wrap(ENV, "proxy_continue_request", |mut guest: Guest<'_>| -> Asked {
            told(control::continue_stream(&mut guest, 0))
        })?
        .func_wrap(ENV, "proxy_continue_response", |mut guest: Guest<'_>| -> Asked {
            told(control::continue_stream(&mut guest, 1))
        })?
        // What C++ compilers say when memory has grown; we look at its size each time.
        .func_wrap(ENV, "emscripten_notify_memory_growth", |_: Guest<'_>, _: u32| {})?
        // The route is found once; there is nothing kept to be forgotten.
        .func_wrap(ENV, "proxy_clear_route_cache", |_: Guest<'_>| -> u32 { 0 })?
        .func_wrap(
            ENV,
            "proxy_get_status",
            |mut guest: Guest<'_>, code: u32, at: u32, length: u32| -> Asked {
                told(control::get_status(&mut guest, code, Place(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_send_local_response",
            |mut guest: Guest<'_>,
             status: u32,
             _details: u32,
             _details_length: u32,
             body: u32,
             body_length: u32,
             headers: u32,
             headers_length: u32,
             grpc: i32|
             -> Asked {
                let (body, headers) = (Span(body, body_length), Span(headers, headers_length));
                told(control::send_local_response(
                    &mut guest,
                    control::Answered { status, body, headers, grpc },
                ))
            },
        )?;
    Ok(())
}

fn messages(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .func_wrap(ENV, "proxy_get_header_map_size", |mut guest: Guest<'_>, map: u32, at: u32| -> Asked {
            told(headers::get_size(&mut guest, map, at))
        })?
        .func_wrap(
            ENV,
            "proxy_get_header_map_pairs",
            |mut guest: Guest<'_>, map: u32, at: u32, length: u32| -> Asked {
                told(headers::get_pairs(&mut guest, map, Place(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_set_header_map_pairs",
            |mut guest: Guest<'_>, map: u32, at: u32, length: u32| -> Asked {
                told(headers::set_pairs(&mut guest, map, Span(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_get_header_map_value",
            |mut guest: Guest<'_>, map: u32, key: u32, key_length: u32, at: u32, length: u32| -> Asked {
                told(headers::get_value(&mut guest, map, Span(key, key_length), Place(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_add_header_map_value",
            |mut guest: Guest<'_>, map: u32, key: u32, key_length: u32, at: u32, length: u32| -> Asked {
                told(headers::add(&mut guest, map, Span(key, key_length), Span(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_replace_header_map_value",
            |mut guest: Guest<'_>, map: u32, key: u32, key_length: u32, at: u32, length: u32| -> Asked {
                told(headers::replace(&mut guest, map, Span(key, key_length), Span(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_remove_header_map_value",
            |mut guest: Guest<'_>, map: u32, key: u32, key_length: u32| -> Asked {
                told(headers::remove(&mut guest, map, Span(key, key_length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_get_buffer_bytes",
            |mut guest: Guest<'_>, buffer: u32, start: u32, most: u32, at: u32, length: u32| -> Asked {
                told(buffers::get_bytes(&mut guest, buffer, start, most, Place(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_get_buffer_status",
            |mut guest: Guest<'_>, buffer: u32, size: u32, flags: u32| -> Asked {
                told(buffers::get_status(&mut guest, buffer, size, flags))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_set_buffer_bytes",
            |mut guest: Guest<'_>, buffer: u32, start: u32, replaced: u32, at: u32, length: u32| -> Asked {
                told(buffers::set_bytes(&mut guest, buffer, start, replaced, Span(at, length)))
            },
        )?
        .func_wrap(ENV, "proxy_get_configuration", |mut guest: Guest<'_>, at: u32, length: u32| -> Asked {
            told(buffers::get_configuration(&mut guest, Place(at, length)))
        })?;
    Ok(())
}

fn outside(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .func_wrap(
            ENV,
            "proxy_http_call",
            |mut guest: Guest<'_>,
             upstream: u32,
             upstream_length: u32,
             headers: u32,
             headers_length: u32,
             body: u32,
             body_length: u32,
             trailers: u32,
             trailers_length: u32,
             timeout: u32,
             token: u32|
             -> Asked {
                let call = calls::HttpCall {
                    upstream: Span(upstream, upstream_length),
                    headers: Span(headers, headers_length),
                    body: Span(body, body_length),
                    trailers: Span(trailers, trailers_length),
                    timeout,
                };
                told(calls::http_call(&mut guest, call, token))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_grpc_call",
            |mut guest: Guest<'_>,
             upstream: u32,
             upstream_length: u32,
             service: u32,
             service_length: u32,
             method: u32,
             method_length: u32,
             metadata: u32,
             metadata_length: u32,
             message: u32,
             message_length: u32,
             timeout: u32,
             token: u32|
             -> Asked {
                let called = calls::Called {
                    upstream: Span(upstream, upstream_length),
                    service: Span(service, service_length),
                    method: Span(method, method_length),
                    metadata: Span(metadata, metadata_length),
                };
                told(calls::grpc_call(&mut guest, called, Span(message, message_length), timeout, token))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_grpc_stream",
            |mut guest: Guest<'_>,
             upstream: u32,
             upstream_length: u32,
             service: u32,
             service_length: u32,
             method: u32,
             method_length: u32,
             metadata: u32,
             metadata_length: u32,
             token: u32|
             -> Asked {
                let called = calls::Called {
                    upstream: Span(upstream, upstream_length),
                    service: Span(service, service_length),
                    method: Span(method, method_length),
                    metadata: Span(metadata, metadata_length),
                };
                told(calls::grpc_stream(&mut guest, called, token))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_grpc_send",
            |mut guest: Guest<'_>, token: u32, at: u32, length: u32, end: u32| -> Asked {
                told(calls::send(&mut guest, token, Span(at, length), end != 0))
            },
        )?
        .func_wrap(ENV, "proxy_grpc_cancel", |mut guest: Guest<'_>, token: u32| -> Asked {
            told(calls::cancel(&mut guest, token))
        })?
        .func_wrap(ENV, "proxy_grpc_close", |mut guest: Guest<'_>, token: u32| -> Asked {
            told(calls::close(&mut guest, token))
        })?;
    Ok(())
}

fn shared_things(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .func_wrap(
            ENV,
            "proxy_get_shared_data",
            |mut guest: Guest<'_>, key: u32, key_length: u32, at: u32, length: u32, cas: u32| -> Asked {
                told(shared::get_data(&mut guest, Span(key, key_length), Place(at, length), cas))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_set_shared_data",
            |mut guest: Guest<'_>, key: u32, key_length: u32, at: u32, length: u32, cas: u32| -> Asked {
                told(shared::set_data(&mut guest, Span(key, key_length), Span(at, length), cas))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_register_shared_queue",
            |mut guest: Guest<'_>, name: u32, length: u32, at: u32| -> Asked {
                told(shared::register_queue(&mut guest, Span(name, length), at))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_resolve_shared_queue",
            |mut guest: Guest<'_>, vm: u32, vm_length: u32, name: u32, name_length: u32, at: u32| -> Asked {
                told(shared::resolve_queue(&mut guest, Span(vm, vm_length), Span(name, name_length), at))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_enqueue_shared_queue",
            |mut guest: Guest<'_>, queue: u32, at: u32, length: u32| -> Asked {
                told(shared::enqueue(&mut guest, queue, Span(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_dequeue_shared_queue",
            |mut guest: Guest<'_>, queue: u32, at: u32, length: u32| -> Asked {
                told(shared::dequeue(&mut guest, queue, Place(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_define_metric",
            |mut guest: Guest<'_>, kind: u32, name: u32, length: u32, at: u32| -> Asked {
                told(metrics::define(&mut guest, kind, Span(name, length), at))
            },
        )?
        .func_wrap(ENV, "proxy_record_metric", |mut guest: Guest<'_>, metric: u32, value: u64| -> Asked {
            told(metrics::record(&mut guest, metric, value))
        })?
        .func_wrap(ENV, "proxy_increment_metric", |mut guest: Guest<'_>, metric: u32, delta: i64| -> Asked {
            told(metrics::increment(&mut guest, metric, delta))
        })?
        .func_wrap(ENV, "proxy_get_metric", |mut guest: Guest<'_>, metric: u32, at: u32| -> Asked {
            told(metrics::get(&mut guest, metric, at))
        })?
        .func_wrap(
            ENV,
            "proxy_get_property",
            |mut guest: Guest<'_>, path: u32, path_length: u32, at: u32, length: u32| -> Asked {
                told(properties::get(&mut guest, Span(path, path_length), Place(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_set_property",
            |mut guest: Guest<'_>, path: u32, path_length: u32, at: u32, length: u32| -> Asked {
                told(properties::set(&mut guest, Span(path, path_length), Span(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            "proxy_call_foreign_function",
            |mut guest: Guest<'_>,
             name: u32,
             name_length: u32,
             arguments: u32,
             arguments_length: u32,
             at: u32,
             length: u32|
             -> Asked {
                let (name, arguments) = (Span(name, name_length), Span(arguments, arguments_length));
                told(control::call_foreign(&mut guest, name, arguments, Place(at, length)))
            },
        )?;
    Ok(())
}

/// What Layotto adds, which only functions may import.
fn of_functions(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .func_wrap(
            ENV,
            blocks::GET_STATE,
            |mut guest: Guest<'_>,
             store: u32,
             store_length: u32,
             key: u32,
             key_length: u32,
             at: u32,
             length: u32|
             -> Asked {
                let (store, key) = (Span(store, store_length), Span(key, key_length));
                told(blocks::get_state(&mut guest, store, key, Place(at, length)))
            },
        )?
        .func_wrap(
            ENV,
            blocks::INVOKE_SERVICE,
            |mut guest: Guest<'_>,
             id: u32,
             id_length: u32,
             method: u32,
             method_length: u32,
             body: u32,
             body_length: u32,
             at: u32,
             length: u32|
             -> Asked {
                let invoked = blocks::Invoked {
                    id: Span(id, id_length),
                    method: Span(method, method_length),
                    body: Span(body, body_length),
                };
                told(blocks::invoke_service(&mut guest, invoked, Place(at, length)))
            },
        )?;
    Ok(())
}
