//! Every message of the corpus is read as the table says, however it arrives, and what we forward reads the same.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fmt::Write;
use std::sync::LazyLock;

use outrigger_http::fuzz_h1;
use outrigger_http::h1::probe::corpus::{Message, messages, verdict};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/messages.tsv");
const TABLE: &str = include_str!("corpus/messages.tsv");

#[test]
fn verdicts_are_as_written() {
    let messages = messages(TABLE).unwrap();
    assert!(messages.len() >= 300, "{}", messages.len());
    let wrong: Vec<_> = messages
        .iter()
        .filter(|m| verdict(&m.bytes) != m.verdict)
        .map(|m| format!("{}: {}", m.name, verdict(&m.bytes)))
        .collect();
    if std::env::var_os("OUTRIGGER_CORPUS_WRITE").is_some() {
        let comments = TABLE.lines().filter(|line| line.starts_with('#'));
        let mut table: String = comments.map(|line| format!("{line}\n")).collect();
        for message in &messages {
            writeln!(table, "{}\t{}\t{}", message.name, verdict(&message.bytes), message.escaped).unwrap();
        }
        std::fs::write(PATH, table).unwrap();
    } else {
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn every_message_passes_the_fuzz_check() {
    for message in messages(TABLE).unwrap() {
        fuzz_h1(&message.bytes);
    }
}

proptest! {
    // Repeatable: exploring is what `cargo xtask fuzz http1` is for.
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..512)) {
        fuzz_h1(&data);
    }

    /// Splices of messages reach further than random bytes.
    #[test]
    fn spliced_messages(a in 0usize..500, b in 0usize..500, cut in 0usize..200, insert in proptest::collection::vec(any::<u8>(), 0..4)) {
        static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| messages(TABLE).unwrap());
        let messages = &*MESSAGES;
        let (a, b) = (&messages[a % messages.len()].bytes, &messages[b % messages.len()].bytes);
        let mut data = a[..cut.min(a.len())].to_vec();
        data.extend(insert);
        data.extend(&b[cut.min(b.len())..]);
        fuzz_h1(&data);
    }

    #[test]
    fn well_formed_requests_survive_forwarding(
        method in "[A-Z]{1,8}",
        path in "/[a-zA-Z0-9/._~!$&'()*+,;=:@-]{0,40}",
        fields in proptest::collection::vec(("x-[a-z0-9-]{1,12}", "[!-~]([ -~]{0,20}[!-~])?"), 0..20),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        chunked in any::<bool>(),
    ) {
        prop_assume!(method != "CONNECT");
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n");
        for (name, value) in &fields {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        let mut data = text.into_bytes();
        if chunked {
            data.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in body.chunks(7) {
                data.extend(format!("{:x}\r\n", piece.len()).bytes());
                data.extend(piece);
                data.extend(b"\r\n");
            }
            data.extend(b"0\r\n\r\n");
        } else {
            data.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            data.extend(&body);
        }
        let (read, end) = outrigger_http::h1::probe::read_all(&data, 3);
        prop_assert_eq!(end, outrigger_http::h1::probe::End::Clean);
        prop_assert_eq!(read.len(), 1);
        prop_assert_eq!(&read[0].body, &body);
        prop_assert_eq!(&read[0].path_and_query, &path);
        fuzz_h1(&data);
    }
}

#[test]
fn of_two_faults_either_may_be_named() {
    let mut message = b"GET /".to_vec();
    message.extend(vec![b'a'; 20 * 1024]);
    message.push(b'\n');
    message.extend(b" HTTP/1.1\nHost: a\r\n\r\n");
    fuzz_h1(&message);
}
