//! Ports that belong to a test before anybody listens on them. Used, through `#[path]`, by the tests of the crates above.

use std::{net::SocketAddr, os::fd::IntoRawFd as _};

/// An address nobody listens on. A socket that never listens holds it until the process ends: whoever asks for any port
/// is given another one, and whoever asks for this one by number can listen there.
pub(crate) fn reserved() -> SocketAddr {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let _held = socket.into_raw_fd();
    address
}
