//! Host names a route asks for.

use std::fmt;

use bytes::Bytes;
use outrigger_http::Authority;

/// Hosts in canonical form: lower case, without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum HostPattern {
    /// This very host.
    Exact(Box<str>),
    /// `*.name`: everything below the name, at any depth, but not the name itself.
    Below(Box<str>),
    Any,
}

impl HostPattern {
    /// Reads `shop.example`, `*.shop.example` or `*`; the error says what is wrong with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix('*') {
            Some("") => Ok(Self::Any),
            Some(rest) => match rest.strip_prefix('.') {
                Some(parent) => canonical(parent).map(Self::Below),
                None => Err(format!("`{text}`: a wildcard stands for whole labels, as in `*.shop.example`")),
            },
            None => canonical(text).map(Self::Exact),
        }
    }
}

fn canonical(name: &str) -> Result<Box<str>, String> {
    let authority = Authority::parse(Bytes::copy_from_slice(name.as_bytes()))
        .map_err(|_| format!("`{name}` is not a host name"))?;
    if authority.port().is_some() || name.ends_with(':') {
        return Err(format!("`{name}`: routes match hosts without their port; leave it out"));
    }
    if name.contains('*') {
        return Err(format!("`{name}`: a wildcard stands at the beginning, as in `*.shop.example`"));
    }
    Ok(authority.host().into())
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_in_canonical_form() {
        let check =
            |text: &str, expected: &str| assert_eq!(HostPattern::parse(text).unwrap().to_string(), expected);
        check("Shop.Example", "shop.example");
        check("shop.example.", "shop.example");
        check("*.Shop.example", "*.shop.example");
        check("*", "*");
        check("[::1]", "[::1]");
        check("127.0.0.1", "127.0.0.1");
    }

    #[test]
    fn mistakes_are_explained() {
        let check = |text: &str, hint: &str| {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        };
        check("shop.example:8080", "without their port");
        check("*shop.example", "whole labels");
        check("shop.*.example", "at the beginning");
        check("a b", "not a host name");
        check("", "not a host name");
        check("*.", "not a host name");
    }
}
