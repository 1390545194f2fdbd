//! What HTTP/1.1 clients expect beyond requests and answers: trailers, 100-continue, 1xx, pipelining.

use anyhow::Result;

use super::peer;
use crate::cases::Cases;
use crate::process::free_port;
use crate::sidecar::Sidecar;

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    let (listen, port) = (free_port()?, free_port()?);
    let _server = peer::python_server("h11_server.py", port, &[])?;
    let config = peer::one_route(listen, port, "protocol: http", "");
    let _proxy = Sidecar::start("http1-outrigger", &config, &[listen])?;
    peer::client(cases, &mut peer::python("h11_client.py", &[&listen.to_string()]))
}
