//! The suites of `cargo xtask test`: what each needs, and how it runs.

mod bulk;
mod cargo;
mod clients;
mod database;
mod functions;
mod fuzz;
mod grpc;
mod h2spec;
mod http1;
mod layotto;
mod newcomer;
mod otlp;
mod peer;
mod wasm;
mod websocket;

use anyhow::Result;

use crate::cases::Cases;
use crate::tools::Need;

/// One line of the final table.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) needs: &'static [Need],
    /// Runs the suite. An error means that it could not be carried out, which is a failure too.
    pub(crate) run: fn(&mut Cases) -> Result<()>,
}

/// In the order they run: the cheap and telling ones first.
pub(crate) const ALL: &[Suite] = &[
    Suite {
        name: "check",
        about: "formatting, lints, dependency rules, documentation, generated code",
        needs: &[],
        run: cargo::check,
    },
    Suite {
        name: "cargo",
        about: "unit and integration tests of every crate",
        needs: &[
            Need::Program("nginx"),
            Need::Program("haproxy"),
            Need::Program("strace"),
            Need::Program("redis-server"),
            Need::Program("etcd"),
            Need::Python,
        ],
        run: cargo::test,
    },
    Suite {
        name: "quickstart",
        about: "`cargo xtask quickstart`, twice",
        needs: &[],
        run: newcomer::quickstart,
    },
    Suite {
        name: "configs",
        about: "every config file of the repository is accepted",
        needs: &[],
        run: newcomer::configs,
    },
    Suite {
        name: "clients",
        about: "the API through Python and Node clients, TCP and Unix sockets",
        needs: &[Need::Python, Need::Node],
        run: clients::run,
    },
    Suite {
        name: "layotto",
        about: "Layotto's published SDKs and our stubs on every backend, with only the components changed",
        needs: &[
            Need::Python,
            Need::Node,
            Need::Java,
            Need::Go,
            Need::Program("redis-server"),
            Need::Program("etcd"),
        ],
        run: layotto::run,
    },
    Suite {
        name: "demos",
        about: "the stories of demo/, with what their clients must print",
        needs: &[
            Need::Python,
            Need::Java,
            Need::Guests,
            Need::Program("curl"),
            Need::Program("redis-server"),
            Need::Program("etcd"),
        ],
        run: crate::demo::suite,
    },
    Suite {
        name: "http1",
        about: "trailers, 100-continue, 1xx and pipelining through the proxy",
        needs: &[Need::Python],
        run: http1::run,
    },
    Suite {
        name: "grpc",
        about: "grpc-go's interop cases through the proxy, and how fast a cancel travels",
        needs: &[Need::Python, Need::Go],
        run: grpc::run,
    },
    Suite {
        name: "otlp",
        about: "traces and metrics at OpenTelemetry's collector",
        needs: &[Need::Python, Need::Go],
        run: otlp::run,
    },
    Suite {
        name: "wasm",
        about: "proxy filters in Rust, Go and AssemblyScript, built from source against the published SDKs",
        needs: &[Need::Python, Need::Guests],
        run: wasm::run,
    },
    Suite {
        name: "functions",
        about: "the same function in Rust, JavaScript and Python, built with the published tools",
        needs: &[Need::Python, Need::Guests, Need::Program("curl")],
        run: functions::run,
    },
    Suite {
        name: "websocket",
        about: "WebSocket by Upgrade and by extended CONNECT",
        needs: &[Need::Python, Need::Node],
        run: websocket::run,
    },
    Suite {
        name: "database",
        about: "Redis and MariaDB through L4 forwarding",
        needs: &[Need::Python, Need::Program("redis-server"), Need::Program("mariadbd")],
        run: database::run,
    },
    Suite {
        name: "h2spec",
        about: "HTTP/2 conformance of proxy and API listeners",
        needs: &[Need::Python, Need::Go],
        run: h2spec::run,
    },
    Suite {
        name: "bulk",
        about: "1 GiB each way with a slow reader: < 1 MiB held",
        needs: &[Need::Python, Need::Program("curl")],
        run: bulk::run,
    },
    Suite {
        name: "fuzz",
        about: "mutated messages against the HTTP/1.1 codec, random calls of filters",
        needs: &[],
        run: fuzz::run,
    },
];
