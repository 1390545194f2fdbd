//! Large bodies and slow readers: the proxy holds next to nothing of what passes through it.
//!
//! A binary of its own with one test, so that the memory measured is not that of other tests.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "it/backend.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod backend;
#[path = "it/client.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod client;
#[path = "it/harness.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod harness;

use std::io::{Read, Write};
use std::time::Duration;

use backend::Backend;
use client::Client;
use harness::Proxy;

const GIB: u64 = 1 << 30;
const MIB: usize = 1 << 20;

/// Memory of this process in use now, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap() * 4096
}

/// Reads all of `source`, slowly at first; says how much there was and by how much memory grew meanwhile.
fn read_slowly(mut source: impl Read) -> (u64, usize) {
    let mut buffer = vec![1; 64 * 1024];
    let (mut total, mut reads, mut growth) = (0, 0, 0);
    let before = resident();
    loop {
        let count = source.read(&mut buffer).unwrap();
        if count == 0 {
            return (total, growth);
        }
        total += count as u64;
        reads += 1;
        // A fast writer has all the time it needs to fill whatever there is to fill.
        if reads < 200 {
            std::thread::sleep(Duration::from_millis(2));
            growth = growth.max(resident().saturating_sub(before));
        }
    }
}

fn write_all(mut sink: impl Write, total: u64) {
    let chunk = vec![7; 64 * 1024];
    for _ in 0..total / chunk.len() as u64 {
        sink.write_all(&chunk).unwrap();
    }
}

/// `/down/N` sends N bytes; anything else swallows the body slowly and says how long it was and how memory grew.
fn big_backend() -> Backend {
    Backend::start(|peer| {
        while let Some(head) = peer.head() {
            let path = head.line.split(' ').nth(1).unwrap();
            if let Some(total) = path.strip_prefix("/down/") {
                let total: u64 = total.parse().unwrap();
                peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n").as_bytes()).unwrap();
                write_all(peer.stream.get_ref(), total);
            } else {
                let length: u64 = head.get("content-length").unwrap().parse().unwrap();
                let (read, growth) = read_slowly((&mut peer.stream).take(length));
                peer.write(&backend::ok(&format!("{read} {growth}"))).unwrap();
            }
        }
    })
}

fn down(client: &mut Client, total: u64) -> usize {
    client.write(format!("GET /down/{total} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.reply_head().status, 200);
    let (read, growth) = read_slowly((&mut client.stream).take(total));
    assert_eq!(read, total);
    growth
}

fn up(client: &mut Client, total: u64) -> usize {
    client.write(format!("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {total}\r\n\r\n"));
    write_all(client.stream.get_ref(), total);
    let reply = client.reply();
    let (read, growth) = reply.text().split_once(' ').unwrap();
    assert_eq!(read, total.to_string());
    growth.parse().unwrap()
}

#[test]
fn little_of_what_passes_is_held() {
    the_measure_sees_a_buffer();
    a_gibibyte_passes_and_little_of_it_is_held();
}

fn a_gibibyte_passes_and_little_of_it_is_held() {
    let backend = big_backend();
    let proxy = Proxy::to(backend.address);
    let mut client = Client::connect(proxy.web());
    // Once before, so that buffers kept for reuse are not taken for growth.
    down(&mut client, 64 << 20);
    up(&mut client, 64 << 20);
    let grown = down(&mut client, GIB);
    assert!(grown < MIB, "downloading holds {grown} bytes");
    let grown = up(&mut client, GIB);
    assert!(grown < MIB, "uploading holds {grown} bytes");
}

/// The planted violation: something that does hold what a slow reader leaves is seen.
fn the_measure_sees_a_buffer() {
    let (mut reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
    let hoard = std::thread::spawn(move || {
        let hoard = vec![7_u8; 32 << 20];
        writer.write_all(&hoard).unwrap();
    });
    let (read, growth) = read_slowly(&mut reader);
    hoard.join().unwrap();
    assert_eq!(read, 32 << 20);
    assert!(growth > 16 * MIB, "{growth}");
}
