use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use outrigger_component_api::{Component, ComponentSpec, ErrorKind, async_trait};
use outrigger_resilience::Deadline;
use outrigger_telemetry::Metrics;

use super::*;
use crate::{Member, Meter, Policy};

/// A store that is as slow as it is told.
struct Slow {
    /// Before each piece, read or written.
    piece: Duration,
    /// After the last piece written.
    end: Duration,
}

#[async_trait]
impl Component for Slow {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl FileStore for Slow {
    async fn put(&self, _: &str, mut body: FileBody, _: FileOptions) -> Result<()> {
        while let Some(piece) = body.next().await {
            piece?;
            tokio::time::sleep(self.piece).await;
        }
        tokio::time::sleep(self.end).await;
        Ok(())
    }

    async fn get(&self, _: &str, _: FileOptions) -> Result<FileBody> {
        let piece = self.piece;
        Ok(Box::pin(stream::iter(0..10).then(move |_| async move {
            tokio::time::sleep(piece).await;
            Ok(Bytes::from_static(b"piece"))
        })))
    }

    async fn list(&self, _: &str, page: Page, _: FileOptions) -> Result<FileList> {
        Ok(FileList { next: Some(page.size.to_string()), ..FileList::default() })
    }

    async fn delete(&self, _: &str, _: FileOptions) -> Result<()> {
        Err(Error::unavailable("it is gone"))
    }

    async fn stat(&self, _: &str, _: FileOptions) -> Result<FileInfo> {
        Err(Error::unsupported("stat"))
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Its timeout is five seconds.
fn files(piece: Duration, end: Duration) -> Files {
    let mut spec = ComponentSpec { name: "disk".to_owned(), ..ComponentSpec::default() };
    let policy = Policy { timeout: 5 * SECOND, ..Policy::default() };
    let member = FileComponent::from_spec(&mut spec, policy, &Meter::new(&Metrics::new())).expect("fits");
    member.slot().ready(Arc::new(Slow { piece, end }));
    let files = Files::default();
    files.stores.replace([Arc::new(member)]);
    files
}

fn body(pieces: u32, pause: Duration) -> FileBody {
    Box::pin(stream::iter(0..pieces).then(move |_| async move {
        tokio::time::sleep(pause).await;
        Ok(Bytes::from_static(b"piece"))
    }))
}

async fn put(files: &Files, body: FileBody) -> Option<ErrorKind> {
    let put = files.put(&Caller::new(""), "disk", "name", body, FileOptions::default()).await;
    put.err().map(|error| error.kind())
}

#[tokio::test(start_paused = true)]
async fn a_long_upload_may_take_its_time() {
    assert_eq!(put(&files(SECOND, 4 * SECOND), body(60, 3 * SECOND)).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stops_is_given_up_and_told_apart() {
    let endless: FileBody = Box::pin(body(3, SECOND).chain(stream::pending()));
    assert_eq!(put(&files(SECOND, SECOND), endless).await, Some(ErrorKind::Cancelled));
    assert_eq!(put(&files(60 * SECOND, SECOND), body(3, SECOND)).await, Some(ErrorKind::Timeout));
    assert_eq!(put(&files(SECOND, 60 * SECOND), body(3, SECOND)).await, Some(ErrorKind::Timeout));
}

#[tokio::test(start_paused = true)]
async fn a_callers_deadline_ends_an_upload_that_moves() {
    let deadline = Deadline::after(Instant::now(), 3 * SECOND);
    let caller = Caller { deadline, ..Caller::new("") };
    let files = files(SECOND, SECOND);
    let put = files.put(&caller, "disk", "name", body(60, SECOND), FileOptions::default()).await;
    assert_eq!(put.expect_err("too late").kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn callers_who_stop_sending_do_not_give_the_store_a_rest() {
    let files = files(Duration::ZERO, Duration::ZERO);
    for _ in 0..50 {
        assert_eq!(put(&files, Box::pin(stream::pending())).await, Some(ErrorKind::Cancelled));
    }
    assert_eq!(put(&files, body(1, SECOND)).await, None);
}

#[tokio::test(start_paused = true)]
async fn each_piece_read_has_its_deadline() {
    let read = async |piece, caller: &Caller<'_>| {
        let files = files(piece, SECOND);
        let body = files.get(caller, "disk", "name", FileOptions::default()).await.expect("opens");
        body.try_collect::<Vec<_>>().await.map(|pieces| pieces.len()).map_err(|error| error.kind())
    };
    assert_eq!(read(4 * SECOND, &Caller::new("")).await, Ok(10));
    assert_eq!(read(6 * SECOND, &Caller::new("")).await, Err(ErrorKind::Timeout));
    let deadline = Deadline::after(Instant::now(), 3 * SECOND);
    let hurried = Caller { deadline, ..Caller::new("") };
    assert_eq!(read(SECOND, &hurried).await, Err(ErrorKind::Timeout));
}

#[tokio::test]
async fn pages_have_a_largest_size() {
    let files = files(Duration::ZERO, Duration::ZERO);
    let size = async |size| {
        let page = Page { size, marker: String::new() };
        files.list(&Caller::new(""), "disk", "", page, FileOptions::default()).await.expect("lists").next
    };
    assert_eq!(size(0).await.as_deref(), Some("1"));
    assert_eq!(size(7).await.as_deref(), Some("7"));
    assert_eq!(size(usize::MAX).await.as_deref(), Some("1000"));
}
