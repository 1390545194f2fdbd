//! The signals we hear: those that end us, and those an application may wait for.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// One stream a signal.
pub struct Signals(Vec<(Signal, Stream)>);

impl Signals {
    pub fn listen() -> io::Result<Self> {
        let heard =
            [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1, Signal::USR2, Signal::WINCH];
        let streams = heard.into_iter().map(|s| Ok((s, signal(SignalKind::from_raw(s.as_raw()))?)));
        Ok(Self(streams.collect::<io::Result<_>>()?))
    }

    /// The next signal. May be dropped and called again.
    pub async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            let came = self
                .0
                .iter_mut()
                .find_map(|(signal, stream)| stream.poll_recv(context).is_ready().then_some(*signal));
            came.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        })
        .await
    }

    /// Waits for one that ends us.
    pub async fn stop(&mut self) {
        while !matches!(self.next().await, Signal::TERM | Signal::INT | Signal::QUIT) {}
    }
}
