//! Connections that stop being HTTP.

use std::io::{Read, Write};

use crate::backend::Backend;
use crate::client::Client;
use crate::harness::Proxy;

/// Upgrades, greets first, and then echoes until the client ends.
fn websocket() -> Backend {
    Backend::start(|peer| {
        let head = peer.head().unwrap();
        if head.get("upgrade") != Some("websocket") || head.get("connection") != Some("upgrade") {
            peer.write(
                format!("HTTP/1.1 400 Bad\r\nContent-Length: {}\r\n\r\n{head:?}", format!("{head:?}").len())
                    .as_bytes(),
            )
            .unwrap();
            return;
        }
        let key = head.get("sec-websocket-key").unwrap();
        let switch = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {key}!\r\n\r\nhello"
        );
        peer.write(switch.as_bytes()).unwrap();
        let mut buffer = [0; 4096];
        loop {
            match peer.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => peer.write(&buffer[..count]).unwrap(),
            }
        }
    })
}

#[test]
fn a_websocket_carries_bytes_both_ways() {
    let backend = websocket();
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    client.write("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n");
    let reply = client.reply_head();
    assert_eq!(reply.status, 101, "{reply:?}");
    assert_eq!(reply.get("upgrade"), Some("websocket"));
    assert_eq!(reply.get("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(reply.get("sec-websocket-accept"), Some("k!"));
    let mut greeting = [0; 5];
    client.stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hello", "the server may speak first");
    for size in [1, 125, 70_000] {
        let frame: Vec<u8> = (0..size).map(|i| i as u8).collect();
        let mut writer = client.stream.get_ref().try_clone().unwrap();
        let sent = frame.clone();
        let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        let mut echoed = vec![0; size];
        client.stream.read_exact(&mut echoed).unwrap();
        writing.join().unwrap();
        assert_eq!(echoed, frame);
    }
    client.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.is_closed());
}

#[test]
fn a_refused_upgrade_is_an_ordinary_response() {
    let backend =
        Backend::http(|_, _| b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno".to_vec());
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    let reply = client.get("/", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    assert_eq!((reply.status, reply.text()), (426, "no"));
    assert_eq!(client.get("/", "").status, 426, "the connection is still HTTP");
}

#[test]
fn an_upgrade_with_a_body_is_refused() {
    let backend = websocket();
    let proxy = Proxy::to(backend.address);
    let reply = Client::connect(proxy.web())
        .write("POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc")
        .reply();
    assert_eq!(reply.status, 400);
    assert_eq!(backend.requests(), 0);
}
