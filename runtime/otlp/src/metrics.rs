//! Our own counters in OTLP's messages. The SDK's instruments would count everything a second time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use opentelemetry_sdk::Resource;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::{Meter, Target, Unusable, stopped};
use outrigger_telemetry::{BOUNDS, BUCKETS, Metrics, Reading, SAMPLES, Series, Snapshot};

/// A collector, and who we are to it.
pub(super) struct Client {
    collector: MetricsServiceClient<Channel>,
    metadata: MetadataMap,
    resource: ResourceMessage,
}

impl Client {
    pub(super) fn new(to: &Target, resource: &Resource) -> Result<Self, Unusable> {
        let attributes = resource.iter().map(|(key, value)| attribute(key.as_str(), &value.as_str()));
        Ok(Self {
            collector: MetricsServiceClient::new(to.channel()?),
            metadata: to.metadata()?,
            resource: ResourceMessage { attributes: attributes.collect(), ..Default::default() },
        })
    }

    async fn send(&mut self, metrics: Vec<Metric>) -> Result<(), Status> {
        let scope = InstrumentationScope {
            name: "outrigger".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }];
        let resource_metrics = vec![ResourceMetrics {
            resource: Some(self.resource.clone()),
            scope_metrics,
            schema_url: String::new(),
        }];
        let mut request = Request::new(ExportMetricsServiceRequest { resource_metrics });
        *request.metadata_mut() = self.metadata.clone();
        self.collector.export(request).await.map(drop)
    }
}

/// What is exported.
pub(super) struct Source {
    pub(super) metrics: Metrics,
    pub(super) since: SystemTime,
}

impl Source {
    fn read(&self) -> Vec<Metric> {
        let span = Interval { since: nanos(self.since), now: nanos(SystemTime::now()) };
        let families = self.metrics.snapshot().into_iter().filter(|family| !family.series.is_empty());
        families.filter_map(|family| span.metric(family)).collect()
    }
}

/// Exports at each `interval`, and once more when told to stop.
pub(super) async fn export(
    mut client: Client,
    source: Source,
    interval: Duration,
    meter: Arc<Meter>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let last = tokio::select! {
            () = tokio::time::sleep(interval) => false,
            () = stopped(&mut stop) => true,
        };
        if let Err(status) = client.send(source.read()).await {
            // A message of the collector's may repeat what we sent to it, headers included.
            meter.failed("metrics", &format_args!("{:?}", status.code()));
        }
        if last {
            return;
        }
    }
}

/// What a data point says of time.
#[derive(Clone, Copy)]
struct Interval {
    since: u64,
    now: u64,
}

impl Interval {
    fn metric(self, family: Snapshot) -> Option<Metric> {
        let data = match family.series.first()?.reading {
            Reading::Count(_) => metric::Data::Sum(Sum {
                data_points: self.numbers(family.series),
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
                is_monotonic: true,
            }),
            Reading::Level(_) | Reading::Measure(_) => {
                metric::Data::Gauge(Gauge { data_points: self.numbers(family.series) })
            }
            Reading::Distribution { .. } | Reading::Spread { .. } | Reading::Samples { .. } => {
                let points = family.series.into_iter().filter_map(|series| self.histogram(series));
                metric::Data::Histogram(Histogram {
                    data_points: points.collect(),
                    aggregation_temporality: AggregationTemporality::Cumulative.into(),
                })
            }
        };
        let unit = if family.name.ends_with("_seconds") { "s" } else { "" };
        Some(Metric {
            name: family.name.to_owned(),
            description: family.help.to_owned(),
            unit: unit.to_owned(),
            metadata: Vec::new(),
            data: Some(data),
        })
    }

    fn numbers(self, series: Vec<Series>) -> Vec<NumberDataPoint> {
        let point = |series: Series| NumberDataPoint {
            value: match series.reading {
                Reading::Count(n) => {
                    Some(number_data_point::Value::AsInt(i64::try_from(n).unwrap_or(i64::MAX)))
                }
                Reading::Level(n) => Some(number_data_point::Value::AsInt(n)),
                Reading::Measure(n) => Some(number_data_point::Value::AsDouble(n)),
                Reading::Distribution { .. } | Reading::Spread { .. } | Reading::Samples { .. } => None,
            },
            attributes: attributes(&series.labels),
            start_time_unix_nano: self.since,
            time_unix_nano: self.now,
            ..Default::default()
        };
        series.into_iter().map(point).collect()
    }

    fn histogram(self, series: Series) -> Option<HistogramDataPoint> {
        let (buckets, sum, bounds) = match series.reading {
            Reading::Distribution { buckets, sum } => {
                let bounds = BUCKETS.iter().map(|(bound, _)| bound.as_secs_f64()).collect();
                (buckets, sum.as_secs_f64(), bounds)
            }
            Reading::Spread { buckets, sum } => {
                (buckets, approximate(sum), BOUNDS.iter().copied().map(approximate).collect())
            }
            Reading::Samples { buckets, sum } => (buckets, sum, SAMPLES.to_vec()),
            _ => return None,
        };
        Some(HistogramDataPoint {
            attributes: attributes(&series.labels),
            start_time_unix_nano: self.since,
            time_unix_nano: self.now,
            count: buckets.iter().sum(),
            sum: Some(sum),
            bucket_counts: buckets,
            explicit_bounds: bounds,
            ..Default::default()
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "collectors have no other numbers for it")]
fn approximate(number: u64) -> f64 {
    number as f64
}

fn attributes(labels: &[(String, String)]) -> Vec<KeyValue> {
    labels.iter().map(|(key, value)| attribute(key, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

fn nanos(at: SystemTime) -> u64 {
    let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
