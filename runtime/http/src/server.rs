//! Drives accepted connections: which HTTP it is, then the requests.

use std::sync::Arc;

use bytes::Bytes;
use outrigger_net::detect::{Protocol, detect};
use outrigger_net::frames::Accountant;
use outrigger_net::{Accepted, LocalAuthority, Rewind};

use crate::config::ServerConfig;
use crate::h1::server::Connection;
use crate::message::Handler;
use crate::{h1, h2};

/// Serves one connection until it ends: HTTP/2 when ALPN or the client's preface says so, otherwise HTTP/1.
///
/// While the listener drains, HTTP/1 connections close after their current response and HTTP/2 ones send GOAWAY.
pub async fn serve<H: Handler>(conn: Accepted, handler: Arc<H>, config: Arc<ServerConfig>) {
    let Accepted { mut stream, info, drain, floods } = conn;
    let agreed = info.tls.as_ref().and_then(|tls| tls.alpn.as_deref()).map(|alpn| alpn == b"h2");
    let (is_h2, prefix) = match agreed {
        Some(is_h2) => (is_h2, Bytes::new()),
        None => match Box::pin(first_bytes(&mut stream, &config, &drain)).await {
            Some(known) => known,
            None => return,
        },
    };
    if is_h2 {
        // Boxed: hyper's connection is far larger than an idle HTTP/1 one.
        let io = LocalAuthority::new(Rewind::new(prefix, stream), &info.peer);
        let io = Accountant::new(io, config.http2.floods.clone(), config.write_stall_timeout, floods);
        Box::pin(h2::server::run(io, info, drain, config, handler)).await;
    } else {
        let io = h1::Io::new(stream, prefix);
        h1::server::run(Connection::new(io, info, drain, config), &*handler).await;
    }
}

/// Waits for the client to say something; `None` when it never did.
async fn first_bytes(
    stream: &mut outrigger_net::Stream,
    config: &ServerConfig,
    drain: &outrigger_net::DrainWatch,
) -> Option<(bool, Bytes)> {
    let detected = tokio::select! {
        detected = detect(stream, config.header_timeout) => detected.ok()?,
        () = drain.draining() => return None,
    };
    match detected {
        (Protocol::Http2, prefix) => Some((true, prefix)),
        // Nothing at all: a probe, or a client that changed its mind.
        (_, prefix) if prefix.is_empty() => None,
        // What is not HTTP gets a 400 from the parser.
        (_, prefix) => Some((false, prefix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Request, Response};
    use outrigger_net::frames::FloodCounters;
    use outrigger_net::{Address, ConnInfo, Drain, Peer, Stream};

    struct Big;

    impl Handler for Big {
        async fn handle(&self, request: Request) -> Response {
            let ballast = [0u8; 4096];
            tokio::task::yield_now().await;
            Response::new(
                crate::ResponseHead::new(http::StatusCode::OK),
                crate::Body::full(ballast[..request.head.path().len()].to_vec()),
            )
        }
    }

    /// An idle connection may cost 6 KiB all told. What it allocates is its future, the state it shares with bodies,
    /// the drain watch and a timer; its buffers are with the pool.
    #[tokio::test]
    async fn an_idle_connection_is_small() {
        let (client, _server) = tokio::net::UnixStream::pair().unwrap();
        let local = Address::Unix("/x".into());
        let info = Arc::new(ConnInfo { id: 0, local, peer: Peer::Unix, tls: None, listener: "t".into() });
        let drain = Drain::new();
        let floods = Arc::new(FloodCounters::new(&outrigger_telemetry::Metrics::new()));
        let conn = Accepted { stream: Stream::Unix(client), info, drain: drain.watch(), floods };
        let serving = serve(conn, Arc::new(Big), Arc::new(ServerConfig::default()));
        let future = size_of_val(&serving);
        let shared = size_of::<h1::server::Shared>();
        let others = size_of::<ConnInfo>() + size_of::<tokio::time::Sleep>() + 128;
        println!("future {future}, shared {shared}, others {others}");
        assert!(future <= 2560, "{future}: a handler's state, or a rare path, is not boxed");
        assert!(future + shared + others <= 4096, "{}", future + shared + others);
    }
}
