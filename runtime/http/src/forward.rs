//! What a proxy must take off a message, and what it adds, before it passes the message on.

use std::net::IpAddr;
use std::str::FromStr;

use http::header::{CONNECTION, HeaderName, TE, UPGRADE};
use outrigger_net::{ConnInfo, Peer};
use smallvec::SmallVec;

use crate::head::RequestHead;
use crate::headers::Headers;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Removes the fields that concern one connection only (RFC 9110 §7.6.1): those `Connection` names, and those known
/// to be so whether it names them or not. An upgrade (`Connection: upgrade` and `Upgrade`) is kept when `keep_upgrade`.
///
/// Fields a client may not take off by naming them stay: `Host`, and what frames, routes or authenticates.
pub fn strip_hop_by_hop(headers: &mut Headers, keep_upgrade: bool) {
    if !headers.iter().any(|(name, _)| is_hop_by_hop(name)) {
        return;
    }
    let mut named = SmallVec::<[Vec<u8>; 2]>::new();
    let usual = |token: &[u8]| {
        [b"keep-alive".as_slice(), b"close", b"upgrade"].iter().any(|known| token.eq_ignore_ascii_case(known))
    };
    // Most say one of those and nothing else.
    for value in headers.get_all(&CONNECTION).filter(|value| !usual(value)) {
        let tokens = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let others = tokens.filter(|token| !token.is_empty() && !usual(token) && !is_protected(token));
        named.extend(others.map(<[u8]>::to_vec));
    }
    let upgrade = keep_upgrade && headers.has_token(&CONNECTION, "upgrade") && headers.contains(&UPGRADE);
    // RFC 9110 §10.1.4: of `TE`, only `trailers` has a meaning beyond one hop, and gRPC needs it.
    let trailers = headers.has_token(&TE, "trailers");
    headers.remove_where(|name| {
        let kept = upgrade && name.eq_ignore_ascii_case(b"upgrade");
        (is_hop_by_hop(name) && !kept) || named.iter().any(|token| name.eq_ignore_ascii_case(token))
    });
    if trailers {
        headers.set_static(&TE, "trailers");
    }
    if upgrade {
        headers.set_static(&CONNECTION, "upgrade");
    }
}

/// Fields that concern one connection whoever says so.
#[inline]
fn is_hop_by_hop(name: &[u8]) -> bool {
    let known: &[&[u8]] = match name.len() {
        2 => &[b"te"],
        7 => &[b"upgrade"],
        10 => &[b"connection", b"keep-alive"],
        16 => &[b"proxy-connection"],
        17 => &[b"transfer-encoding"],
        _ => return false,
    };
    known.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_protected(token: &[u8]) -> bool {
    const PROTECTED: &[&str] = &[
        "host",
        "trailer",
        "authorization",
        "cookie",
        "content-length",
        "content-type",
        "content-encoding",
        "cache-control",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-request-id",
    ];
    PROTECTED.iter().any(|name| token.eq_ignore_ascii_case(name.as_bytes()))
}

/// Peers whose word about the original client is believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedPeers(Vec<TrustedPeer>);

/// An address, a network, or every peer on a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedPeer {
    Unix,
    Network { address: IpAddr, bits: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an address, a network such as 10.0.0.0/8, or unix")]
pub struct InvalidPeer;

impl FromStr for TrustedPeer {
    type Err = InvalidPeer;

    fn from_str(text: &str) -> Result<Self, InvalidPeer> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidPeer)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| InvalidPeer))?;
        if bits > most { Err(InvalidPeer) } else { Ok(Self::Network { address, bits }) }
    }
}

impl TrustedPeers {
    /// From the strings of a configuration that has been checked.
    pub fn compile(peers: &[String]) -> Result<Self, InvalidPeer> {
        peers.iter().map(|peer| peer.parse()).collect::<Result<_, _>>().map(Self)
    }

    #[must_use]
    pub fn contains(&self, peer: &Peer) -> bool {
        self.0.iter().any(|trusted| match (trusted, peer.ip()) {
            (TrustedPeer::Unix, ip) => ip.is_none(),
            (TrustedPeer::Network { address, bits }, Some(ip)) => is_inside(*address, *bits, ip),
            (TrustedPeer::Network { .. }, None) => false,
        })
    }
}

fn is_inside(network: IpAddr, bits: u8, ip: IpAddr) -> bool {
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            same_prefix(u32::from(network).into(), u32::from(ip).into(), 32, bits)
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => same_prefix(network.into(), ip.into(), 128, bits),
        _ => false,
    }
}

fn same_prefix(a: u128, b: u128, width: u32, bits: u8) -> bool {
    // Shifting by the whole width of the type is undefined; no bits in common is always true.
    (a ^ b).checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

/// Says who the client is: drops what an untrusted peer claims about that, then adds what we know.
pub fn forwarded(head: &mut RequestHead, conn: &ConnInfo, trusted: bool) {
    if !trusted {
        head.headers.remove_where(is_claim);
    }
    let RequestHead { headers, authority, .. } = head;
    let client = client(&conn.peer);
    // Only a trusted peer's word is still there.
    let says = |headers: &Headers, name: &HeaderName| trusted && headers.contains(name);
    let join =
        || headers.joined(&X_FORWARDED_FOR).map(|earlier| [&earlier, b", ".as_slice(), &client].concat());
    let chain = if trusted { join() } else { None };
    // All three are made of addresses, schemes and validated hosts, so none can be an invalid value.
    let _ = match chain {
        Some(chain) => headers.set(&X_FORWARDED_FOR, chain),
        None => headers.append(&X_FORWARDED_FOR, client),
    };
    if !says(headers, &X_FORWARDED_PROTO) {
        headers.append_static(&X_FORWARDED_PROTO, if conn.tls.is_some() { "https" } else { "http" });
    }
    if !says(headers, &X_FORWARDED_HOST) && !authority.is_empty() {
        let _ = headers.append(&X_FORWARDED_HOST, authority.as_bytes());
    }
}

/// The client's address in text. Formatting an IPv4 address in the usual way would cost more than all of the above.
fn client(peer: &Peer) -> SmallVec<[u8; 40]> {
    let mut text = SmallVec::new();
    match peer.ip() {
        None => text.extend_from_slice(b"unix"),
        Some(IpAddr::V4(ip)) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    text.push(b'.');
                }
                text.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        Some(IpAddr::V6(ip)) => text.extend_from_slice(ip.to_string().as_bytes()),
    }
    text
}

/// Fields by which a client could pretend to be somebody else, or to be us. Trace context is handled by tracing.
fn is_claim(name: &[u8]) -> bool {
    const NAMES: &[&str] = &[
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-request-id",
    ];
    const PREFIXES: &[&str] = &["x-forwarded-", "x-envoy-", "x-outrigger-"];
    let starts = |prefix: &&str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    name.first().is_some_and(|first| matches!(first | 0x20, b'f' | b't' | b'x'))
        && (PREFIXES.iter().any(starts)
            || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())))
}

/// Gives the request an `x-request-id` unless a trusted peer has; 128 random bits.
pub fn request_id(headers: &mut Headers) {
    if headers.contains(&X_REQUEST_ID) {
        return;
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bits = fastrand::u128(..);
    let id: [u8; 32] = std::array::from_fn(|_| {
        let digit = DIGITS.get((bits & 0xf) as usize).copied().unwrap_or(b'0');
        bits >>= 4;
        digit
    });
    // Hexadecimal digits are a valid value.
    let _ = headers.set(&X_REQUEST_ID, id);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(&HeaderName::from_static(name), value).unwrap();
        }
        headers
    }

    fn names(headers: &Headers) -> Vec<String> {
        headers.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn hop_by_hop_fields_stay_on_their_hop() {
        let mut fields = headers(&[
            ("connection", "close, X-Hop, host, x-forwarded-for"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("proxy-connection", "x"),
            ("te", "gzip, trailers"),
            ("upgrade", "websocket"),
            ("host", "h"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-end", "1"),
        ]);
        strip_hop_by_hop(&mut fields, true);
        assert_eq!(names(&fields), ["host", "x-forwarded-for", "x-end", "te"]);
        assert_eq!(fields.get(&TE), Some(b"trailers".as_slice()));
    }

    #[test]
    fn an_upgrade_survives_only_when_asked() {
        let original = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        let mut kept = original.clone();
        strip_hop_by_hop(&mut kept, true);
        assert_eq!(names(&kept), ["upgrade", "connection"]);
        let mut dropped = original;
        strip_hop_by_hop(&mut dropped, false);
        assert!(dropped.is_empty());
    }

    #[test]
    fn claims_are_recognised() {
        for claim in [
            "X-Forwarded-For",
            "x-envoy-internal",
            "Forwarded",
            "X-Real-IP",
            "x-outrigger-reason",
            "X-REQUEST-ID",
        ] {
            assert!(is_claim(claim.as_bytes()), "{claim}");
        }
        for harmless in ["x-custom", "from", "te", "x-forwarded", "accept"] {
            assert!(!is_claim(harmless.as_bytes()), "{harmless}");
        }
    }

    #[test]
    fn clients_are_named_by_their_address() {
        for ip in ["0.0.0.0", "10.9.100.255", "2001:db8::1"] {
            let peer = Peer::Tcp(std::net::SocketAddr::new(ip.parse().unwrap(), 1));
            assert_eq!(client(&peer).as_slice(), ip.as_bytes());
        }
        let mapped = Peer::Tcp("[::ffff:1.2.3.4]:1".parse().unwrap());
        assert_eq!(client(&mapped).as_slice(), b"1.2.3.4");
        assert_eq!(client(&Peer::Unix).as_slice(), b"unix");
    }

    #[test]
    fn networks_are_matched_by_prefix() {
        let check = |network: &str, ip: &str, expected| {
            let TrustedPeer::Network { address, bits } = network.parse().unwrap() else {
                panic!("a network")
            };
            assert_eq!(is_inside(address, bits, ip.parse().unwrap()), expected, "{network} {ip}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("::1", "::1", true);
        check("::/0", "::1", true);
        check("fd00::/8", "fe00::1", false);
        check("0.0.0.0/0", "::1", false);
        for bad in ["10.0.0.0/33", "x", "", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<TrustedPeer>(), Err(InvalidPeer), "{bad}");
        }
    }
}
