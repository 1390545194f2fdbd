//! Each flood with made-up frames, and clients that do nothing wrong with the real library.

use bytes::Bytes;
use outrigger_telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::scan::kind;
use super::*;

const STALL: Duration = Duration::from_secs(30);
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn request(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, b"headers")
}

fn rst(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// A server connection, the client's end of it, and the metrics.
struct Setup {
    server: Accountant<DuplexStream>,
    client: DuplexStream,
    metrics: Metrics,
}

impl Setup {
    async fn new(limits: FloodLimits) -> Self {
        let metrics = Metrics::new();
        let (near, mut client) = duplex(64 * 1024);
        let mut server = Accountant::new(near, limits, STALL, Arc::new(FloodCounters::new(&metrics)));
        client.write_all(HTTP2_PREFACE).await.unwrap();
        server.read_exact(&mut [0; HTTP2_PREFACE.len()]).await.unwrap();
        Self { server, client, metrics }
    }

    /// The client sends this and the library reads it.
    async fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(1000) {
            self.client.write_all(part).await.unwrap();
            self.server.read_exact(&mut vec![0; part.len()]).await?;
        }
        Ok(())
    }

    /// The library sends this and the client reads it.
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.server.write_all(bytes).await?;
        self.client.read_exact(&mut vec![0; bytes.len()]).await.unwrap();
        Ok(())
    }

    fn count(&self, flood: Flood) -> bool {
        self.metrics
            .render()
            .contains(&format!("outrigger_http2_floods_total{{kind=\"{}\"}} 1\n", flood.as_str()))
    }

    /// The last outcome was the end of the connection for `flood`, and the client was told.
    #[track_caller]
    fn check_ended(&self, outcome: &io::Result<()>, flood: Flood) {
        let error = outcome.as_ref().unwrap_err();
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&flood), "{error}");
        assert_eq!(self.server.flood(), Some(flood));
        assert!(self.count(flood), "{}", self.metrics.render());
    }

    async fn check_goaway(&mut self, flood: Flood, last_stream: u32) {
        let expected = goaway(last_stream, flood);
        let mut got = vec![0; expected.len()];
        self.client.read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected);
        assert!(self.server.write_all(b"more").await.is_err());
        assert!(self.server.read(&mut [0]).await.is_err());
    }
}

/// As many of `frames` as are taken before the end, at most `most`.
async fn flood(setup: &mut Setup, most: u32, frames: impl Fn(u32) -> Vec<u8>) -> (u32, io::Result<()>) {
    for i in 0..most {
        if let Err(error) = setup.receive(&frames(i)).await {
            return (i, Err(error));
        }
    }
    (most, Ok(()))
}

/// A flood of control frames ends after the burst of 100 and not before.
async fn check_control(kind: Flood, frames: impl Fn(u32) -> Vec<u8>) {
    let mut setup = Setup::new(FloodLimits::default()).await;
    let (taken, outcome) = flood(&mut setup, 1000, &frames).await;
    setup.check_ended(&outcome, kind);
    assert!((100..=120).contains(&taken), "{kind:?}: {taken}");
    let last = setup.server.ledger.last_stream();
    setup.check_goaway(kind, last).await;

    // The same at the allowed rate is fine.
    let mut setup = Setup::new(FloodLimits::default()).await;
    for second in 0..5 {
        let (_, outcome) = flood(&mut setup, 90, |i| frames(second * 90 + i)).await;
        outcome.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn control_frames_have_a_budget_each() {
    check_control(Flood::Ping, |_| frame(kind::PING, 0, 0, &[0; 8])).await;
    check_control(Flood::Ping, |_| frame(kind::PING, 1, 0, &[0; 8])).await;
    check_control(Flood::Settings, |_| frame(kind::SETTINGS, 0, 0, &[])).await;
    check_control(Flood::Settings, |_| frame(kind::SETTINGS, 1, 0, &[])).await;
    check_control(Flood::Priority, |_| frame(kind::PRIORITY, 0, 3, &[0; 5])).await;
    check_control(Flood::Priority, |_| frame(kind::PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
    check_control(Flood::WindowUpdate, |_| frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
    check_control(Flood::UnknownFrame, |_| frame(0xee, 0, 0, b"grease")).await;
    check_control(Flood::LateReset, |_| rst(1, CANCEL)).await;
}

#[tokio::test(start_paused = true)]
async fn empty_data_counts_also_when_padded() {
    for empty in [frame(kind::DATA, 0, 1, &[]), frame(kind::DATA, 8, 1, &[3, 0, 0, 0])] {
        check_control(Flood::EmptyData, |i| {
            let open = frame(kind::HEADERS, END_HEADERS, 1, b"headers");
            if i == 0 { [open, empty.clone()].concat() } else { empty.clone() }
        })
        .await;
    }
    let mut setup = Setup::new(FloodLimits::default()).await;
    setup.receive(&frame(kind::HEADERS, END_HEADERS, 1, b"headers")).await.unwrap();
    let one_byte = frame(kind::DATA, 0, 1, b"x");
    flood(&mut setup, 5000, |_| one_byte.clone()).await.1.unwrap();
}

#[tokio::test(start_paused = true)]
async fn ending_many_requests_with_empty_data_is_no_flood() {
    let mut setup = Setup::new(FloodLimits::default()).await;
    let call = |i: u32| {
        let open = frame(kind::HEADERS, END_HEADERS, 2 * i + 1, b"headers");
        [open, frame(kind::DATA, END_STREAM, 2 * i + 1, &[])].concat()
    };
    for i in 0..3000 {
        setup.receive(&call(i)).await.unwrap();
        let answer = frame(kind::HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, b"headers");
        setup.send(&answer).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn budgets_grow_with_open_streams() {
    let mut setup = Setup::new(FloodLimits::default()).await;
    for i in 0..100 {
        setup.receive(&request(2 * i + 1)).await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    let (taken, outcome) = flood(&mut setup, 5000, |_| frame(kind::PRIORITY, 0, 3, &[0; 5])).await;
    setup.check_ended(&outcome, Flood::Priority);
    assert_eq!(taken, 100 + 100 * 10);
}

#[tokio::test(start_paused = true)]
async fn rapid_reset_ends_the_connection() {
    let mut setup = Setup::new(FloodLimits::default()).await;
    let attack = |i: u32| [request(2 * i + 1), rst(2 * i + 1, CANCEL)].concat();
    let (taken, outcome) = flood(&mut setup, 10_000, attack).await;
    setup.check_ended(&outcome, Flood::RapidReset);
    assert_eq!(taken, 199, "the 200th");
    setup.check_goaway(Flood::RapidReset, 399).await;
}

#[tokio::test(start_paused = true)]
async fn a_good_past_is_no_licence_for_rapid_reset() {
    let mut setup = Setup::new(FloodLimits::default()).await;
    for i in 0..5000 {
        setup.receive(&request(2 * i + 1)).await.unwrap();
        setup.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, b"ok")).await.unwrap();
    }
    let attack = |i: u32| [request(2 * (5000 + i) + 1), rst(2 * (5000 + i) + 1, CANCEL)].concat();
    let (taken, outcome) = flood(&mut setup, 10_000, attack).await;
    setup.check_ended(&outcome, Flood::RapidReset);
    assert!(taken < 500, "{taken}");
}

#[tokio::test(start_paused = true)]
async fn resets_that_are_not_rapid_are_fine() {
    // Every request is cancelled, but only after a part of its answer (a client that takes the first of many).
    let mut setup = Setup::new(FloodLimits::default()).await;
    for i in 0..1000 {
        let id = 2 * i + 1;
        setup.receive(&request(id)).await.unwrap();
        setup.send(&frame(kind::HEADERS, END_HEADERS, id, b"ok")).await.unwrap();
        setup.send(&frame(kind::DATA, 0, id, b"first")).await.unwrap();
        setup.receive(&rst(id, CANCEL)).await.unwrap();
    }
    // Every request times out at its client after two seconds.
    let mut setup = Setup::new(FloodLimits::default()).await;
    for i in 0..1000 {
        setup.receive(&request(2 * i + 1)).await.unwrap();
        if i % 50 == 49 {
            tokio::time::advance(Duration::from_secs(2)).await;
            for j in i - 49..=i {
                setup.receive(&rst(2 * j + 1, CANCEL)).await.unwrap();
            }
        }
    }
    // A third of the requests is cancelled at once.
    let mut setup = Setup::new(FloodLimits::default()).await;
    for i in 0..1000 {
        let id = 2 * i + 1;
        setup.receive(&request(id)).await.unwrap();
        if i % 3 == 0 {
            setup.receive(&rst(id, CANCEL)).await.unwrap();
        } else {
            setup.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, id, b"ok")).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_resets_ends_it_whatever_their_share() {
    let limits = FloodLimits { rapid_reset_percent: 100, ..FloodLimits::default() };
    let mut setup = Setup::new(limits).await;
    let attack = |i: u32| [request(2 * i + 1), rst(2 * i + 1, CANCEL)].concat();
    let (taken, outcome) = flood(&mut setup, 10_000, attack).await;
    setup.check_ended(&outcome, Flood::RapidReset);
    assert_eq!(taken, 500);
}

#[tokio::test(start_paused = true)]
async fn made_you_reset_ends_the_connection() {
    let mut setup = Setup::new(FloodLimits::default()).await;
    let mut sent = 0;
    let outcome = loop {
        let id = 2 * sent + 1;
        setup.receive(&request(id)).await.unwrap();
        if let Err(error) = setup.server.write_all(&rst(id, 1)).await {
            break Err(error);
        }
        setup.client.read_exact(&mut [0; 13]).await.unwrap();
        sent += 1;
        assert!(sent < 1000);
    };
    assert_eq!(sent, 200);
    setup.check_ended(&outcome, Flood::MadeYouReset);
    setup.client.read_exact(&mut [0; 13]).await.unwrap();
    setup.check_goaway(Flood::MadeYouReset, 401).await;

    // Resets that are our own doing, and client errors at the allowed rate.
    let mut setup = Setup::new(FloodLimits::default()).await;
    for i in 0..1000 {
        setup.receive(&request(2 * i + 1)).await.unwrap();
        setup.send(&rst(2 * i + 1, [0, 2, 7, 8][i as usize % 4])).await.unwrap();
    }
    for i in 1000..2000 {
        setup.receive(&request(2 * i + 1)).await.unwrap();
        setup.send(&rst(2 * i + 1, 1)).await.unwrap();
        tokio::time::advance(Duration::from_millis(34)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_block_has_an_end() {
    let continuation = |flags, size| frame(kind::CONTINUATION, flags, 1, &vec![0; size]);
    let mut setup = Setup::new(FloodLimits::default()).await;
    setup.receive(&frame(kind::HEADERS, 0, 1, b"headers")).await.unwrap();
    let (taken, outcome) = flood(&mut setup, 100, |_| continuation(0, 10)).await;
    setup.check_ended(&outcome, Flood::Continuation);
    assert_eq!(taken, 8);
    setup.check_goaway(Flood::Continuation, 1).await;

    let mut setup = Setup::new(FloodLimits::default()).await;
    setup.receive(&frame(kind::HEADERS, 0, 1, &vec![0; 16_384])).await.unwrap();
    setup.receive(&continuation(0, 16_384)).await.unwrap();
    let outcome = setup.receive(&continuation(END_HEADERS, 1)).await;
    setup.check_ended(&outcome, Flood::Continuation);

    let mut setup = Setup::new(FloodLimits::default()).await;
    for i in 0..100 {
        setup.receive(&frame(kind::HEADERS, 0, 2 * i + 1, &[0; 4000])).await.unwrap();
        for flags in [0, 0, 0, 0, 0, 0, END_HEADERS] {
            setup.receive(&frame(kind::CONTINUATION, flags, 2 * i + 1, &[0; 4000])).await.unwrap();
        }
        setup.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, b"ok")).await.unwrap();
    }
}

/// Every budget that has a test with its default above, at another value.
#[tokio::test(start_paused = true)]
async fn budgets_are_as_configured() {
    let rapid = |i: u32| [request(2 * i + 1), rst(2 * i + 1, CANCEL)].concat();
    let limits = FloodLimits { rapid_reset_after: 20, ..FloodLimits::default() };
    let (taken, outcome) = flood(&mut Setup::new(limits).await, 10_000, rapid).await;
    assert_eq!((taken, outcome.is_err()), (19, true), "the 20th");
    let limits = FloodLimits { rapid_reset_percent: 100, rapid_reset_burst: 30, ..FloodLimits::default() };
    let (taken, outcome) = flood(&mut Setup::new(limits).await, 10_000, rapid).await;
    assert_eq!((taken, outcome.is_err()), (30, true));

    let limits =
        FloodLimits { stream_errors_burst: 10, stream_errors_per_second: 5, ..FloodLimits::default() };
    let mut setup = Setup::new(limits).await;
    let mut sent = 0;
    for allowed in [10, 5, 0] {
        for _ in 0..allowed {
            setup.receive(&request(2 * sent + 1)).await.unwrap();
            setup.send(&rst(2 * sent + 1, 1)).await.unwrap();
            sent += 1;
        }
        if sent == 10 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
    setup.receive(&request(2 * sent + 1)).await.unwrap();
    let outcome = setup.server.write_all(&rst(2 * sent + 1, 1)).await;
    setup.check_ended(&outcome, Flood::MadeYouReset);

    let continuation = |size| move |_| frame(kind::CONTINUATION, 0, 1, &vec![0; size]);
    let limits = FloodLimits { continuation_frames: 3, ..FloodLimits::default() };
    let mut setup = Setup::new(limits).await;
    setup.receive(&frame(kind::HEADERS, 0, 1, b"headers")).await.unwrap();
    let (taken, outcome) = flood(&mut setup, 100, continuation(10)).await;
    assert_eq!((taken, outcome.is_err()), (3, true));
    let limits = FloodLimits { header_block_bytes: 100, ..FloodLimits::default() };
    let mut setup = Setup::new(limits).await;
    setup.receive(&frame(kind::HEADERS, 0, 1, &[0; 10])).await.unwrap();
    let (taken, outcome) = flood(&mut setup, 100, continuation(30)).await;
    assert_eq!((taken, outcome.is_err()), (3, true), "10 and three times 30 bytes fit");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_is_reset_on_both_sides_and_the_others_live() {
    let mut setup = Setup::new(FloodLimits::default()).await;
    let no_window = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 10]);
    setup.receive(&no_window).await.unwrap();
    for id in [1, 3] {
        setup.receive(&request(id)).await.unwrap();
        setup.send(&frame(kind::HEADERS, END_HEADERS, id, b"ok")).await.unwrap();
        setup.send(&frame(kind::DATA, 0, id, &[0; 10])).await.unwrap();
    }
    let started = Instant::now();
    tokio::time::advance(Duration::from_secs(20)).await;
    setup.receive(&frame(kind::WINDOW_UPDATE, 0, 3, &[0, 0, 1, 0])).await.unwrap();
    let mut got = [0; 13];
    setup.server.read_exact(&mut got).await.unwrap();
    assert_eq!((got, started.elapsed().as_secs()), (reset(1), 30));
    setup.server.flush().await.unwrap();
    setup.client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, reset(1));
    assert!(setup.count(Flood::StalledStream));
    setup.send(&frame(kind::DATA, END_STREAM, 3, &[0; 10])).await.unwrap();
    setup.receive(&request(5)).await.unwrap();
    let more = tokio::time::timeout(Duration::from_secs(100), setup.server.read(&mut got)).await;
    assert!(more.is_err(), "nothing more is stuck: stream 5 has no answer that waits");
}

#[tokio::test(start_paused = true)]
async fn a_shut_connection_window_ends_the_connection() {
    let mut setup = Setup::new(FloodLimits::default()).await;
    setup.receive(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).await.unwrap();
    setup.receive(&request(1)).await.unwrap();
    setup.send(&frame(kind::HEADERS, END_HEADERS, 1, b"ok")).await.unwrap();
    for size in [16_384, 16_384, 16_384, 16_383] {
        setup.send(&frame(kind::DATA, 0, 1, &vec![0; size])).await.unwrap();
    }
    let started = Instant::now();
    let outcome = setup.server.read(&mut [0]).await.map(drop);
    setup.check_ended(&outcome, Flood::StalledConnection);
    assert_eq!(started.elapsed().as_secs(), 30);
    setup.check_goaway(Flood::StalledConnection, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_ends_the_connection() {
    let mut setup = Setup::new(FloodLimits::default()).await;
    let started = Instant::now();
    let big = frame(kind::DATA, 0, 1, &vec![0; 128 * 1024]);
    let outcome = setup.server.write_all(&big).await;
    setup.check_ended(&outcome, Flood::StalledConnection);
    assert_eq!(started.elapsed().as_secs(), 30);
    let mut rest = Vec::new();
    drop(setup.server);
    setup.client.read_to_end(&mut rest).await.unwrap();
    assert!(big.starts_with(&rest), "no GOAWAY in the middle of a frame");
}

#[tokio::test(start_paused = true)]
async fn one_turn_takes_a_bounded_number_of_requests() {
    let mut setup = Setup::new(FloodLimits::default()).await;
    let many: Vec<u8> = (0..100).flat_map(|i| request(2 * i + 1)).collect();
    setup.client.write_all(&many).await.unwrap();
    let mut read = turns(&mut setup.server, request(1).len()).await;
    read.dedup();
    assert!(read.len() > 1 && read.iter().all(|n| *n <= STREAMS_PER_TURN), "{read:?}");
}

/// How many requests each turn of a task reads.
async fn turns(server: &mut Accountant<DuplexStream>, size: usize) -> Vec<u32> {
    let mut counts = Vec::new();
    let mut buf = vec![0; size];
    let mut left = 100;
    std::future::poll_fn(|cx| {
        let mut taken = 0;
        loop {
            let mut into = ReadBuf::new(&mut buf);
            if left == 0 || Pin::new(&mut *server).poll_read(cx, &mut into).is_pending() {
                counts.push(taken);
                return if left == 0 { Poll::Ready(()) } else { Poll::Pending };
            }
            (taken, left) = (taken + 1, left - 1);
        }
    })
    .await;
    counts
}

/// A server of the real library behind an accountant: answers each request with `answer` bytes. Gives the client's
/// handle and the error the server ended with.
async fn serve(
    limits: FloodLimits,
    window: u32,
    answer: usize,
) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<Option<String>>) {
    let (near, far) = duplex(64 * 1024);
    let counters = Arc::default();
    let server = tokio::spawn(async move {
        let accountant = Accountant::new(near, limits, STALL, counters);
        let mut connection = h2::server::handshake(accountant).await.unwrap();
        while let Some(accepted) = connection.accept().await {
            let (_, mut respond) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => return Some(error.to_string()),
            };
            tokio::spawn(async move {
                let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                body.send_data(vec![0; answer].into(), true).unwrap();
            });
        }
        None
    });
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder
        .initial_window_size(window)
        .initial_connection_window_size(65_535)
        .handshake(far)
        .await
        .unwrap();
    tokio::spawn(connection);
    (client, server)
}

/// Downloads over `streams` requests at a time, opening the windows with `step` bytes at a time.
async fn download(
    client: h2::client::SendRequest<Bytes>,
    streams: usize,
    step: usize,
) -> Result<usize, h2::Error> {
    let one = |client: h2::client::SendRequest<Bytes>| async move {
        let mut client = client.ready().await?;
        let (answer, _) = client.send_request(http::Request::new(()), true)?;
        let mut body = answer.await?.into_body();
        let mut total = 0;
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            total += chunk.len();
            for part in chunk.chunks(step) {
                body.flow_control().release_capacity(part.len())?;
                tokio::task::yield_now().await;
            }
        }
        Ok::<_, h2::Error>(total)
    };
    let tasks: Vec<_> = (0..streams).map(|_| tokio::spawn(one(client.clone()))).collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap()?;
    }
    Ok(total)
}

#[tokio::test]
async fn downloads_with_many_window_updates_are_never_cut() {
    const ANSWER: usize = 512 * 1024;
    let (client, server) = serve(FloodLimits::default(), 4096, ANSWER).await;
    assert_eq!(download(client.clone(), 4, 512).await.unwrap(), 4 * ANSWER);
    assert_eq!(download(client.clone(), 50, 4096).await.unwrap(), 50 * ANSWER);
    drop(client);
    assert_eq!(server.await.unwrap(), None);
}

#[tokio::test]
async fn the_same_download_is_cut_when_its_window_updates_are_not_allowed() {
    let limits = FloodLimits {
        window_updates_per_data: 0,
        control_frames_per_second: 1,
        control_frames_per_stream: 0,
        ..FloodLimits::default()
    };
    let (client, server) = serve(limits, 4096, 4 * 1024 * 1024).await;
    assert!(download(client, 4, 512).await.is_err());
    assert_eq!(server.await.unwrap(), Some(Flood::WindowUpdate.to_string()));
}

#[tokio::test]
async fn thousands_of_small_requests_are_fine() {
    let (client, server) = serve(FloodLimits::default(), 65_535, 100).await;
    for _ in 0..100 {
        assert_eq!(download(client.clone(), 50, 100).await.unwrap(), 5000);
    }
    drop(client);
    assert_eq!(server.await.unwrap(), None);
}
