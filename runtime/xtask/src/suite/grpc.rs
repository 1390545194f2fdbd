//! gRPC through the proxy, without decoding: grpc-go's interop client and server, and how fast a cancel travels.

use std::process::Command;

use anyhow::{Result, bail, ensure};

use super::peer;
use crate::cases::Cases;
use crate::process::{Server, free_port};
use crate::sidecar::Sidecar;
use crate::tools;
use crate::workspace::output;

/// The interop cases that need no credentials: the four kinds of call, cancel, deadline, status and metadata.
const INTEROP: &[&str] = &[
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    interop_suite(cases)?;
    cancel(cases)
}

fn interop_suite(cases: &mut Cases) -> Result<()> {
    let (listen, port, hello) = (free_port()?, free_port()?, free_port()?);
    let mut command = Command::new(tools::go("grpc-interop/server"));
    let _server =
        Server::start("grpc-interop-server", command.arg(format!("--port={port}")), None)?.wait_port(port)?;
    let config = peer::one_route(listen, port, "protocol: http", "protocol: http2,");
    let _proxy = Sidecar::start("grpc-outrigger", &config, &[listen])?;
    for case in INTEROP {
        cases.case(&format!("grpc {case}"), || interop(listen, case));
    }
    // The client must be able to fail: here the backend is no gRPC server.
    let _other = peer::python_server("h11_server.py", hello, &[])?;
    cases.case("planted: the interop client notices a backend without gRPC", || {
        ensure!(interop(hello, "empty_unary").is_err(), "it passed");
        Ok(())
    });
    Ok(())
}

fn interop(port: u16, case: &str) -> Result<()> {
    let mut client = Command::new("timeout");
    client.arg("60").arg(tools::go("grpc-interop/client"));
    client.args(["--server_host=127.0.0.1", "--use_tls=false"]);
    client.arg(format!("--server_port={port}")).arg(format!("--test_case={case}"));
    let text = output(&mut client)?;
    if text.contains("FAIL") {
        bail!("{text}");
    }
    Ok(())
}

fn cancel(cases: &mut Cases) -> Result<()> {
    let (listen, port) = (free_port()?, free_port()?);
    let port_text = port.to_string();
    let mut command = peer::python("grpc_cancel.py", &["server", &port_text]);
    let _server = Server::start("grpc-cancel-server", &mut command, None)?.wait_port(port)?;
    let config = peer::one_route(listen, port, "protocol: http", "protocol: http2,");
    let _proxy = Sidecar::start("grpc-cancel-outrigger", &config, &[listen])?;
    peer::client(cases, &mut peer::python("grpc_cancel.py", &["client", &listen.to_string(), &port_text]))
}
