//! The access log: a compiled format, one buffer append per request, and a writer that may not hold anybody up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use outrigger_telemetry::shard::Sharded;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::config::Problem;
use crate::record::{Record, Sent};

mod format;

use format::Compiled;

/// What to log of each request, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogConfig {
    /// `-` for standard output, otherwise a file that is appended to.
    pub path: String,
    /// Text with `%{…}` placeholders: `time`, `method`, `path`, `protocol`, `host`, `status`, `bytes`, `received`,
    /// `duration_ms`, `peer`, `listener`, `route`, `cluster`, `upstream`, `attempts`, `reason`, `outcome`,
    /// `request_id`, `header:NAME` for a request header, and `filter_state:wasm.NAME` for what a WebAssembly filter has
    /// set. Ignored when `json` is set.
    pub format: String,
    /// One JSON object per line, with the same names as keys.
    pub json: bool,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self {
            path: "-".into(),
            format: "%{time} %{peer} %{method} %{host} %{path} %{protocol} %{status} %{bytes} %{duration_ms} %{upstream} %{outcome}".into(),
            json: false,
        }
    }
}

/// A shard's buffer goes to the writer at this size, or after [`PATIENCE`].
const FLUSH: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_millis(500);
/// Buffers waiting for the writer; more are dropped, and counted.
const QUEUED: usize = 256;

/// An open access log. Cheap to share; lines of one thread stay in order.
#[derive(Debug)]
pub struct AccessLog {
    compiled: Compiled,
    shards: Sharded<Shard>,
    sender: mpsc::Sender<Vec<u8>>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    lines: Mutex<Lines>,
    /// A task will come for what is buffered.
    awaited: AtomicBool,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    count: u64,
}

impl AccessLog {
    /// Compiles the format and starts the writer on the current runtime, which should be the control one. The writer
    /// ends when the log has been dropped and everything is written.
    pub fn start(
        config: &AccessLogConfig,
        sink: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(Arc<Self>, tokio::task::JoinHandle<()>), Problem> {
        let compiled = Compiled::new(config).map_err(|message| Problem::new("format", message))?;
        let (sender, receiver) = mpsc::channel(QUEUED);
        let log = Arc::new(Self { compiled, shards: Sharded::default(), sender, dropped: AtomicU64::new(0) });
        Ok((log, tokio::spawn(write_all(receiver, sink))))
    }

    /// Whether the format is one [`start`](Self::start) will take.
    pub fn check(config: &AccessLogConfig) -> Result<(), Problem> {
        Compiled::new(config).map(drop).map_err(|message| Problem::new("format", message))
    }

    /// Lines lost because the writer did not keep up.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn write(self: &Arc<Self>, record: &Record, sent: &Sent, took: Duration) {
        let shard = self.shards.here();
        let full = {
            let mut lines = shard.lines.lock();
            self.compiled.line(&mut lines.text, record, sent, took);
            lines.count += 1;
            lines.text.len() >= FLUSH
        };
        if full {
            self.flush(shard);
        } else if !shard.awaited.swap(true, Ordering::AcqRel) {
            self.await_more();
        }
    }

    /// A timer that exists only while lines are waiting.
    fn await_more(self: &Arc<Self>) {
        let log = Arc::clone(self);
        let waiting = async move {
            tokio::time::sleep(PATIENCE).await;
            let shard = log.shards.here();
            shard.awaited.store(false, Ordering::Release);
            log.flush(shard);
        };
        match tokio::runtime::Handle::try_current() {
            // Runs on this thread, so `here` is the same shard; on a multi-threaded runtime all share one.
            Ok(runtime) => drop(runtime.spawn(waiting)),
            Err(_) => {
                let shard = self.shards.here();
                shard.awaited.store(false, Ordering::Release);
                self.flush(shard);
            }
        }
    }

    fn flush(&self, shard: &Shard) {
        let lines = std::mem::take(&mut *shard.lines.lock());
        if lines.count > 0 && self.sender.try_send(lines.text.into_bytes()).is_err() {
            self.dropped.fetch_add(lines.count, Ordering::Relaxed);
        }
    }

    /// Hands everything buffered to the writer; for shutdown.
    pub fn flush_all(&self) {
        for shard in self.shards.iter() {
            self.flush(shard);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush_all();
    }
}

async fn write_all(mut receiver: mpsc::Receiver<Vec<u8>>, mut sink: impl AsyncWrite + Send + Unpin) {
    while let Some(lines) = receiver.recv().await {
        let written = async {
            sink.write_all(&lines).await?;
            sink.flush().await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "writing the access log failed; is the disk full?");
        }
    }
}
