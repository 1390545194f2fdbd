//! What a request must be to be routed at all.

use http::{HeaderName, Method};
use outrigger_http::{RequestHead, Target};

use crate::error::ProxyError;
use crate::path::{CanonicalPath, canonical};
use crate::serving::HttpListener;

/// Counts the proxies a request has been through, so that one sent in a circle ends (RFC 9110 §7.6.3 asks for it).
const HOPS: HeaderName = HeaderName::from_static("x-outrigger-hops");
/// A request that has been through as many is refused with 508.
const MAX_HOPS: u8 = 10;

/// How many of us a request has been through. A forged count hurts only whoever forges it: one too high ends its own
/// request, one too low goes up from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hops(u8);

impl Hops {
    pub(super) fn of(head: &RequestHead) -> Result<Self, ProxyError> {
        let so_far = head.headers.get_str(&HOPS).map_or(Ok(0), str::parse);
        so_far.ok().filter(|so_far| *so_far < MAX_HOPS).map(Self).ok_or(ProxyError::Loop)
    }

    /// Counts this hop.
    pub(super) fn write_next(self, head: &mut RequestHead) {
        const COUNTS: [&str; MAX_HOPS as usize] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
        if let Some(count) = COUNTS.get(usize::from(self.0)) {
            head.headers.set_static(&HOPS, count);
        }
    }
}

/// The canonical path, or why there is none.
pub(super) fn path<'h>(
    listener: &HttpListener,
    head: &'h RequestHead,
) -> Result<CanonicalPath<'h>, ProxyError> {
    // An extended CONNECT (RFC 8441) has a path like any other request.
    if head.method == Method::CONNECT && head.protocol.is_none() {
        return Err(ProxyError::Connect);
    }
    if head.target == Target::Asterisk {
        return Ok(CanonicalPath { matched: "*".into(), rewritten: None, escaped_slash: false });
    }
    let path = canonical(head.path().as_bytes(), listener.path_mode)?;
    if path.escaped_slash
        && !listener.keep_escaped_slashes
        && listener.table.looks_at_paths(head.authority.host())
    {
        return Err(ProxyError::EscapedSlash);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::authority;

    #[test]
    fn a_circle_ends_after_ten_hops() {
        let mut head = RequestHead::new(Method::GET, authority("a").unwrap(), "/");
        for hop in 1..=10 {
            Hops::of(&head).unwrap().write_next(&mut head);
            assert_eq!(head.headers.get_str(&HOPS), Some(hop.to_string().as_str()));
        }
        assert!(matches!(Hops::of(&head), Err(ProxyError::Loop)));
        for forged in ["-1", "300", "x", ""] {
            head.headers.set(&HOPS, forged).unwrap();
            assert!(Hops::of(&head).is_err(), "{forged}");
        }
    }
}
