//! A client that misbehaves: raw HTTP/2 frames (and a little HTTP/1) over TCP, one function for each known flood.
//!
//! Used by the tests of this crate and, through `#[path]`, by those of the crates above. Every attack goes on until the
//! server cuts it or its [`Effort`] is spent, reads all the while, and says what came of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::timeout;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const ENHANCE_YOUR_CALM: u32 = 0xb;
const NO_ERROR_SEEN: u32 = u32::MAX;

mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// How far an attack goes when nothing stops it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) frames: u64,
    pub(crate) time: Duration,
}

/// What came of an attack.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Steps taken: frames, or what counts as one for the attack.
    pub(crate) sent: u64,
    /// When the server ended the connection.
    pub(crate) cut: Option<Duration>,
    /// The error code of its GOAWAY.
    pub(crate) goaway: Option<u32>,
    /// RST_STREAM frames it sent.
    pub(crate) resets: u64,
    /// Answers it sent, and those with status 200.
    pub(crate) answers: u64,
    pub(crate) ok: u64,
}

#[derive(Debug)]
struct Seen {
    goaway: AtomicU32,
    closed: AtomicBool,
    resets: AtomicU64,
    answers: AtomicU64,
    ok: AtomicU64,
    /// Streams the server has finished.
    ended: AtomicU64,
    /// Bytes of DATA, and those of them not returned to the connection's window.
    data: AtomicU64,
    unreturned: AtomicU32,
    changed: Notify,
}

/// One raw connection.
pub(crate) struct Client {
    out: OwnedWriteHalf,
    seen: Arc<Seen>,
    next: u32,
    started: Instant,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal field that is not indexed, RFC 7541 section 6.2.2, without Huffman coding.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0], string(name).as_slice(), &string(value)].concat()
}

fn string(text: &str) -> Vec<u8> {
    let mut out = integer(0, 7, text.len());
    out.extend(text.as_bytes());
    out
}

/// RFC 7541 section 5.1.
fn integer(first: u8, bits: u8, mut value: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![first | value as u8];
    }
    let mut out = vec![first | most as u8];
    value -= most;
    while value >= 128 {
        out.push((value % 128) as u8 | 128);
        value /= 128;
    }
    out.push(value as u8);
    out
}

/// `GET /`, or `POST /` for a request with a body, to `localhost`.
pub(crate) fn request_block(post: bool) -> Vec<u8> {
    let mut block = vec![if post { 0x83 } else { 0x82 }, 0x86, 0x84, 0x01];
    block.extend(string("localhost"));
    block
}

impl Client {
    /// Connects and says hello; `settings` are sent with it.
    pub(crate) async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (input, mut out) = stream.into_split();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        out.write_all(&[PREFACE, &frame(kind::SETTINGS, 0, 0, &payload)].concat()).await?;
        let seen = Arc::new(Seen {
            goaway: AtomicU32::new(NO_ERROR_SEEN),
            closed: AtomicBool::new(false),
            resets: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            ok: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            data: AtomicU64::new(0),
            unreturned: AtomicU32::new(0),
            changed: Notify::new(),
        });
        let reader = tokio::spawn(read(input, Arc::clone(&seen)));
        Ok(Self { out, seen, next: 1, started: Instant::now(), reader })
    }

    pub(crate) fn next_stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes).await
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.seen.closed.load(SeqCst)
    }

    pub(crate) fn received_data(&self) -> u64 {
        self.seen.data.load(SeqCst)
    }

    /// Waits until the server ends the connection.
    pub(crate) async fn wait_cut(&self, at_most: Duration) -> bool {
        self.wait(at_most, |seen| seen.closed.load(SeqCst)).await
    }

    async fn wait(&self, at_most: Duration, done: impl Fn(&Seen) -> bool) -> bool {
        let waiting = async {
            loop {
                let changed = self.seen.changed.notified();
                if done(&self.seen) {
                    return;
                }
                changed.await;
            }
        };
        timeout(at_most, waiting).await.is_ok()
    }

    /// `GET /`, waiting for the end of the answer; whether it came.
    pub(crate) async fn get(&mut self, at_most: Duration) -> bool {
        let (before, ok) = (self.seen.ended.load(SeqCst), self.seen.ok.load(SeqCst));
        let stream = self.next_stream();
        let mut request = frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &request_block(false));
        // Opens the connection's window by what the last answers took.
        if let increment @ 1.. = self.seen.unreturned.swap(0, SeqCst) {
            request.extend(frame(kind::WINDOW_UPDATE, 0, 0, &increment.to_be_bytes()));
        }
        self.send(&request).await.is_ok()
            && self.wait(at_most, |seen| seen.closed.load(SeqCst) || seen.ended.load(SeqCst) > before).await
            && self.seen.ok.load(SeqCst) > ok
    }

    /// Takes steps until the server has cut the connection or the effort is spent.
    async fn attack(mut self, effort: Effort, mut step: impl FnMut(&mut Self, u64) -> Vec<u8>) -> Outcome {
        let mut sent = 0;
        while sent < effort.frames && self.started.elapsed() < effort.time && !self.is_cut() {
            let bytes = step(&mut self, sent);
            let left = effort.time.saturating_sub(self.started.elapsed());
            match timeout(left, self.send(&bytes)).await {
                Ok(Ok(())) => sent += 1,
                Ok(Err(_)) | Err(_) => break,
            }
            if sent % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
        // What is on the way is still the server's to judge.
        let grace = effort.time.saturating_sub(self.started.elapsed()).min(Duration::from_secs(2));
        self.wait_cut(grace).await;
        self.outcome(sent)
    }

    fn outcome(&self, sent: u64) -> Outcome {
        let goaway = self.seen.goaway.load(SeqCst);
        Outcome {
            sent,
            cut: self.is_cut().then(|| self.started.elapsed()),
            goaway: (goaway != NO_ERROR_SEEN).then_some(goaway),
            resets: self.seen.resets.load(SeqCst),
            answers: self.seen.answers.load(SeqCst),
            ok: self.seen.ok.load(SeqCst),
        }
    }
}

async fn read(mut input: OwnedReadHalf, seen: Arc<Seen>) {
    let mut payload = Vec::new();
    loop {
        let mut head = [0; 9];
        if input.read_exact(&mut head).await.is_err() {
            break;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        payload.resize(length, 0);
        if input.read_exact(&mut payload).await.is_err() {
            break;
        }
        match (head[3], payload.as_slice()) {
            (kind::GOAWAY, [_, _, _, _, c0, c1, c2, c3, ..]) => {
                seen.goaway.store(u32::from_be_bytes([*c0, *c1, *c2, *c3]), SeqCst);
            }
            (kind::RST_STREAM, _) => {
                seen.resets.fetch_add(1, SeqCst);
                seen.ended.fetch_add(1, SeqCst);
            }
            (kind::HEADERS, [first, ..]) => {
                seen.answers.fetch_add(1, SeqCst);
                // `:status: 200` of the static table; a table size update (001xxxxx) may come first.
                let status = if first >> 5 == 1 { payload.get(1) } else { Some(first) };
                seen.ok.fetch_add(u64::from(status == Some(&0x88)), SeqCst);
            }
            (kind::DATA, data) => {
                seen.data.fetch_add(data.len() as u64, SeqCst);
                seen.unreturned.fetch_add(data.len() as u32, SeqCst);
            }
            _ => {}
        }
        if matches!(head[3], kind::DATA | kind::HEADERS) && head[4] & END_STREAM != 0 {
            seen.ended.fetch_add(1, SeqCst);
        }
        seen.changed.notify_waiters();
    }
    seen.closed.store(true, SeqCst);
    seen.changed.notify_waiters();
}

/// CVE-2023-44487: requests, each cancelled at once.
pub(crate) async fn rapid_reset(address: SocketAddr, effort: Effort) -> io::Result<Outcome> {
    let client = Client::connect(address, &[]).await?;
    Ok(client
        .attack(effort, |client, _| {
            let stream = client.next_stream();
            let mut bytes = frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &request_block(false));
            bytes.extend(frame(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes()));
            bytes
        })
        .await)
}

/// What makes a server reset a stream it has begun to work on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trick {
    /// A body that is not what `content-length` says, RFC 9113 section 8.1.1.
    Length,
    /// DATA after the end of the request, RFC 9113 section 5.1.
    HalfClosed,
    /// A window above 2^31-1, section 6.9.1.
    Overflow,
    /// A WINDOW_UPDATE of nothing, section 6.9. Some servers end the connection at the first.
    ZeroIncrement,
}

/// CVE-2025-8671: requests, each followed by a frame the server has to answer with a reset.
pub(crate) async fn made_you_reset(address: SocketAddr, effort: Effort, trick: Trick) -> io::Result<Outcome> {
    let client = Client::connect(address, &[]).await?;
    let increment = |stream, by: u32| frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    Ok(client
        .attack(effort, |client, _| {
            let stream = client.next_stream();
            let request = frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &request_block(false));
            match trick {
                Trick::Length => {
                    let block = [request_block(true), field("content-length", "10")].concat();
                    let head = frame(kind::HEADERS, END_HEADERS, stream, &block);
                    [head, frame(kind::DATA, END_STREAM, stream, b"x")].concat()
                }
                Trick::HalfClosed => [request, frame(kind::DATA, 0, stream, b"x")].concat(),
                Trick::Overflow => [request, increment(stream, 0x7fff_ffff)].concat(),
                Trick::ZeroIncrement => [request, increment(stream, 0)].concat(),
            }
        })
        .await)
}

/// CVE-2024-27316: a header block that does not end.
pub(crate) async fn continuation(address: SocketAddr, effort: Effort) -> io::Result<Outcome> {
    let client = Client::connect(address, &[]).await?;
    Ok(client
        .attack(effort, |_, i| match i {
            0 => frame(kind::HEADERS, 0, 1, &request_block(false)),
            _ => frame(kind::CONTINUATION, 0, 1, &field("x-more", "0123456789")),
        })
        .await)
}

async fn control(address: SocketAddr, effort: Effort, frames: Vec<u8>) -> io::Result<Outcome> {
    let client = Client::connect(address, &[]).await?;
    Ok(client.attack(effort, |_, _| frames.clone()).await)
}

pub(crate) async fn ping(address: SocketAddr, effort: Effort) -> io::Result<Outcome> {
    control(address, effort, frame(kind::PING, 0, 0, &[7; 8])).await
}

pub(crate) async fn settings(address: SocketAddr, effort: Effort) -> io::Result<Outcome> {
    control(address, effort, frame(kind::SETTINGS, 0, 0, &[])).await
}

pub(crate) async fn priority(address: SocketAddr, effort: Effort) -> io::Result<Outcome> {
    control(address, effort, frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 16])).await
}

pub(crate) async fn window_update(address: SocketAddr, effort: Effort) -> io::Result<Outcome> {
    control(address, effort, frame(kind::WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())).await
}

/// CVE-2019-9518: a body of frames with nothing in them.
pub(crate) async fn empty_data(address: SocketAddr, effort: Effort) -> io::Result<Outcome> {
    let client = Client::connect(address, &[]).await?;
    Ok(client
        .attack(effort, |_, i| match i {
            0 => frame(kind::HEADERS, END_HEADERS, 1, &request_block(true)),
            _ => frame(kind::DATA, 0, 1, &[]),
        })
        .await)
}

/// Requests as many as `effort.frames`, takes none of the answers' bodies, and holds the connection.
pub(crate) async fn zero_window(address: SocketAddr, effort: Effort) -> io::Result<Outcome> {
    // SETTINGS_INITIAL_WINDOW_SIZE.
    let mut client = Client::connect(address, &[(4, 0)]).await?;
    client.send(&frame(kind::SETTINGS, ACK, 0, &[])).await?;
    for _ in 0..effort.frames {
        let stream = client.next_stream();
        let request = frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &request_block(false));
        if client.send(&request).await.is_err() {
            break;
        }
    }
    let streams = effort.frames;
    client.wait(effort.time, |seen| seen.closed.load(SeqCst) || seen.resets.load(SeqCst) >= streams).await;
    Ok(client.outcome(streams))
}

/// CVE-2026-47774: a cookie in thousands of crumbs, small on the wire and large once joined.
pub(crate) async fn cookie_crumbs(address: SocketAddr, effort: Effort) -> io::Result<Outcome> {
    let client = Client::connect(address, &[]).await?;
    let mut block = request_block(false);
    // Put into the dynamic table once, then named with one byte each.
    block.extend([&[0x40], string("cookie").as_slice(), &string("a=b")].concat());
    block.extend(std::iter::repeat_n(0xbe, 15_000));
    Ok(send_blocks(client, effort, &block).await)
}

/// A field of 3,900 bytes put into the dynamic table once and named thousands of times: 16 KiB become 60 MB.
pub(crate) async fn hpack_bomb(address: SocketAddr, effort: Effort) -> io::Result<Outcome> {
    let client = Client::connect(address, &[]).await?;
    let mut block = request_block(false);
    block.extend([&[0x40], string("x-bomb").as_slice(), &string(&"b".repeat(3_900))].concat());
    block.extend(std::iter::repeat_n(0xbe, 12_000));
    Ok(send_blocks(client, effort, &block).await)
}

async fn send_blocks(client: Client, effort: Effort, block: &[u8]) -> Outcome {
    client
        .attack(effort, |client, _| {
            let stream = client.next_stream();
            frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, block)
        })
        .await
}

/// An HTTP/1.1 head of which a byte comes each `pause`, never ending.
pub(crate) async fn slow_headers(
    address: SocketAddr,
    effort: Effort,
    pause: Duration,
) -> io::Result<Outcome> {
    slow_h1(address, effort, pause, b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await
}

/// An HTTP/1.1 body of which a byte comes each `pause`.
pub(crate) async fn slow_body(address: SocketAddr, effort: Effort, pause: Duration) -> io::Result<Outcome> {
    let head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n";
    slow_h1(address, effort, pause, head).await
}

async fn slow_h1(address: SocketAddr, effort: Effort, pause: Duration, head: &[u8]) -> io::Result<Outcome> {
    let started = Instant::now();
    let (mut input, mut out) = TcpStream::connect(address).await?.into_split();
    out.write_all(head).await?;
    let reading = tokio::spawn(async move {
        let mut answer = Vec::new();
        // A reset ends it as well.
        let _ = input.read_to_end(&mut answer).await;
        answer
    });
    let mut sent = 0;
    while sent < effort.frames && started.elapsed() < effort.time && !reading.is_finished() {
        if out.write_all(b"a").await.is_err() {
            break;
        }
        sent += 1;
        let until = (started + effort.time).min(Instant::now() + pause);
        while Instant::now() < until && !reading.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let cut = reading.is_finished().then(|| started.elapsed());
    let answer = if cut.is_some() { reading.await.unwrap_or_default() } else { Vec::new() };
    Ok(Outcome {
        sent,
        cut,
        goaway: None,
        resets: 0,
        answers: u64::from(answer.starts_with(b"HTTP/1.1 ")),
        ok: u64::from(answer.starts_with(b"HTTP/1.1 200")),
    })
}
