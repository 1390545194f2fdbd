//! Delays or fails a share of requests, to see how the rest of the system takes it.

use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Problem;
use crate::head::RequestHead;
use crate::message::Response;
use crate::reply;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FaultConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub duration: Duration,
    /// Share of requests, 0 to 100.
    pub percent: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// 200 to 599.
    pub status: u16,
    /// Share of requests, 0 to 100.
    pub percent: f64,
}

#[derive(Debug, Clone)]
pub struct Fault {
    delay: Option<(Duration, f64)>,
    abort: Option<(StatusCode, f64)>,
}

impl Fault {
    pub(crate) fn compile(config: &FaultConfig) -> Result<Self, Problem> {
        let share = |percent: f64, path: &str| {
            if (0.0..=100.0).contains(&percent) {
                Ok(percent / 100.0)
            } else {
                Err(Problem::new(path, "must be between 0 and 100"))
            }
        };
        let delay =
            config.delay.as_ref().map(|delay| Ok((delay.duration, share(delay.percent, "delay.percent")?)));
        let abort = config.abort.as_ref().map(|abort| {
            let status = StatusCode::from_u16(abort.status)
                .ok()
                .filter(|status| (200..600).contains(&status.as_u16()));
            let status = status.ok_or_else(|| Problem::new("abort.status", "must be between 200 and 599"))?;
            Ok((status, share(abort.percent, "abort.percent")?))
        });
        Ok(Self { delay: delay.transpose()?, abort: abort.transpose()? })
    }

    pub(crate) async fn request(&self, head: &RequestHead) -> Option<Response> {
        if let Some((duration, share)) = self.delay
            && fastrand::f64() < share
        {
            tokio::time::sleep(duration).await;
        }
        let (status, share) = self.abort?;
        (fastrand::f64() < share).then(|| reply::to(head, status, "fault_injected", "fault injected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn delays_and_aborts_its_share() {
        let head = RequestHead::new(http::Method::GET, "a".parse().unwrap(), "/");
        let config = FaultConfig {
            delay: Some(Delay { duration: Duration::from_secs(3), percent: 100.0 }),
            abort: Some(Abort { status: 503, percent: 100.0 }),
        };
        let before = tokio::time::Instant::now();
        let answer = Fault::compile(&config).unwrap().request(&head).await.unwrap();
        assert_eq!((answer.head.status.as_u16(), before.elapsed().as_secs()), (503, 3));

        let none = FaultConfig { abort: Some(Abort { status: 503, percent: 0.0 }), delay: None };
        assert!(Fault::compile(&none).unwrap().request(&head).await.is_none());
        let half = FaultConfig { abort: Some(Abort { status: 503, percent: 50.0 }), delay: None };
        let half = Fault::compile(&half).unwrap();
        let mut aborted = 0;
        for _ in 0..1000 {
            aborted += u32::from(half.request(&head).await.is_some());
        }
        assert!((400..600).contains(&aborted), "{aborted}");
    }
}
