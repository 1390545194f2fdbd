//! Deadlines that cost nothing while they are met.

use std::pin::Pin;
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer handed from request to request. As deadlines move forward it rings at an old one now and then, sees
/// that it is early and is set again: the timer wheel is touched once per timeout and not once per request.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// The result of `future`, or `None` at the deadline. Pinned by the caller: a future taken by value would be
    /// moved, and so have room, twice.
    pub(super) async fn within<F: Future>(
        &mut self,
        deadline: Option<Instant>,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        let Some(deadline) = deadline else { return Some(future.await) };
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            while sleep.as_mut().poll(cx).is_ready() {
                if Instant::now() >= deadline {
                    return Poll::Ready(None);
                }
                sleep.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_request_has_its_own_deadline() {
        let mut timer = Timer::default();
        let start = Instant::now();
        let after = |millis| Some(Instant::now() + Duration::from_millis(millis));
        let work = |millis| tokio::time::sleep(Duration::from_millis(millis));
        assert!(timer.within(after(100), pin!(work(50))).await.is_some());
        assert!(
            timer.within(after(100), pin!(work(90))).await.is_some(),
            "rings early at 100, and is set again"
        );
        assert!(timer.within(after(10), pin!(work(90))).await.is_none(), "an earlier deadline moves it back");
        assert_eq!(start.elapsed(), Duration::from_millis(150));
        assert!(timer.within(after(500), pin!(work(90))).await.is_some());
        assert!(timer.within(None, pin!(work(5_000))).await.is_some());
        assert!(timer.within(after(20), pin!(work(90))).await.is_none());
    }
}
