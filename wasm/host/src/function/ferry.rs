//! A request's body on its way from the worker whose connection it is read from to the threads of functions.

use outrigger_blocks::Body;
use tokio::task::JoinHandle;

/// Pieces under way.
const PIECES: usize = 4;

/// What reads the body on its own worker. It ends when this is dropped.
pub(crate) struct Ferry(JoinHandle<()>);

impl Drop for Ferry {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body that can be read anywhere; one that is in memory already can as it is.
pub(crate) fn ferry(mut body: Body) -> (Body, Option<Ferry>) {
    if body.as_full().is_some() {
        return (body, None);
    }
    let (sender, there) = Body::channel(PIECES);
    let carrying = tokio::spawn(async move {
        // There is no reading ahead of whom it is for.
        while let Ok(place) = sender.reserve().await {
            match body.frame().await {
                Some(frame) => place.send(frame),
                None => return,
            }
        }
    });
    (there, Some(Ferry(carrying)))
}

#[cfg(test)]
mod tests {
    use http_body::Frame;

    use super::*;

    #[tokio::test]
    async fn a_slow_reader_holds_up_the_sender() {
        let (sender, body) = Body::channel(1);
        let (mut there, _ferry) = ferry(body);
        let mut sent = 0;
        loop {
            let sending = sender.send(Ok(Frame::data("x".into())));
            match tokio::time::timeout(std::time::Duration::from_millis(50), sending).await {
                Ok(result) => result.unwrap(),
                Err(_) => break,
            }
            sent += 1;
        }
        assert_eq!(sent, PIECES + 1);
        drop(sender);
        let mut read = 0;
        while let Some(frame) = there.frame().await {
            assert_eq!(frame.unwrap().into_data().unwrap(), "x");
            read += 1;
        }
        assert_eq!(read, sent);
    }

    #[tokio::test]
    async fn what_nobody_reads_any_more_is_let_go() {
        let (sender, body) = Body::channel(1);
        drop(ferry(body));
        sender.closed().await;
        assert!(ferry(Body::full("x")).1.is_none());
    }
}
