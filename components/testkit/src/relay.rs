//! A way to a server that a test can make slow, or cut at the wrong moment.

use std::io::{Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Passes connections on to a server. Dropping it cuts them.
pub struct Relay {
    address: SocketAddr,
    rules: Arc<Rules>,
}

#[derive(Default)]
struct Rules {
    present: Mutex<Present>,
    changed: Condvar,
}

/// What happens to the connections at present.
#[derive(Default)]
struct Present {
    delay: Duration,
    cut_after: Option<&'static str>,
    over: bool,
    open: Vec<Weak<TcpStream>>,
}

impl Relay {
    /// A way to the server at this port, which need not be there yet.
    pub fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let rules = Arc::new(Rules::default());
        let shared = Arc::clone(&rules);
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.present().over {
                    return;
                }
                // Where the server refuses, the client sees its connection end.
                let _refused = client.and_then(|client| pass(client, port, &shared));
            }
        });
        Ok(Self { address, rules })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds back each answer for so long, those on their way included.
    pub fn delay(&self, delay: Duration) {
        self.rules.present().delay = delay;
        self.rules.changed.notify_all();
    }

    /// Cuts each connection as soon as a request with these words was answered.
    pub fn cut_after(&self, words: Option<&'static str>) {
        self.rules.present().cut_after = words;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        {
            let mut present = self.rules.present();
            present.over = true;
            present.delay = Duration::ZERO;
            let open = present.open.drain(..).filter_map(|stream| stream.upgrade());
            open.for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
        self.rules.changed.notify_all();
        // Has the listener see that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Rules {
    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the answers that have come now are held back.
    fn hold_back(&self) {
        let came = Instant::now();
        let mut present = self.present();
        while let Some(left) = present.delay.checked_sub(came.elapsed()).filter(|left| !left.is_zero()) {
            let waited = self.changed.wait_timeout(present, left);
            present = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn cuts_after(&self, request: &[u8]) -> bool {
        let holds = |words: &str| request.windows(words.len()).any(|window| window == words.as_bytes());
        self.present().cut_after.is_some_and(holds)
    }
}

/// Passes one connection on, in a thread for each direction.
fn pass(client: TcpStream, port: u16, rules: &Arc<Rules>) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ends = [client, server].map(Arc::new);
    {
        let mut present = rules.present();
        present.open.retain(|stream| stream.strong_count() > 0);
        present.open.extend(ends.each_ref().map(Arc::downgrade));
    }
    let [client, server] = ends;
    let cut = Arc::new(AtomicBool::new(false));
    let (from_client, to_server) = (Arc::clone(&client), Arc::clone(&server));
    let (noticed, requests) = (Arc::clone(&cut), Arc::clone(rules));
    thread::spawn(move || {
        copy(&from_client, &to_server, |request| {
            noticed.fetch_or(requests.cuts_after(request), Ordering::SeqCst);
            true
        })
    });
    let answers = Arc::clone(rules);
    thread::spawn(move || {
        copy(&server, &client, |_| {
            answers.hold_back();
            !cut.load(Ordering::SeqCst)
        })
    });
    Ok(())
}

/// Copies until one side ends or `goes_on` says of a piece that it is the last; then both have ended.
fn copy(mut from: &TcpStream, mut to: &TcpStream, goes_on: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let more = goes_on(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() || !more {
            break;
        }
    }
    let _ended = [from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with what it is sent.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                thread::spawn(move || copy(&stream, &stream, |_| true));
            }
        });
        port
    }

    fn ask(stream: &mut TcpStream, words: &str) -> String {
        stream.write_all(words.as_bytes()).expect("sent");
        let mut answer = vec![0; words.len()];
        match stream.read(&mut answer) {
            Ok(length) => String::from_utf8_lossy(&answer[..length]).into_owned(),
            Err(_) => String::new(),
        }
    }

    #[test]
    fn answers_pass_late_or_as_the_last() {
        let relay = Relay::to(echo()).expect("a port");
        let connect = || TcpStream::connect(relay.address()).expect("connected");
        let mut stream = connect();
        assert_eq!(ask(&mut stream, "one"), "one");
        relay.delay(Duration::from_millis(200));
        let asked = Instant::now();
        assert_eq!(ask(&mut stream, "two"), "two");
        assert!(asked.elapsed() >= Duration::from_millis(200), "{:?}", asked.elapsed());
        relay.delay(Duration::from_secs(3600));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| ask(&mut stream, "three"));
            thread::sleep(Duration::from_millis(50));
            relay.delay(Duration::ZERO);
            assert_eq!(waiting.join().expect("answered"), "three");
        });
        relay.cut_after(Some("last"));
        assert_eq!(ask(&mut stream, "not yet"), "not yet");
        assert_eq!(ask(&mut stream, "the last"), "the last");
        assert_eq!(ask(&mut stream, "more"), "");
        let mut other = connect();
        assert_eq!(ask(&mut other, "another"), "another");
        drop(relay);
        assert_eq!(ask(&mut other, "more"), "");
    }
}
