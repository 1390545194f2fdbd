//! The time to live a caller puts into the metadata of a write.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger_component_api::{Error, Result};

const NAME: &str = "ttlInSeconds";
/// A hundred years: beyond it clocks and calendars give out.
const MOST: i64 = 36_525 * 24 * 60 * 60;

/// Reads `ttlInSeconds`, whatever its case. Zero and less mean that the value stays; what is not a whole number is
/// [`InvalidArgument`](outrigger_component_api::ErrorKind::InvalidArgument).
pub fn ttl(metadata: &BTreeMap<String, String>) -> Result<Option<Duration>> {
    let Some((_, value)) = metadata.iter().find(|(name, _)| name.eq_ignore_ascii_case(NAME)) else {
        return Ok(None);
    };
    let seconds: i64 = value
        .trim()
        .parse()
        .map_err(|_| Error::invalid(format!("metadata.{NAME} '{value}' is not a whole number")))?;
    lifetime(seconds)
        .ok_or_else(|| Error::invalid(format!("metadata.{NAME} '{value}' is more than a hundred years")))
}

/// The same of a number that is one.
pub fn ttl_of(seconds: u32) -> Result<Option<Duration>> {
    let too_long = || Error::invalid(format!("ttl {seconds} is more than a hundred years"));
    lifetime(seconds.into()).ok_or_else(too_long)
}

#[expect(clippy::option_option, reason = "a life that is too long, and one without an end")]
fn lifetime(seconds: i64) -> Option<Option<Duration>> {
    (seconds <= MOST).then(|| u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_positive_numbers_bound_a_life() {
        let read = |name: &str, value: &str| ttl(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
        let check = |name, value, seconds: Option<u64>| {
            assert_eq!(read(name, value).unwrap(), seconds.map(Duration::from_secs), "{name}={value}");
        };
        check("ttlInSeconds", "10", Some(10));
        check("ttlinseconds", " 10 ", Some(10));
        check("ttlInSeconds", "0", None);
        check("ttlInSeconds", "-1", None);
        check("other", "soon", None);
        assert_eq!(ttl_of(10).unwrap(), Some(Duration::from_secs(10)));
        assert_eq!(ttl_of(0).unwrap(), None);
        assert!(ttl_of(u32::MAX).unwrap_err().message().contains("hundred years"));
        for malformed in ["", "300000000000", "soon", "1.5", "10s", "9223372036854775808"] {
            assert!(
                read("ttlInSeconds", malformed).unwrap_err().message().contains("ttlInSeconds"),
                "{malformed}"
            );
        }
    }
}
