//! Refuses requests beyond a rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::RETRY_AFTER;
use outrigger_resilience::{TokenBucket, TokenBucketConfig};

use crate::chain::Buckets;
use crate::config::Problem;
use crate::head::RequestHead;
use crate::message::Response;
use crate::reply;

/// A burst, and the rate it is refilled at. One bucket for the route, shared by all workers.
pub type RateLimitConfig = TokenBucketConfig;

#[derive(Debug, Clone)]
pub struct RateLimit(Arc<TokenBucket>);

impl RateLimit {
    pub(crate) fn compile(
        config: &RateLimitConfig,
        route: &str,
        previous: &Buckets,
        kept: &mut Buckets,
    ) -> Result<Self, Problem> {
        config.validate().map_err(|message| Problem::new("", message))?;
        Ok(Self(kept.intern(previous, route, config, Instant::now())))
    }

    pub(crate) fn request(&self, head: &RequestHead, now: Instant) -> Option<Response> {
        let wait = self.0.take(1, now).err()?;
        let mut response =
            reply::to(head, StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests");
        // Digits are a valid value.
        let _ = response.head.headers.set(&RETRY_AFTER, whole_seconds(wait).to_string());
        Some(response)
    }
}

/// Rounded up: a client that waits as long as it is told is let in.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_beyond_the_burst_and_says_when_to_come_back() {
        let config = RateLimitConfig { capacity: 2, refill_per_second: 0.5 };
        let limit = RateLimit::compile(&config, "r", &Buckets::default(), &mut Buckets::default()).unwrap();
        let head = RequestHead::new(http::Method::GET, "a".parse().unwrap(), "/");
        let now = Instant::now() + Duration::from_secs(1);
        assert!(limit.request(&head, now).is_none());
        assert!(limit.request(&head, now).is_none());
        let refused = limit.request(&head, now).unwrap();
        assert_eq!(refused.head.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.head.headers.get(&RETRY_AFTER), Some(b"2".as_slice()));
        assert!(limit.request(&head, now + Duration::from_secs(2)).is_none());
    }
}
