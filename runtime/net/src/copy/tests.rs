//! Pairs over real sockets, and over paused time where only time matters.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn start(options: CopyOptions) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<CopyStats>) {
    let (client, a) = duplex(1024);
    let (b, server) = duplex(1024);
    (client, server, tokio::spawn(async move { bidirectional(a, b, &options).await }))
}

#[tokio::test]
async fn half_close_still_gets_the_answer() {
    let (mut client, a) = tcp_pair().await;
    let (b, mut server) = tcp_pair().await;
    let pair = tokio::spawn(async move { bidirectional(a, b, &CopyOptions::default()).await });
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    server.read_to_string(&mut question).await.unwrap();
    server.write_all(b"answer!").await.unwrap();
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!((question.as_str(), answer.as_str()), ("question", "answer!"));
    let stats = pair.await.unwrap();
    assert_eq!((stats.a_to_b, stats.b_to_a), (8, 7));
    assert!(matches!(stats.reason, CopyEnd::Finished), "{stats:?}");
}

#[tokio::test]
async fn the_server_may_speak_first() {
    let (mut client, mut server, pair) = start(CopyOptions::default());
    server.write_all(b"220 hello").await.unwrap();
    let mut greeting = [0; 9];
    client.read_exact(&mut greeting).await.unwrap();
    drop((client, server));
    assert_eq!(pair.await.unwrap().b_to_a, 9);
}

#[tokio::test]
async fn a_lot_arrives_unchanged_through_a_slow_reader() {
    const SIZE: usize = 12 * 1024 * 1024;
    let (mut client, a) = tcp_pair().await;
    let (b, mut server) = tcp_pair().await;
    let counters = [Counter::detached(), Counter::detached()];
    let options = CopyOptions { counters: Some(counters.clone()), ..CopyOptions::default() };
    let pair = tokio::spawn(async move { bidirectional(a, b, &options).await });
    let sent: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
    let sending = {
        let sent = sent.clone();
        async move {
            client.write_all(&sent).await.unwrap();
            client
        }
    };
    let receiving = async {
        let mut received = vec![0; SIZE];
        for part in received.chunks_mut(1_000_003) {
            tokio::task::yield_now().await;
            server.read_exact(part).await.unwrap();
        }
        received
    };
    let (client, received) = tokio::join!(sending, receiving);
    assert!(received == sent);
    drop((client, server));
    assert_eq!(pair.await.unwrap().a_to_b, SIZE as u64);
    assert_eq!(counters.map(|counter| counter.value()), [SIZE as u64, 0]);
}

#[tokio::test]
async fn a_reset_names_the_side() {
    let (client, a) = tcp_pair().await;
    let (b, _server) = tcp_pair().await;
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let stats = bidirectional(a, b, &CopyOptions::default()).await;
    assert!(matches!(stats.reason, CopyEnd::Failed { side: Side::A, .. }), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_pair_holds_no_buffer_and_ends_in_time() {
    let options = CopyOptions { idle_timeout: Duration::from_secs(10), ..CopyOptions::default() };
    let (mut client, mut server, pair) = start(options);
    let started = Instant::now();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        assert!(buffer::pooled() >= 1, "the buffer is back in the pool");
    }
    let stats = pair.await.unwrap();
    assert!(matches!(stats.reason, CopyEnd::Idle), "{stats:?}");
    assert_eq!(started.elapsed().as_secs(), 5 * 9 + 10);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_is_idle_too() {
    let options = CopyOptions { idle_timeout: Duration::from_secs(10), ..CopyOptions::default() };
    let (mut client, _server, pair) = start(options);
    tokio::spawn(async move { client.write_all(&[0; 1 << 20]).await });
    assert!(matches!(pair.await.unwrap().reason, CopyEnd::Idle));
}

#[tokio::test(start_paused = true)]
async fn half_closed_has_its_own_patience() {
    let options = CopyOptions { half_close_timeout: Duration::from_secs(5), ..CopyOptions::default() };
    let (mut client, _server, pair) = start(options);
    let started = Instant::now();
    client.shutdown().await.unwrap();
    assert!(matches!(pair.await.unwrap().reason, CopyEnd::Idle));
    assert_eq!(started.elapsed().as_secs(), 5);
}
