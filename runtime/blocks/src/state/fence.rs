//! The fencing token a caller puts into the metadata of a write.

use std::collections::BTreeMap;

use outrigger_component_api::{Error, Result};

const NAME: &str = "fencingToken";

/// Reads `fencingToken`, whatever its case: the number a lock gave its holder. What is not one is
/// [`InvalidArgument`](outrigger_component_api::ErrorKind::InvalidArgument).
pub fn fence(metadata: &BTreeMap<String, String>) -> Result<Option<u64>> {
    let Some((_, value)) = metadata.iter().find(|(name, _)| name.eq_ignore_ascii_case(NAME)) else {
        return Ok(None);
    };
    let token = value.trim().parse();
    token
        .map(Some)
        .map_err(|_| Error::invalid(format!("metadata.{NAME} '{value}' is not the token of a lock")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_number() {
        let read = |name: &str, value: &str| fence(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
        assert_eq!(read("fencingToken", "7").unwrap(), Some(7));
        assert_eq!(read("fencingtoken", " 18446744073709551615 ").unwrap(), Some(u64::MAX));
        assert_eq!(read("other", "7").unwrap(), None);
        for malformed in ["", "-1", "1.5", "seven", "18446744073709551616"] {
            assert!(
                read("fencingToken", malformed).unwrap_err().message().contains("fencingToken"),
                "{malformed}"
            );
        }
    }
}
