//! Why we answered and no upstream, in the bits Envoy has for it.

/// Those that a reason of ours stands for. None for what Envoy has no bit for.
pub(crate) fn of_reason(reason: &str) -> u64 {
    match reason {
        "no_endpoint" | "no_healthy_endpoint" => NO_HEALTHY_UPSTREAM,
        "timeout" | "per_try_timeout" => REQUEST_TIMEOUT,
        "upstream_refused" => REMOTE_RESET,
        "connect_failed" | "connect_timeout" | "upstream_tls" => CONNECTION_FAILURE,
        "upstream_reset" | "upstream_reset_before_request" => CONNECTION_TERMINATION,
        "overflow" | "breaker_open" => OVERFLOW,
        "no_route" => NO_ROUTE,
        "fault_injected" => FAULT_INJECTED,
        "rate_limited" => RATE_LIMITED,
        "upstream_protocol" | "upstream_websocket" => PROTOCOL_ERROR,
        _ => 0,
    }
}

const NO_HEALTHY_UPSTREAM: u64 = 1 << 1;
const REQUEST_TIMEOUT: u64 = 1 << 2;
const REMOTE_RESET: u64 = 1 << 4;
const CONNECTION_FAILURE: u64 = 1 << 5;
const CONNECTION_TERMINATION: u64 = 1 << 6;
const OVERFLOW: u64 = 1 << 7;
const NO_ROUTE: u64 = 1 << 8;
const FAULT_INJECTED: u64 = 1 << 10;
const RATE_LIMITED: u64 = 1 << 11;
const PROTOCOL_ERROR: u64 = 1 << 23;
