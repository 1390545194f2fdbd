//! One timer for a connection or for one request after another, set again only when it must ring earlier.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that moves forward costs nothing: the timer rings at the old one, sees that it is early, and is set
/// again. So a busy connection touches the timer wheel once per timeout and not once per request.
#[derive(Debug, Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes: it need not be told again, which costs more than looking at the time left.
    waker: Option<Waker>,
}

impl Timer {
    /// Ready once `deadline` has passed; otherwise the task is woken no later than then.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
            self.waker = None;
        }
        loop {
            let knows_us = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if knows_us && !sleep.is_elapsed() {
                return Poll::Pending;
            }
            // A task that has used up its budget is sent away before the timer has heard of it: then it must ask again.
            let heard = tokio::task::coop::has_budget_remaining();
            if sleep.as_mut().poll(cx).is_pending() {
                self.waker = heard.then(|| cx.waker().clone());
                return Poll::Pending;
            }
            self.waker = None;
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn rings_also_for_a_task_without_budget() {
        let mut timer = Timer::default();
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut first = true;
        let ringing = std::future::poll_fn(|cx| {
            if std::mem::take(&mut first) {
                while tokio::task::coop::has_budget_remaining() {
                    if let Poll::Ready(spent) = tokio::task::coop::poll_proceed(cx) {
                        spent.made_progress();
                    }
                }
            }
            timer.poll(cx, deadline)
        });
        tokio::time::timeout(Duration::from_secs(60), ringing).await.expect("it rings");
        assert_eq!(Instant::now(), deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn rings_at_the_deadline_given_last() {
        let mut timer = Timer::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let once = |timer: &mut Timer, deadline| {
            timer.poll(&mut Context::from_waker(std::task::Waker::noop()), deadline)
        };
        assert!(once(&mut timer, at(10)).is_pending());
        assert!(once(&mut timer, at(20)).is_pending());
        std::future::poll_fn(|cx| timer.poll(cx, at(20))).await;
        assert_eq!(Instant::now(), at(20));
        assert!(once(&mut timer, at(100)).is_pending());
        std::future::poll_fn(|cx| timer.poll(cx, at(30))).await;
        assert_eq!(Instant::now(), at(30));
    }
}
