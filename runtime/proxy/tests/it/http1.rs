//! HTTP/1 on both sides: framing, persistence, informational responses, trailers.

use std::sync::mpsc;

use crate::backend::{Backend, Head, ok};
use crate::client::Client;
use crate::harness::Proxy;

/// A backend that answers `ok` and hands every head over.
fn recording() -> (Backend, mpsc::Receiver<Head>) {
    let (sender, heads) = mpsc::channel();
    let backend = Backend::http(move |head, _| {
        sender.send(head.clone()).unwrap();
        ok("ok")
    });
    (backend, heads)
}

#[test]
fn a_request_arrives_as_it_was_sent_save_what_is_for_one_hop() {
    let (backend, heads) = recording();
    let proxy = Proxy::to(backend.address);
    let extra = "X-Odd-Case: a  b\r\nAccept: x\r\nAccept: y\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
                 Keep-Alive: 5\r\nProxy-Connection: close\r\nTE: gzip\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n";
    let reply = Client::connect(proxy.web()).get("/a%20b;c=1/%7Ed?e=%2F&&f", extra);
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    let head = heads.recv().unwrap();
    assert_eq!(head.line, "GET /a%20b;c=1/%7Ed?e=%2F&&f HTTP/1.1");
    assert_eq!(head.get("host"), Some("shop.example"));
    assert_eq!(head.get("x-odd-case"), Some("a  b"));
    assert_eq!(head.headers.iter().filter(|(name, _)| name == "accept").count(), 2);
    for gone in ["x-hop", "keep-alive", "proxy-connection", "te", "x-real-ip"] {
        assert_eq!(head.get(gone), None, "{:?}", head.names());
    }
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(head.get("x-outrigger-hops"), Some("1"));
}

#[test]
fn connections_are_reused_on_both_sides() {
    let (backend, _heads) = recording();
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    for _ in 0..5 {
        assert_eq!(client.get("/", "").status, 200);
    }
    assert_eq!((backend.requests(), backend.connections()), (5, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::http(|head, body| ok(&format!("{} {}", head.line, body.len())));
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    client.write(
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    for expected in ["GET /1 HTTP/1.1 0", "POST /2 HTTP/1.1 3", "POST /3 HTTP/1.1 2", "GET /4 HTTP/1.1 0"] {
        assert_eq!(client.reply().text(), expected);
    }
}

#[test]
fn http_1_0_clients_are_served() {
    let (backend, heads) = recording();
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    let reply = client.write("GET /old HTTP/1.0\r\n\r\n").reply();
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    assert!(client.is_closed());
    assert_eq!(heads.recv().unwrap().line, "GET /old HTTP/1.1");
    let mut client = Client::connect(proxy.web());
    for _ in 0..2 {
        let reply = client.write("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").reply();
        assert_eq!((reply.status, reply.text()), (200, "ok"));
    }
}

#[test]
fn http_1_0_backends_end_their_body_by_closing() {
    let backend = Backend::start(|peer| {
        peer.head();
        peer.write(b"HTTP/1.0 200 OK\r\n\r\nuntil the end").unwrap();
    });
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    for _ in 0..2 {
        let reply = client.get("/", "");
        assert_eq!((reply.status, reply.text()), (200, "until the end"));
        assert_eq!(reply.get("transfer-encoding"), Some("chunked"), "the client's connection goes on");
    }
}

#[test]
fn responses_without_a_body_keep_their_framing() {
    let backend = Backend::http(|head, _| match head.line.split(' ').nth(1).unwrap() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: \"x\"\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_vec(),
    });
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    assert_eq!(client.get("/204", "").status, 204);
    assert_eq!(client.get("/304", "").get("etag"), Some("\"x\""));
    let head = client.write("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").reply_head();
    assert_eq!((head.status, head.get("content-length")), (200, Some("10")));
    assert_eq!(client.get("/204", "").status, 204, "nothing was left over");
}

#[test]
fn trailers_pass_both_ways() {
    let backend = Backend::http(|_, body| {
        let mut response =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n".to_vec();
        response.extend(format!("{:x}\r\n", body.len()).bytes());
        response.extend(body);
        response.extend(b"\r\n0\r\nX-Sum: 42\r\n\r\n");
        response
    });
    let proxy = Proxy::to(backend.address);
    let reply = Client::connect(proxy.web())
        .write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-In: 7\r\n\r\n")
        .reply();
    assert_eq!(reply.text().to_ascii_lowercase(), "abcx-in: 7", "the backend saw body and trailer");
    assert_eq!(reply.trailers, [("x-sum".to_owned(), "42".to_owned())]);
}

#[test]
fn the_client_is_told_to_continue_by_the_backend() {
    let backend = Backend::start(|peer| {
        let head = peer.head().unwrap();
        assert_eq!(head.get("expect"), Some("100-continue"));
        peer.write(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let body = peer.body(&head);
        peer.write(&ok(std::str::from_utf8(&body).unwrap())).unwrap();
    });
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.reply().status, 100);
    assert_eq!(client.write("body").reply().text(), "body");
}

#[test]
fn early_hints_pass() {
    let backend = Backend::start(|peer| {
        peer.head();
        peer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").unwrap();
        peer.write(&ok("page")).unwrap();
    });
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    let hints = client.get("/", "");
    assert_eq!((hints.status, hints.get("link")), (103, Some("</a.css>")));
    assert_eq!(client.reply().text(), "page");
}
