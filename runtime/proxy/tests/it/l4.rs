//! Byte streams.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::client::Client;
use crate::harness::{PATIENCE, Proxy, until};
use crate::ports::reserved;

fn start(endpoints: Value, listener: Value) -> Proxy {
    let mut listener = listener;
    listener["address"] = json!("127.0.0.1:0");
    listener["protocol"] = json!("tcp");
    listener["cluster"] = json!("c");
    Proxy::start(json!({ "listeners": { "web": listener }, "clusters": { "c": { "endpoints": endpoints } } }))
}

fn echo() -> Backend {
    Backend::start(|peer| {
        let mut writer = peer.stream.get_ref().try_clone().unwrap();
        // Ends when the client has; only then is our half ended.
        let _ = std::io::copy(&mut peer.stream, &mut writer);
        let _ = writer.shutdown(Shutdown::Write);
    })
}

#[test]
fn bytes_pass_and_each_half_ends_by_itself() {
    let backend = Backend::start(|peer| {
        let mut all = Vec::new();
        peer.stream.read_to_end(&mut all).unwrap();
        // The client has ended its half and still gets an answer.
        peer.write(format!("{} bytes", all.len()).as_bytes()).unwrap();
    });
    let proxy = start(json!([backend.address]), json!({}));
    let mut client = Client::connect(proxy.web());
    client.write(vec![7; 1_000_000]);
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "1000000 bytes");
    until("the connection is counted", || {
        proxy
            .metrics
            .render()
            .contains(r#"outrigger_stream_connections_total{listener="web",end="finished"} 1"#)
    });
    assert_eq!(proxy.metric(r#"outrigger_stream_bytes_total{listener="web",direction="received"}"#), 1e6);
    assert_eq!(proxy.metric(r#"outrigger_stream_bytes_total{listener="web",direction="sent"}"#), 13.0);
}

#[test]
fn a_server_that_speaks_first_is_heard_at_once() {
    let backend = Backend::start(|peer| {
        peer.write(b"220 welcome").unwrap();
        peer.wait_closed();
    });
    let proxy = start(json!([backend.address]), json!({}));
    let started = Instant::now();
    let mut greeting = [0; 11];
    Client::connect(proxy.web()).stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 welcome");
    // Nothing was waited for until a time-out.
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
}

#[test]
fn connecting_tries_another_endpoint() {
    let backend = echo();
    let proxy = start(json!([reserved(), backend.address]), json!({}));
    for _ in 0..6 {
        let mut client = Client::connect(proxy.web());
        client.write("ping");
        let mut echoed = [0; 4];
        client.stream.read_exact(&mut echoed).unwrap();
    }
}

#[test]
fn nobody_to_connect_to_is_a_reset() {
    let proxy = start(json!([reserved()]), json!({}));
    let error = Client::connect(proxy.web()).stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// The name is found to be our own address only once it is looked up.
#[test]
fn a_listener_does_not_connect_to_itself() {
    let address = reserved();
    let to = |port: u16| {
        let dns = json!({ "name": "localhost", "port": port });
        json!({
            "listeners": { "web": { "address": address, "protocol": "tcp", "cluster": "c" } },
            "clusters": { "c": { "dns": dns } },
        })
    };
    let mut proxy = Proxy::start(to(address.port()));
    let accepted = r#"outrigger_connections_accepted_total{listener="web"}"#;
    for round in 1..=5 {
        let error = Client::connect(proxy.web()).stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(proxy.metric(accepted), f64::from(round), "it was its own client");
    }
    // The same name leads to others.
    let backend = echo();
    proxy.apply(to(backend.address.port())).unwrap();
    let mut client = Client::connect(proxy.web());
    client.write("x");
    client.stream.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_silent_connection_is_ended() {
    let backend = echo();
    let proxy = start(json!([backend.address]), json!({ "idle_timeout": "2s" }));
    let mut client = Client::connect(proxy.web());
    for _ in 0..3 {
        client.write("x");
        client.stream.read_exact(&mut [0]).unwrap();
        std::thread::sleep(Duration::from_millis(700));
    }
    let silent = Instant::now();
    assert!(client.is_closed());
    assert!(silent.elapsed() < PATIENCE, "it was us who gave up: {:?}", silent.elapsed());
}

#[test]
fn a_drain_waits_and_then_cuts() {
    let backend = echo();
    let mut proxy = start(json!([backend.address]), json!({}));
    let address = proxy.web();
    let mut client = Client::connect(address);
    client.write("x");
    client.stream.read_exact(&mut [0]).unwrap();
    assert_eq!(proxy.drain(Duration::from_millis(100)), 1);
    assert!(client.is_closed());
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

/// A ClientHello with just enough in it to name a server.
fn client_hello(name: Option<&str>) -> Vec<u8> {
    let length = |bytes: &[u8]| (bytes.len() as u16).to_be_bytes().to_vec();
    let with_length = |bytes: Vec<u8>| [length(&bytes), bytes].concat();
    let extensions = name.map_or(Vec::new(), |name| {
        let entry = [vec![0], with_length(name.as_bytes().to_vec())].concat();
        [vec![0, 0], with_length(with_length(entry))].concat()
    });
    let body =
        [vec![3, 3], vec![9; 32], vec![0], with_length(vec![0x13, 1]), vec![1, 0], with_length(extensions)]
            .concat();
    let handshake = [vec![1, 0], with_length(body)].concat();
    [vec![22, 3, 1], with_length(handshake)].concat()
}

#[test]
fn tls_goes_where_its_server_name_says() {
    // Each backend says its name after the hello has come through unchanged.
    let named = |name: &'static str| {
        Backend::start(move |peer| {
            let mut header = [0; 5];
            peer.stream.read_exact(&mut header).unwrap();
            let mut rest = vec![0; u16::from_be_bytes([header[3], header[4]]).into()];
            peer.stream.read_exact(&mut rest).unwrap();
            peer.write(&[header.to_vec(), rest, name.as_bytes().to_vec()].concat()).unwrap();
        })
    };
    let backends = [named("exact"), named("below"), named("other")];
    let cluster = |backend: &Backend| json!({ "endpoints": [backend.address] });
    let start = |default: Option<&str>| {
        let mut listener = json!({
            "address": "127.0.0.1:0", "protocol": "tls_passthrough",
            "sni": { "a.example": "exact", "*.example": "below" },
        });
        if let Some(default) = default {
            listener["cluster"] = json!(default);
        }
        Proxy::start(json!({
            "listeners": { "web": listener },
            "clusters": { "exact": cluster(&backends[0]), "below": cluster(&backends[1]), "other": cluster(&backends[2]) },
        }))
    };
    let ask = |proxy: SocketAddr, hello: &[u8], split: usize| {
        let mut client = Client::connect(proxy);
        client.write(&hello[..split]);
        std::thread::sleep(Duration::from_millis(10));
        client.write(&hello[split..]);
        let mut answer = Vec::new();
        // A reset is an answer, too.
        let _ = client.stream.read_to_end(&mut answer);
        answer.strip_prefix(hello).map(|name| String::from_utf8(name.to_vec()).unwrap())
    };
    let proxy = start(Some("other"));
    for (name, expected) in [
        (Some("a.example"), "exact"),
        (Some("b.example"), "below"),
        (Some("b.invalid"), "other"),
        (None, "other"),
    ] {
        let hello = client_hello(name);
        for split in [hello.len(), 1, 20] {
            assert_eq!(ask(proxy.web(), &hello, split).as_deref(), Some(expected), "{name:?} {split}");
        }
    }
    let proxy = start(None);
    let hello = client_hello(Some("b.invalid"));
    assert_eq!(ask(proxy.web(), &hello, hello.len()), None, "no default, so nobody answers");
    let _ = Client::connect(proxy.web()).stream.get_mut().write_all(b"x");
}
