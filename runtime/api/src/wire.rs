//! What gRPC puts into headers: the caller's deadline and its place in a trace.

use std::time::{Duration, Instant};

use outrigger_blocks::{Caller, Deadline};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::trace;

/// The caller a request's metadata describes.
pub(crate) fn caller<'a>(app_id: &'a str, metadata: &MetadataMap) -> Result<Caller<'a>, Status> {
    let deadline = match metadata.get("grpc-timeout") {
        None => Deadline::NEVER,
        Some(value) => {
            let timeout = value.to_str().ok().and_then(timeout);
            let timeout = timeout.ok_or_else(|| Status::invalid_argument("grpc-timeout is malformed"))?;
            Deadline::after(Instant::now(), timeout)
        }
    };
    Ok(Caller { deadline, trace: trace::sent_along(metadata.as_ref()), ..Caller::new(app_id) })
}

/// At most eight digits and a unit, as "gRPC over HTTP2" has it.
fn timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        let check = |value, expected| assert_eq!(timeout(value), expected, "{value}");
        check("1H", Some(Duration::from_secs(3600)));
        check("2M", Some(Duration::from_secs(120)));
        check("99999999S", Some(Duration::from_secs(99_999_999)));
        check("20m", Some(Duration::from_millis(20)));
        check("3u", Some(Duration::from_micros(3)));
        check("0n", Some(Duration::ZERO));
        for malformed in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", " 1S", "1é"] {
            check(malformed, None);
        }
    }

    #[test]
    fn a_caller_has_what_it_sent() {
        let mut metadata = MetadataMap::new();
        let plain = caller("orders", &metadata).unwrap();
        assert_eq!((plain.app_id, plain.deadline, plain.trace), ("orders", Deadline::NEVER, None));
        metadata.insert("grpc-timeout", "20m".parse().unwrap());
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        metadata.insert("traceparent", parent.parse().unwrap());
        let sent = caller("orders", &metadata).unwrap();
        assert!(sent.deadline.remaining(Instant::now()).unwrap() <= Duration::from_millis(20));
        assert_eq!(sent.trace.unwrap().to_header(), parent);
        metadata.insert("grpc-timeout", "soon".parse().unwrap());
        assert!(caller("orders", &metadata).unwrap_err().message().contains("grpc-timeout"));
    }
}
