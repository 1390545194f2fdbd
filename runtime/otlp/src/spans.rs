//! Spans in OpenTelemetry's form, a batch at a time.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData as Exported, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::watch;

use crate::{Meter, Target, Unusable, stopped};
use outrigger_telemetry::span::{Attribute, Kind, SpanData, Spans};

/// How long spans gather before they are sent.
const PAUSE: Duration = Duration::from_secs(1);
/// The most spans in one export.
const BATCH: usize = 512;

pub(super) fn exporter(to: &Target, resource: &Resource) -> Result<SpanExporter, Unusable> {
    let unusable = |error: ExporterBuildError| Unusable { setting: "endpoint", message: error.to_string() };
    let mut exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(to.channel()?)
        .with_metadata(to.metadata()?)
        .with_timeout(to.timeout)
        .build()
        .map_err(unusable)?;
    exporter.set_resource(resource);
    Ok(exporter)
}

/// Exports until the queue ends; it ends when the last span has after the tracer was stopped.
pub(super) async fn export(
    exporter: SpanExporter,
    mut spans: Spans,
    meter: Arc<Meter>,
    mut stop: watch::Receiver<bool>,
) {
    let scope = InstrumentationScope::builder("outrigger").with_version(env!("CARGO_PKG_VERSION")).build();
    loop {
        let pause = async {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stopped(&mut stop) => {}
            }
        };
        let batch = spans.batch(BATCH, pause).await;
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let batch = batch.into_iter().map(|span| exported(*span, &scope)).collect();
        match exporter.export(batch).await {
            Ok(()) => meter.exported.add(count),
            Err(error) => {
                meter.refused.add(count);
                meter.failed("traces", &error);
            }
        }
    }
}

fn exported(span: SpanData, scope: &InstrumentationScope) -> Exported {
    let attributes = span.attributes.into_iter().map(|(key, value)| KeyValue::new(key, plain(value)));
    Exported {
        span_context: span.context.to_span_context(),
        parent_span_id: span.parent,
        parent_span_is_remote: span.parent_is_remote,
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
            Kind::Internal => SpanKind::Internal,
        },
        name: span.name,
        start_time: span.started,
        end_time: span.ended,
        attributes: attributes.collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, |description| Status::Error { description }),
        instrumentation_scope: scope.clone(),
    }
}

fn plain(attribute: Attribute) -> Value {
    match attribute {
        Attribute::Text(text) => Value::String(text.into()),
        Attribute::Number(number) => Value::I64(number),
    }
}
