//! Deadlines that cost nothing while they are met.

use std::pin::Pin;
use std::task::Poll;

use outrigger_http::Timer;
use tokio::time::Instant;

/// A timer handed from request to request.
#[derive(Debug, Default)]
pub(super) struct Deadlines(Timer);

impl Deadlines {
    /// The result of `future`, or `None` at the deadline. Pinned by the caller: a future taken by value would be
    /// moved, and so have room, twice.
    pub(super) async fn within<F: Future>(
        &mut self,
        deadline: Option<Instant>,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        let Some(deadline) = deadline else { return Some(future.await) };
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.0.poll(cx, deadline).map(|()| None),
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
        let mut timer = Deadlines::default();
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
