//! Tables of what is refused, and what is understood of the rest.

use super::*;

fn parse(text: &str) -> Result<ParsedRequest, &'static str> {
    let mut buffer = BytesMut::from(text);
    match request(&mut buffer, &mut Scan::default(), &Limits::for_test(), Scheme::Http) {
        Ok(Some(parsed)) => Ok(parsed),
        Ok(None) => Err("partial"),
        Err(refusal) => Err(refusal.reason),
    }
}

#[test]
fn what_can_be_read_two_ways_is_refused() {
    let check =
        |text: &str, expected: Refusal| assert_eq!(parse(text).err(), Some(expected.reason), "{text:?}");
    let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    check(&with("Content-Length: 1\r\nTransfer-Encoding: chunked"), Refusal::LENGTH_AND_ENCODING);
    check(&with("Transfer-Encoding: chunked\r\nContent-Length: 1"), Refusal::LENGTH_AND_ENCODING);
    check(&with("Content-Length: 1\r\nContent-Length: 1"), Refusal::CONTENT_LENGTH_REPEATED);
    for bad in [
        "1, 1",
        "1,2",
        "+1",
        "-1",
        "1 1",
        "",
        "0x1",
        "1;",
        "1.0",
        "99999999999999999999",
        "18446744073709551615",
        "9999999999999999999",
    ] {
        check(&with(&format!("Content-Length: {bad}")), Refusal::CONTENT_LENGTH);
    }
    for bad in [
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        "identity",
        "x",
        "",
        "chunked;q=1",
        "xchunked",
        "\"chunked\"",
    ] {
        check(&with(&format!("Transfer-Encoding: {bad}")), Refusal::TRANSFER_ENCODING);
    }
    check(&with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Refusal::TRANSFER_ENCODING);
    check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::TRANSFER_ENCODING_HTTP10);
    check(
        &with("Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 1"),
        Refusal::UPGRADE_WITH_BODY,
    );
    check(
        &with("Upgrade: websocket\r\nConnection: upgrade\r\nTransfer-Encoding: chunked"),
        Refusal::UPGRADE_WITH_BODY,
    );
    check("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 1\r\n\r\n", Refusal::CONNECT_WITH_BODY);
    check(&with("Expect: 200-ok\r\nContent-Length: 1"), Refusal::EXPECTATION);
    check(&with("A_b: 1"), Refusal::UNDERSCORE);
}

#[test]
fn syntax_is_strict() {
    let check =
        |text: &str, expected: Refusal| assert_eq!(parse(text).err(), Some(expected.reason), "{text:?}");
    let with = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    for bad in [
        "X : 1",
        "X\t: 1",
        ": 1",
        "X",
        "X\u{0}: 1",
        "(X): 1",
        "X: a\u{0}b",
        "X: a\rb",
        "X: a\u{7f}",
        "X: a\u{1}",
        "X: a\r\r",
        "\u{e9}: 1",
    ] {
        check(&with(bad), Refusal::HEADER_SYNTAX);
    }
    check(&with("X: a\r\n b"), Refusal::OBS_FOLD);
    check("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refusal::LEADING_WHITESPACE);
    check("GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::BARE_LF);
    for bad in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "G(T / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/11",
        "GET",
        "/ HTTP/1.1",
        "GET / HTTP/1.1x",
    ] {
        let found = parse(&format!("{bad}\r\nHost: a\r\n\r\n")).err();
        // What follows the version is to the parser a line end gone wrong.
        assert!(matches!(found, Some("request_line" | "header_syntax")), "{bad:?}: {found:?}");
    }
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0"] {
        check(&format!("GET / {version}\r\nHost: a\r\n\r\n"), Refusal::VERSION);
    }
}

#[test]
fn host_and_target_agree() {
    let check = |first: &str, hosts: &[&str], expected: Refusal| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let text = format!("{first} HTTP/1.1\r\n{hosts}\r\n");
        assert_eq!(parse(&text).err(), Some(expected.reason), "{text:?}");
    };
    check("GET /", &[], Refusal::HOST_MISSING);
    check("GET /", &["a", "a"], Refusal::HOST_REPEATED);
    check("GET /", &["a", "b"], Refusal::HOST_REPEATED);
    for bad in ["a b", "a/b", "u@a", "a:x", "a, b"] {
        check("GET /", &[bad], Refusal::HOST_INVALID);
    }
    check("GET http://a/", &["b"], Refusal::HOST_MISMATCH);
    check("GET http://a/", &[""], Refusal::HOST_MISMATCH);
    check("GET http://a:80/", &["a"], Refusal::HOST_MISMATCH);
    check("CONNECT a:1", &["b:1"], Refusal::HOST_MISMATCH);
    for bad in [
        "GET a",
        "GET ftp://a/",
        "GET http://",
        "GET http:///x",
        "GET http://u@a/",
        "GET *",
        "CONNECT /",
        "CONNECT a",
        "GET /\u{e9}",
    ] {
        check(bad, &["a"], Refusal::TARGET);
    }
    check("GET /#f", &["a"], Refusal::TARGET_FRAGMENT);
    check("GET /a%00b", &["a"], Refusal::TARGET_NUL);
    check("GET /?a%00b", &["a"], Refusal::TARGET_NUL);
}

#[test]
fn what_is_understood() {
    let parsed = parse("GET http://A.Example/p?q HTTP/1.1\r\nHOST: a.example\r\nX-Y:  z \t\r\n\r\n").unwrap();
    assert_eq!((parsed.head.path_and_query(), parsed.head.authority()), ("/p?q", "a.example"));
    assert_eq!(parsed.head.headers.get(&http::HeaderName::from_static("x-y")), Some(b"z".as_slice()));
    assert!(parsed.keep_alive);
    assert_eq!(parse("GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().head.path_and_query(), "/?q");
    assert_eq!(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().head.target, Target::Asterisk);
    assert_eq!(parse("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").unwrap().head.target, Target::Authority);
    assert!(!parse("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
    assert!(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap().keep_alive);
    assert!(!parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n").unwrap().keep_alive);
    let expecting =
        parse("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n").unwrap();
    assert!(expecting.expects_continue);
    assert_eq!(expecting.body, Incoming::Length(3));
    assert_eq!(
        parse("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n").unwrap().body,
        Incoming::Chunked
    );
}

#[test]
fn h2c_is_never_offered_further() {
    let check = |fields: &str, expected: Option<&str>| {
        let parsed = parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).unwrap();
        assert_eq!(parsed.head.upgrade(), expected, "{fields}");
        assert!(!parsed.head.headers.contains(&http::HeaderName::from_static("http2-settings")));
    };
    check("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x", None);
    check("Upgrade: H2C, websocket\r\nConnection: upgrade", Some("websocket"));
    check("Upgrade: websocket\r\nConnection: keep-alive, Upgrade", Some("websocket"));
    check("Upgrade: websocket", None);
}

#[test]
fn responses_are_held_to_the_same_rules() {
    let parse = |text: &str| {
        let mut buffer = BytesMut::from(text);
        response(&mut buffer, &mut Scan::default(), &Limits::for_test()).map_err(|refusal| refusal.reason)
    };
    let refused =
        |text: &str, expected: Refusal| assert_eq!(parse(text).err(), Some(expected.reason), "{text:?}");
    let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
    refused(&with("Content-Length: 1\r\nTransfer-Encoding: chunked"), Refusal::LENGTH_AND_ENCODING);
    refused(&with("Content-Length: 1\r\nContent-Length: 2"), Refusal::CONTENT_LENGTH_REPEATED);
    refused(&with("Transfer-Encoding: gzip, chunked"), Refusal::TRANSFER_ENCODING);
    refused("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::TRANSFER_ENCODING_HTTP10);
    refused(&with("X: a\r\n b"), Refusal::OBS_FOLD);
    refused(&with("X : a"), Refusal::HEADER_SYNTAX);
    refused(&with("X: a\u{0}"), Refusal::HEADER_SYNTAX);
    refused("HTTP/1.1 200 OK\nX: a\r\n\r\n", Refusal::BARE_LF);
    for bad in [
        "HTTP/2.0 200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 x",
        "HTTP/1.1 600 x",
        "HTTP/1.1  200 OK",
        "ICY 200 OK",
        "HTTP/1.1 abc x",
    ] {
        refused(&format!("{bad}\r\n\r\n"), Refusal::STATUS_LINE);
    }
    let parsed = parse("HTTP/1.1 404 Nope\r\nContent-Length: 3\r\n\r\nabc").unwrap().unwrap();
    assert_eq!(
        (parsed.head.status.as_u16(), parsed.head.reason.as_deref(), parsed.length),
        (404, Some(b"Nope".as_slice()), Some(3))
    );
    assert!(parse("HTTP/1.1 200\r\n\r\n").unwrap().unwrap().keep_alive);
}

#[test]
fn a_head_read_at_once_is_read_as_after_a_scan() {
    let read = |text: &str, mut scan: Scan| {
        let mut buffer = BytesMut::from(text);
        let parsed = request(&mut buffer, &mut scan, &Limits::for_test(), Scheme::Http);
        (parsed.map(|parsed| parsed.map(|parsed| format!("{parsed:?}"))), buffer)
    };
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "b: c\r\n".repeat(101));
    let big = format!("GET / HTTP/1.1\r\nHost: a\r\nb: {}\r\n\r\n", "c".repeat(50_000));
    for text in [
        "GET / HTTP/1.1\r\nHost: a\r\nb: c\r\nd:\r\n\r\nGET",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nb: c\nd: e\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.0\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nb : c\r\n\r\n",
        &long,
        &many,
        &big,
    ] {
        let mut looked_at = Scan::default();
        assert!(looked_at.is_first_look() && !looked_at.is_first_look());
        assert_eq!(read(text, Scan::default()), read(text, looked_at), "{text:.100?}");
    }
}
