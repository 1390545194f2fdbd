//! Export over OTLP/gRPC: spans as they end, metrics at an interval.
//!
//! Everything here runs on the control runtime. A collector that is slow or gone costs spans, which are counted, and
//! one line a minute in the log; no request notices.

mod metrics;
mod spans;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use outrigger_telemetry::span::{Recording, Tracer};
use outrigger_telemetry::{Counter, Family, Metrics};

/// What is exported, and where to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// What describes this process, `service.name` first of all.
    pub resource: Vec<(&'static str, String)>,
    pub traces: Option<Traces>,
    pub metrics: Option<MetricsTo>,
}

/// How spans are exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    pub to: Target,
    /// The share of traces begun here that are sampled.
    pub sample: f64,
    /// Spans that may wait.
    pub queue: usize,
}

/// How metrics are exported.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsTo {
    pub to: Target,
    pub interval: Duration,
}

/// A collector.
#[derive(Clone, PartialEq)]
pub struct Target {
    /// `http://host:port`, or `https://host:port` with `ca`.
    pub endpoint: String,
    /// Sent with every export. Often they authenticate, so `Debug` leaves them out.
    pub headers: Vec<(String, String)>,
    /// The longest one export may take.
    pub timeout: Duration,
    /// The authorities we trust, as PEM.
    pub ca: Option<Vec<u8>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Why a target cannot be used, and which of its settings is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    pub setting: &'static str,
    pub message: String,
}

impl Target {
    /// Whether exporting there could work at all. Nothing is opened.
    pub fn check(&self) -> Result<(), Unusable> {
        self.endpoint().and_then(|_| self.metadata()).map(drop)
    }

    fn endpoint(&self) -> Result<Endpoint, Unusable> {
        let unusable = |message: String| Unusable { setting: "endpoint", message };
        let url = &self.endpoint;
        let endpoint = Endpoint::from_shared(url.clone())
            .ok()
            .filter(|endpoint| endpoint.uri().host().is_some())
            .ok_or_else(|| unusable(format!("'{url}' is not a URL; write http://127.0.0.1:4317")))?
            .connect_timeout(self.timeout)
            .timeout(self.timeout);
        match (endpoint.uri().scheme_str(), &self.ca) {
            (Some("http"), _) => Ok(endpoint),
            (Some("https"), Some(ca)) => {
                let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
                let refused = |error| Unusable { setting: "ca", message: format!("{error}") };
                endpoint.tls_config(tls).map_err(refused)
            }
            (Some("https"), None) => {
                Err(unusable("https needs `ca`, the file with the authorities to trust".to_owned()))
            }
            _ => Err(unusable(format!("'{url}' is neither http:// nor https://"))),
        }
    }

    fn metadata(&self) -> Result<MetadataMap, Unusable> {
        let mut metadata = MetadataMap::new();
        for (name, value) in &self.headers {
            // What a header holds may be secret: only its name is told.
            let unusable =
                |what| Unusable { setting: "headers", message: format!("{what} of '{name}' cannot be sent") };
            let key = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes());
            let key = key.map_err(|_| unusable("the name"))?;
            let value = MetadataValue::try_from(value.as_str()).map_err(|_| unusable("the value"))?;
            metadata.insert(key, value);
        }
        Ok(metadata)
    }

    /// Connects at the first export. Must be called on a runtime.
    fn channel(&self) -> Result<Channel, Unusable> {
        self.endpoint().map(|endpoint| endpoint.connect_lazy())
    }
}

/// Exports under way, with the tasks that do it.
pub struct Exports {
    options: Options,
    tracer: Tracer,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Exports {
    /// Begins to export. `since` is when counting began.
    pub fn start(
        options: Options,
        metrics: &Metrics,
        since: SystemTime,
        control: &Handle,
    ) -> Result<Self, Unusable> {
        let _runtime = control.enter();
        let (stop, stopped) = watch::channel(false);
        let attributes = options.resource.iter().map(|(key, value)| KeyValue::new(*key, value.clone()));
        let resource = Resource::builder_empty().with_attributes(attributes).build();
        let meter = Arc::new(Meter::new(metrics));
        let mut tasks = Vec::new();
        // Both are made before either starts, so that a problem leaves nothing behind.
        let spans =
            options.traces.as_ref().map(|traces| spans::exporter(&traces.to, &resource)).transpose()?;
        let client =
            options.metrics.as_ref().map(|to| metrics::Client::new(&to.to, &resource)).transpose()?;
        if let (Some(exporter), Some(traces)) = (spans, &options.traces) {
            let spans = metrics.tracer().record(meter.recording(traces));
            tasks.push(control.spawn(spans::export(exporter, spans, Arc::clone(&meter), stopped.clone())));
        }
        if let (Some(client), Some(to)) = (client, &options.metrics) {
            let source = metrics::Source { metrics: metrics.clone(), since };
            tasks.push(control.spawn(metrics::export(client, source, to.interval, meter, stopped)));
        }
        Ok(Self { options, tracer: metrics.tracer().clone(), stop, tasks })
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// No more spans are built, and what has been recorded is sent at once.
    pub fn end(&self) {
        self.tracer.stop();
        self.stop.send_replace(true);
    }

    /// Waits until all is sent, but no longer than `patience`. Says whether it was.
    pub async fn ended(mut self, patience: Duration) -> bool {
        let tasks = std::mem::take(&mut self.tasks);
        let handles: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        let all = async {
            for task in tasks {
                drop(task.await);
            }
        };
        let flushed = tokio::time::timeout(patience, all).await.is_ok();
        handles.iter().for_each(tokio::task::AbortHandle::abort);
        flushed
    }
}

impl Drop for Exports {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Counts what becomes of exports, and complains about them.
struct Meter {
    exported: Counter,
    queue_full: Counter,
    refused: Counter,
    failures: Family<Counter>,
    complained: parking_lot::Mutex<Option<Instant>>,
}

impl Meter {
    const PAUSE: Duration = Duration::from_secs(60);

    fn new(metrics: &Metrics) -> Self {
        const DROPPED: &str = "outrigger_telemetry_spans_dropped_total";
        let dropped = metrics.counter(DROPPED, "Spans that were not exported, by why", &["reason"]);
        let exported =
            metrics.counter("outrigger_telemetry_spans_exported_total", "Spans a collector took", &[]);
        Self {
            exported: exported.with(&[]),
            queue_full: dropped.with(&["queue_full"]),
            refused: dropped.with(&["export_failed"]),
            failures: metrics.counter(
                "outrigger_telemetry_export_failures_total",
                "Exports that failed",
                &["signal"],
            ),
            complained: parking_lot::Mutex::new(None),
        }
    }

    fn recording(&self, traces: &Traces) -> Recording {
        let Traces { sample, queue, .. } = *traces;
        Recording { sample, queue, dropped: self.queue_full.clone() }
    }

    fn failed(&self, signal: &'static str, error: &dyn fmt::Display) {
        self.failures.with(&[signal]).inc();
        let mut complained = self.complained.lock();
        if complained.is_none_or(|at| at.elapsed() >= Self::PAUSE) {
            *complained = Some(Instant::now());
            tracing::warn!(signal, %error, "telemetry cannot be exported; further failures are told once a minute");
        }
    }
}

/// Ends when told to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender going away means the same.
    drop(stop.wait_for(|stop| *stop).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(endpoint: &str) -> Target {
        Target {
            endpoint: endpoint.to_owned(),
            headers: Vec::new(),
            timeout: Duration::from_secs(1),
            ca: None,
        }
    }

    #[test]
    fn what_cannot_work_is_told_before_anything_starts() {
        let check = |target: Target, setting| {
            assert_eq!(target.check().map_err(|unusable| unusable.setting), setting, "{target:?}");
        };
        check(target("http://127.0.0.1:4317"), Ok(()));
        check(target("http://collector:4317/"), Ok(()));
        for endpoint in ["", "nowhere", "127.0.0.1:4317", "ftp://a:1", "https://a:1", "http://"] {
            check(target(endpoint), Err("endpoint"));
        }
        let headers = |name: &str, value: &str| Target {
            headers: vec![(name.to_owned(), value.to_owned())],
            ..target("http://a:1")
        };
        check(headers("Authorization", "Bearer x"), Ok(()));
        for (name, value) in [("a b", "x"), ("x", "line\nbreak"), ("", "x")] {
            check(headers(name, value), Err("headers"));
        }
        let told = headers("x", "s3cret\n").check().unwrap_err().message;
        assert!(!told.contains("s3cret"), "{told}");
        assert!(!format!("{:?}", headers("x", "s3cret")).contains("s3cret"));
    }
}
