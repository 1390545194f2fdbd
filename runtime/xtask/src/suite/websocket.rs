//! WebSocket through the proxy, both ways in: HTTP/1.1 Upgrade and HTTP/2 extended CONNECT.

use anyhow::Result;

use super::peer;
use crate::cases::Cases;
use crate::process::free_port;
use crate::sidecar::Sidecar;

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    let (listen, port) = (free_port()?, free_port()?);
    let _server = peer::python_server("websocket_server.py", port, &[])?;
    let config = peer::one_route(listen, port, "protocol: http", "");
    let _proxy = Sidecar::start("websocket-outrigger", &config, &[listen])?;
    peer::client(cases, &mut peer::python("websocket_client.py", &[&listen.to_string()]))?;
    peer::client(cases, &mut peer::node("websocket_h2.js", &[&listen.to_string()]))
}
