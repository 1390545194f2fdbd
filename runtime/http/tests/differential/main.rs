//! Whatever we accept, seven other servers must read as we do when they are sent what we would forward.
//!
//! Needs nginx and HAProxy (`OUTRIGGER_TEST_NGINX`, `OUTRIGGER_TEST_HAPROXY`, otherwise from the path) and a Python with
//! gunicorn, waitress, aiohttp and uvicorn with both of its parsers, h11 and httptools (`OUTRIGGER_TEST_PYTHON`). A server
//! that is missing is skipped and said to be, unless `OUTRIGGER_TEST_REQUIRE=all`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod servers;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use outrigger_http::h1::probe::corpus::messages;
use outrigger_http::h1::probe::{Read, read_all};
use servers::Servers;

const TABLE: &str = include_str!("../corpus/messages.tsv");
/// Closes the connection, and shows that everything before it was read to its end and no further.
const SENTINEL: &str = "GET /sentinel HTTP/1.1\r\nHost: sentinel\r\nConnection: close\r\n\r\n";

/// One request as somebody read it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    body: String,
}

#[test]
fn every_server_reads_what_we_read() {
    let servers = Servers::start();
    let disagreements: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> =
            servers.all().map(|(name, address)| scope.spawn(move || against(name, address))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(disagreements.is_empty(), "{} disagreements:\n{}", disagreements.len(), disagreements.join("\n"));
    if servers.all().next().is_some() {
        assert!(plant(&servers) > 0, "a proxy that passes on what it should refuse went unnoticed");
    }
}

/// Sends what we would forward for each message of the corpus.
fn against(name: &str, address: SocketAddr) -> Vec<String> {
    let (mut compared, mut refused, mut wrong) = (0, 0, Vec::new());
    for message in messages(TABLE).unwrap() {
        let read: Vec<Read> = read_all(&message.bytes, usize::MAX)
            .0
            .into_iter()
            .filter(|read| read.method != "CONNECT")
            .collect();
        if read.is_empty() {
            continue;
        }
        let stream: Vec<u8> = read.iter().flat_map(|read| read.forwarded.clone()).collect();
        let expected: Vec<Seen> = read.iter().map(|read| as_told(name, ours(read))).collect();
        match compare(address, &stream, &expected) {
            Verdict::Same => compared += 1,
            Verdict::Refused => refused += 1,
            Verdict::Differs(seen) => {
                wrong.push(format!("{name}, {}: we read {expected:?}, it read {seen:?}", message.name))
            }
        }
    }
    println!(
        "{name}: {compared} messages read alike, {refused} refused at least in part, {} read differently",
        wrong.len()
    );
    // A recorder that answers nothing would agree with everything.
    assert!(compared > 100, "{name} took only {compared} messages");
    wrong
}

/// A proxy that believes `Content-Length` beside `Transfer-Encoding`, and forwards both as they came.
fn plant(servers: &Servers) -> usize {
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut caught = 0;
    for (encoding, body) in [("chunked", smuggled), ("identity", smuggled), ("xchunked", smuggled)] {
        let stream = format!(
            "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nTransfer-Encoding: {encoding}\r\n\r\n{body}",
            body.len()
        );
        let lenient = [Seen { method: "POST".into(), target: "/p".into(), body: hex(body.as_bytes()) }];
        for (name, address) in servers.all() {
            if let Verdict::Differs(seen) = compare(address, stream.as_bytes(), &lenient) {
                println!("planted violation ({encoding}) caught by {name}: {seen:?}");
                caught += 1;
            }
        }
    }
    caught
}

enum Verdict {
    Same,
    /// It refused some of it, and read the rest as we do.
    Refused,
    Differs(Vec<Option<Seen>>),
}

fn compare(address: SocketAddr, stream: &[u8], expected: &[Seen]) -> Verdict {
    let mut answers = ask(address, stream);
    let ended =
        answers.last().is_some_and(|last| last.as_ref().is_some_and(|seen| seen.target == "/sentinel"));
    if ended {
        answers.pop();
    }
    // A request may be refused (a method it does not know), as long as it is one request to both of us.
    let alike = answers.len() <= expected.len()
        && answers.iter().zip(expected).all(|(seen, ours)| seen.as_ref().is_none_or(|seen| seen == ours));
    let refused = answers.iter().any(Option::is_none);
    match (alike, ended) {
        (true, true) if answers.len() == expected.len() => {
            if refused {
                Verdict::Refused
            } else {
                Verdict::Same
            }
        }
        // Closed after a refusal, or without a word.
        (true, false) if refused || answers.len() < expected.len() => Verdict::Refused,
        _ => Verdict::Differs(answers),
    }
}

/// Sends the stream and the sentinel, and collects what each response says was read; `None` is a refusal.
fn ask(address: SocketAddr, stream: &[u8]) -> Vec<Option<Seen>> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    // A server that has refused the beginning need not take the rest.
    let _ = socket.write_all(&[stream, SENTINEL.as_bytes()].concat());
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    // The body of a refusal may quote the request's `HTTP/1.1`, but no status line.
    let is_final = |rest: &&str| {
        rest.as_bytes().get(2..5).is_some_and(|code| code[0] != b'1' && code.iter().all(u8::is_ascii_digit))
    };
    let responses = answer.split("HTTP/1.").skip(1).filter(is_final);
    responses.map(|response| response.lines().find_map(record)).collect()
}

fn record(line: &str) -> Option<Seen> {
    let (_, record) = line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("x-record"))?;
    let mut parts = record.trim_end().splitn(3, ' ');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    Some(Seen { method: next(), target: next(), body: next() })
}

fn ours(read: &Read) -> Seen {
    Seen { method: read.method.to_string(), target: read.path_and_query.clone(), body: hex(&read.body) }
}

/// An ASGI application is told path and query apart, and not whether an empty query was there.
fn as_told(server: &str, mut seen: Seen) -> Seen {
    if ["h11", "httptools"].contains(&server) && seen.target.ends_with('?') {
        seen.target.pop();
    }
    seen
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
