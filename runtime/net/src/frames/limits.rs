//! What a peer may do, what it is called when it does more, and how that is counted.

use std::fmt;

use outrigger_telemetry::{Counter, Metrics};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Budgets of one HTTP/2 connection. The defaults leave room for every client we know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FloodLimits {
    /// Requests before the share of those the client reset at once is looked at. Default 200.
    pub rapid_reset_after: u32,
    /// Percent of requests a client may reset within a second and before we answered. Default 50.
    pub rapid_reset_percent: u32,
    /// Such resets allowed within one second whatever their share. Default 500.
    pub rapid_reset_burst: u32,
    /// Stream errors a client may make us send, per second (CVE-2025-8671). Default 30.
    pub stream_errors_per_second: u32,
    /// The same at once. Default 200.
    pub stream_errors_burst: u32,
    /// CONTINUATION frames of one header block. Default 8.
    pub continuation_frames: u32,
    /// Bytes of one header block as sent, before decompression. Default 32 KiB.
    pub header_block_bytes: u32,
    /// PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, late RST_STREAM and unknown frames, of each kind per
    /// second. What answers frames of ours is not counted. Default 100.
    pub control_frames_per_second: u32,
    /// Added to that for each open stream, except for PING and SETTINGS. Default 10.
    pub control_frames_per_stream: u32,
    /// WINDOW_UPDATE frames allowed for each DATA frame we sent. Default 10.
    pub window_updates_per_data: u32,
}

impl Default for FloodLimits {
    fn default() -> Self {
        Self {
            rapid_reset_after: 200,
            rapid_reset_percent: 50,
            rapid_reset_burst: 500,
            stream_errors_per_second: 30,
            stream_errors_burst: 200,
            continuation_frames: 8,
            header_block_bytes: 32 * 1024,
            control_frames_per_second: 100,
            control_frames_per_stream: 10,
            window_updates_per_data: 10,
        }
    }
}

/// What a peer did too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    RapidReset,
    MadeYouReset,
    Continuation,
    Ping,
    Settings,
    Priority,
    WindowUpdate,
    EmptyData,
    /// RST_STREAM on streams that are closed.
    LateReset,
    UnknownFrame,
    /// One stream's window stayed shut; only the stream is reset.
    StalledStream,
    /// The client stopped reading, or kept the connection's window shut.
    StalledConnection,
    /// The HTTP/2 library sent ENHANCE_YOUR_CALM by a rule of its own.
    Codec,
}

impl Flood {
    const ALL: [Self; 13] = [
        Self::RapidReset,
        Self::MadeYouReset,
        Self::Continuation,
        Self::Ping,
        Self::Settings,
        Self::Priority,
        Self::WindowUpdate,
        Self::EmptyData,
        Self::LateReset,
        Self::UnknownFrame,
        Self::StalledStream,
        Self::StalledConnection,
        Self::Codec,
    ];

    /// The metric's label, also sent as GOAWAY's debug data.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid_reset",
            Self::MadeYouReset => "made_you_reset",
            Self::Continuation => "continuation",
            Self::Ping => "ping",
            Self::Settings => "settings",
            Self::Priority => "priority",
            Self::WindowUpdate => "window_update",
            Self::EmptyData => "empty_data",
            Self::LateReset => "late_reset",
            Self::UnknownFrame => "unknown_frame",
            Self::StalledStream => "stalled_stream",
            Self::StalledConnection => "stalled_connection",
            Self::Codec => "codec",
        }
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http/2 flood: {}", self.as_str())
    }
}

impl std::error::Error for Flood {}

/// `outrigger_http2_floods_total{kind}`.
#[derive(Clone, Debug)]
pub struct FloodCounters([Counter; Flood::ALL.len()]);

impl Default for FloodCounters {
    /// Counters that belong to no registry, for tests and connections that came through no acceptor.
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::detached()))
    }
}

impl FloodCounters {
    pub fn new(metrics: &Metrics) -> Self {
        let family = metrics.counter(
            "outrigger_http2_floods_total",
            "HTTP/2 connections (streams, for stalled_stream) ended for what the client did too much of.",
            &["kind"],
        );
        Self(Flood::ALL.map(|flood| family.with(&[flood.as_str()])))
    }

    pub(super) fn count(&self, flood: Flood) {
        let place = Flood::ALL.iter().position(|other| *other == flood);
        if let Some(counter) = place.and_then(|i| self.0.get(i)) {
            counter.inc();
        }
    }
}
