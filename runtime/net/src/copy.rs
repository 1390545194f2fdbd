//! Carries bytes both ways between two streams until both have ended, one has failed, or nothing moves any more.

mod buffer;
mod direction;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use outrigger_telemetry::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use direction::{Direction, Failed};

/// How long a silent pair may live, and where its bytes are counted.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// Ends the pair when no byte has moved either way for this long. Default 1 h.
    pub idle_timeout: Duration,
    /// The same once one side has ended its half. Default 5 min: who half-closes still wants the answer.
    pub half_close_timeout: Duration,
    /// Counts bytes as they move, a to b and b to a, for connections that live for days.
    pub counters: Option<[Counter; 2]>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(3600),
            half_close_timeout: Duration::from_secs(300),
            counters: None,
        }
    }
}

/// What happened.
#[derive(Debug)]
pub struct CopyStats {
    pub a_to_b: u64,
    pub b_to_a: u64,
    pub reason: CopyEnd,
}

/// Why it ended.
#[derive(Debug)]
pub enum CopyEnd {
    /// Both sides ended their half.
    Finished,
    /// Nothing moved for the time the options allow.
    Idle,
    /// Reading from or writing to this side failed.
    Failed { side: Side, error: io::Error },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    A,
    B,
}

/// Copies both ways. Buffers come from a pool of the thread and go back whenever there is nothing to read, so an idle
/// pair holds none; they grow with what a direction has moved. The end of one side is passed on to the other, which
/// may go on sending. The caller closes both by dropping them.
pub async fn bidirectional<A, B>(mut a: A, mut b: B, options: &CopyOptions) -> CopyStats
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut forth = Direction::default();
    let mut back = Direction::default();
    let reason = {
        let mut deadline = Instant::now() + options.idle_timeout;
        let mut timer = pin!(sleep_until(deadline));
        let mut armed = false;
        poll_fn(|cx| {
            let before = (forth.moved, back.moved, forth.ended(), back.ended());
            // The last half to end needs no word to its reader: closing tells it.
            let first = forth.poll(cx, &mut a, &mut b, back.ended()).map_err(|failed| failed.of(Side::A));
            let second = back.poll(cx, &mut b, &mut a, forth.ended()).map_err(|failed| failed.of(Side::B));
            count(options, before, &forth, &back);
            match (first, second) {
                (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => return Poll::Ready(end),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(CopyEnd::Finished),
                _ => {}
            }
            if (forth.moved, back.moved, forth.ended(), back.ended()) != before {
                let half = forth.ended() || back.ended();
                let timeout = if half { options.half_close_timeout } else { options.idle_timeout };
                let now = Instant::now();
                deadline = now + timeout;
                // The timer follows only when it fires, so moving the deadline back costs nothing.
                if deadline < timer.deadline() {
                    timer.as_mut().reset(deadline);
                } else if armed && now < timer.deadline() {
                    return Poll::Pending;
                }
            }
            armed = true;
            while timer.as_mut().poll(cx).is_ready() {
                if Instant::now() >= deadline {
                    return Poll::Ready(CopyEnd::Idle);
                }
                timer.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await
    };
    CopyStats { a_to_b: forth.moved, b_to_a: back.moved, reason }
}

fn count(options: &CopyOptions, before: (u64, u64, bool, bool), forth: &Direction, back: &Direction) {
    if let Some([a_to_b, b_to_a]) = &options.counters {
        if forth.moved > before.0 {
            a_to_b.add(forth.moved - before.0);
        }
        if back.moved > before.1 {
            b_to_a.add(back.moved - before.1);
        }
    }
}

impl Failed {
    /// Names the side of a direction that reads from `reader`.
    fn of(self, reader: Side) -> CopyEnd {
        let writer = if reader == Side::A { Side::B } else { Side::A };
        match self {
            Self::Read(error) => CopyEnd::Failed { side: reader, error },
            Self::Write(error) => CopyEnd::Failed { side: writer, error },
        }
    }
}

#[cfg(test)]
mod tests;
