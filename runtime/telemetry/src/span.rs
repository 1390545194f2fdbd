//! Spans: built for sampled traces only, and handed to whoever exports them.
//!
//! Nothing waits for an exporter. A span that finds the queue full is counted and gone.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use opentelemetry::SpanId;
use tokio::sync::{Notify, mpsc};

use crate::Counter;
use crate::trace::TraceContext;

/// Begins spans. Cloning is cheap and gives the same tracer; one that nobody records from costs a load.
#[derive(Clone, Default)]
pub struct Tracer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    on: AtomicBool,
    recorder: ArcSwapOption<Recorder>,
}

/// Where finished spans go.
struct Recorder {
    queue: mpsc::Sender<Box<SpanData>>,
    /// Told when half the queue is taken.
    filling: Arc<Notify>,
    dropped: Counter,
    /// A trace begun here is sampled when the right half of its id is below this.
    sample_below: u64,
}

/// How spans are recorded.
pub struct Recording {
    /// The share of traces begun here that are sampled, 0 to 1. Callers' decisions are kept.
    pub sample: f64,
    /// Spans that may wait to be exported.
    pub queue: usize,
    /// Counts those that found it full.
    pub dropped: Counter,
}

/// The far end of the queue.
pub struct Spans {
    queue: mpsc::Receiver<Box<SpanData>>,
    filling: Arc<Notify>,
}

/// What the span was to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answered a request.
    Server,
    /// It sent one.
    Client,
    Producer,
    Consumer,
    /// It had none.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    Text(Cow<'static, str>),
    Number(i64),
}

/// A span that has not ended. It ends when dropped.
pub struct Span {
    /// Always there until the drop.
    data: Option<Box<SpanData>>,
    recorder: Arc<Recorder>,
}

/// What is known of a span.
#[derive(Clone, Debug)]
pub struct SpanData {
    pub context: TraceContext,
    /// [`SpanId::INVALID`] for the first of a trace.
    pub parent: SpanId,
    /// Whether the parent is another process.
    pub parent_is_remote: bool,
    pub kind: Kind,
    pub name: Cow<'static, str>,
    pub started: SystemTime,
    pub ended: SystemTime,
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Why it failed, when it did.
    pub error: Option<Cow<'static, str>>,
}

impl Tracer {
    /// A span for what came in: below the caller's when it is being traced; otherwise, for a share of calls, the
    /// first of a trace.
    #[inline]
    pub fn server(
        &self,
        name: impl Into<Cow<'static, str>>,
        parent: impl FnOnce() -> Option<TraceContext>,
    ) -> Option<Span> {
        if !self.0.on.load(Ordering::Relaxed) {
            return None;
        }
        let recorder = self.0.recorder.load_full()?;
        match parent() {
            Some(parent) if !parent.is_sampled() => None,
            Some(parent) => Some(Span::below(recorder, Kind::Server, name.into(), &parent, true)),
            None => Span::first(recorder, Kind::Server, name.into()),
        }
    }

    /// The first span of a trace that begins here, for a share of them.
    pub fn first(&self, kind: Kind, name: impl Into<Cow<'static, str>>) -> Option<Span> {
        if !self.0.on.load(Ordering::Relaxed) {
            return None;
        }
        Span::first(self.0.recorder.load_full()?, kind, name.into())
    }

    /// A span for what we do for somebody who is being traced; for nobody else.
    #[inline]
    pub fn child(
        &self,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        parent: Option<&TraceContext>,
    ) -> Option<Span> {
        if !self.0.on.load(Ordering::Relaxed) {
            return None;
        }
        let parent = parent.filter(|parent| parent.is_sampled())?;
        Some(Span::below(self.0.recorder.load_full()?, kind, name.into(), parent, false))
    }

    /// Spans that begin from now on go to the returned queue, and to no other.
    pub fn record(&self, how: Recording) -> Spans {
        let (sender, queue) = mpsc::channel(how.queue.max(1));
        let filling = Arc::new(Notify::new());
        let recorder = Recorder {
            queue: sender,
            filling: Arc::clone(&filling),
            dropped: how.dropped,
            sample_below: threshold(how.sample),
        };
        self.0.recorder.store(Some(Arc::new(recorder)));
        self.0.on.store(true, Ordering::Relaxed);
        Spans { queue, filling }
    }

    /// No more spans are built. The queue ends when those that are under way have ended.
    pub fn stop(&self) {
        self.0.on.store(false, Ordering::Relaxed);
        self.0.recorder.store(None);
    }
}

fn threshold(share: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped; `as` saturates")]
    let below = (share.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    below
}

impl Recorder {
    fn take(&self, span: Box<SpanData>) {
        if self.queue.try_send(span).is_err() {
            self.dropped.inc();
        } else if self.queue.capacity() * 2 <= self.queue.max_capacity() {
            self.filling.notify_one();
        }
    }
}

impl Span {
    fn below(
        recorder: Arc<Recorder>,
        kind: Kind,
        name: Cow<'static, str>,
        parent: &TraceContext,
        parent_is_remote: bool,
    ) -> Self {
        let (context, parent) = (parent.child(), parent.span_id);
        Self::new(recorder, SpanData { parent_is_remote, ..SpanData::new(context, parent, kind, name) })
    }

    fn first(recorder: Arc<Recorder>, kind: Kind, name: Cow<'static, str>) -> Option<Self> {
        let context = TraceContext::root(true);
        let [.., a, b, c, d, e, f, g, h] = context.trace_id.to_bytes();
        let draw = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let sampled = draw < recorder.sample_below || recorder.sample_below == u64::MAX;
        sampled.then(|| Self::new(recorder, SpanData::new(context, SpanId::INVALID, kind, name)))
    }

    fn new(recorder: Arc<Recorder>, data: SpanData) -> Self {
        Self { data: Some(Box::new(data)), recorder }
    }

    /// What to send on: the trace, and this span as the parent of what comes.
    pub fn context(&self) -> Option<&TraceContext> {
        self.data.as_ref().map(|data| &data.context)
    }

    /// Names it better, once more is known.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(data) = &mut self.data {
            data.name = name.into();
        }
    }

    pub fn set(&mut self, key: &'static str, value: impl Into<Attribute>) {
        if let Some(data) = &mut self.data {
            data.attributes.push((key, value.into()));
        }
    }

    /// Marks it as failed. What it says is seen by operators, so it may hold no secrets and no data of users.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(data) = &mut self.data {
            data.error = Some(why.into());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut data) = self.data.take() {
            data.ended = SystemTime::now();
            self.recorder.take(data);
        }
    }
}

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Span").field(&self.data).finish()
    }
}

impl SpanData {
    fn new(context: TraceContext, parent: SpanId, kind: Kind, name: Cow<'static, str>) -> Self {
        let started = SystemTime::now();
        let (attributes, error) = (Vec::new(), None);
        let (parent_is_remote, ended) = (false, started);
        Self { context, parent, parent_is_remote, kind, name, started, ended, attributes, error }
    }
}

impl From<&'static str> for Attribute {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl Spans {
    /// Waits for a span, gathers others for `pause` (less when the queue fills), and returns up to `most`; none when
    /// the queue has ended.
    pub async fn batch(&mut self, most: usize, pause: impl Future<Output = ()>) -> Vec<Box<SpanData>> {
        let mut batch = Vec::new();
        if self.queue.recv_many(&mut batch, most).await == 0 {
            return batch;
        }
        if batch.len() < most && !self.queue.is_closed() {
            tokio::select! {
                () = pause => {}
                () = self.filling.notified() => {}
            }
        }
        while batch.len() < most
            && let Ok(span) = self.queue.try_recv()
        {
            batch.push(span);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(sample: f64, queue: usize) -> Recording {
        Recording { sample, queue, dropped: Counter::detached() }
    }

    fn drain(spans: &mut Spans) -> Vec<SpanData> {
        std::iter::from_fn(|| spans.queue.try_recv().ok()).map(|span| *span).collect()
    }

    #[test]
    fn only_what_is_sampled_is_built() {
        let tracer = Tracer::default();
        let sampled = TraceContext::root(true);
        let unsampled = TraceContext::root(false);
        assert!(tracer.server("s", || panic!("nobody asks while nothing is recorded")).is_none());
        let mut spans = tracer.record(recording(0.0, 10));
        assert!(tracer.server("s", || None).is_none(), "no trace is begun");
        assert!(tracer.server("s", || Some(unsampled.clone())).is_none());
        assert!(tracer.child(Kind::Client, "c", Some(&unsampled)).is_none());
        assert!(tracer.child(Kind::Client, "c", None).is_none());
        let server = tracer.server("s", || Some(sampled.clone())).unwrap();
        let mut client = tracer.child(Kind::Client, "c", server.context()).unwrap();
        client.set("n", 1);
        client.fail("gone");
        let client_id = client.context().unwrap().span_id;
        drop(client);
        drop(server);
        let [client, server] = drain(&mut spans).try_into().unwrap();
        assert_eq!((client.context.span_id, client.parent), (client_id, server.context.span_id));
        assert_eq!((server.parent, server.parent_is_remote), (sampled.span_id, true));
        assert_eq!((client.parent_is_remote, client.error.as_deref()), (false, Some("gone")));
        assert_eq!(client.attributes, [("n", Attribute::Number(1))]);
        assert!(client.context.trace_id == sampled.trace_id && server.context.trace_id == sampled.trace_id);
        tracer.stop();
        assert!(tracer.server("s", || Some(sampled)).is_none());
    }

    #[test]
    fn a_share_of_traces_is_begun() {
        let begun = |share| {
            let tracer = Tracer::default();
            let _spans = tracer.record(recording(share, 1));
            (0..2000).filter(|_| tracer.server("s", || None).is_some()).count()
        };
        assert_eq!((begun(0.0), begun(1.0)), (0, 2000));
        let quarter = begun(0.25);
        assert!((350..650).contains(&quarter), "{quarter}");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let tracer = Tracer::default();
        let how = recording(1.0, 3);
        let dropped = how.dropped.clone();
        let mut spans = tracer.record(how);
        for _ in 0..5 {
            drop(tracer.server("s", || None));
        }
        assert_eq!((drain(&mut spans).len(), dropped.value()), (3, 2));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_batch_waits_for_more_unless_the_queue_fills_or_ends() {
        let tracer = Tracer::default();
        let mut spans = tracer.record(recording(1.0, 8));
        drop(tracer.server("s", || None));
        assert_eq!(spans.batch(8, std::future::ready(())).await.len(), 1);
        drop(tracer.server("s", || None));
        let filled = spans.batch(8, std::future::pending());
        let fill = async { (0..4).for_each(|_| drop(tracer.server("s", || None))) };
        let (batch, ()) = tokio::join!(filled, fill);
        assert_eq!(batch.len(), 5);
        let last = tracer.server("s", || None);
        tracer.stop();
        drop(last);
        assert_eq!(spans.batch(8, std::future::pending()).await.len(), 1, "what ended late still comes");
        assert!(spans.batch(8, std::future::pending()).await.is_empty());
    }
}
