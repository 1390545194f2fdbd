//! The section `telemetry`: where traces and metrics go. What it leaves out is taken from OpenTelemetry's variables.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use outrigger_component_api::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where traces and metrics go. Metrics are also at `/metrics` of the admin listener, whatever stands here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What we are called there. Default: `OTEL_SERVICE_NAME`, else `app.id`, else `outrigger`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Spans of API calls, component calls, proxied requests and their attempts.
    pub traces: TracesConfig,
    /// The metrics of `/metrics`.
    pub metrics: MetricsConfig,
}

/// Spans and their export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// Where to. Default: `OTEL_EXPORTER_OTLP_ENDPOINT`, else nowhere, and no span is built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpConfig>,
    /// The share of traces begun here that are sampled, 0 to 1. A caller's decision is kept. Default: what
    /// `OTEL_TRACES_SAMPLER` says, else 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub sample: Option<f64>,
    /// Spans that may wait for export; those beyond are dropped and counted. Default 2048.
    #[schemars(range(min = 1))]
    pub queue: usize,
}

/// Metrics and their export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Where to. Default: `OTEL_EXPORTER_OTLP_ENDPOINT`, else nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpConfig>,
    /// How often. Default 60 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub interval: Duration,
}

/// A collector that speaks OTLP over gRPC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpConfig {
    /// `http://127.0.0.1:4317`, or `https://…` with `ca`.
    pub endpoint: String,
    /// Sent with every export; often they authenticate. Default: those in `OTEL_EXPORTER_OTLP_HEADERS`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// The longest one export may take. Default 10 s.
    #[serde(default = "timeout", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// PEM file with the authorities we trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

fn timeout() -> Duration {
    Duration::from_secs(10)
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self { otlp: None, sample: None, queue: 2048 }
    }
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { otlp: None, interval: Duration::from_secs(60) }
    }
}
