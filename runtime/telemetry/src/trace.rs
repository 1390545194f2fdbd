//! W3C trace context: what a `traceparent` and a `tracestate` say, and what we send on.
//!
//! Strict as the recommendation asks: a malformed `traceparent` is as good as none, and a malformed `tracestate` is
//! dropped while its `traceparent` stays.

use http::HeaderName;
use opentelemetry::trace::{SpanContext, TraceState};
pub use opentelemetry::{SpanId, TraceFlags, TraceId};

/// The headers, and the names under which events carry the same. `baggage` is passed on unread.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Level 2 of the recommendation: the trace id's right half is random.
const RANDOM: u8 = 0x02;
const KNOWN_FLAGS: u8 = 0x01 | RANDOM;
const HEADER_LEN: usize = 55;
const MAX_STATE_MEMBERS: usize = 32;
/// What we carry on of a `tracestate`. The recommendation asks for at least 512 bytes.
const MAX_STATE_BYTES: usize = 4096;

/// Where in a trace the caller (or, after [`TraceContext::child`], we) stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub flags: TraceFlags,
    /// A `tracestate` value that was checked, passed on unchanged.
    pub state: Option<Box<str>>,
}

impl TraceContext {
    /// Reads a `traceparent` header; `None` when it is not valid. A version above 00 is read as the parts 00 knows.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        let (head, rest) = bytes.split_at_checked(HEADER_LEN)?;
        let [v0, v1, b'-', ids @ .., b'-', f0, f1] = head else { return None };
        let [version] = hex([*v0, *v1].as_slice())?;
        match (version, rest) {
            (0xff, _) => return None,
            (0, []) => {}
            (0, _) => return None,
            (_, [] | [b'-', ..]) => {}
            _ => return None,
        }
        let (trace, span) = ids.split_at_checked(32)?;
        let trace_id = TraceId::from_bytes(hex(trace)?);
        let span_id = SpanId::from_bytes(hex(span.strip_prefix(b"-")?)?);
        let [flags] = hex([*f0, *f1].as_slice())?;
        if trace_id == TraceId::INVALID || span_id == SpanId::INVALID {
            return None;
        }
        // Flags we do not know are ours to clear: we send version 00.
        Some(Self { trace_id, span_id, flags: TraceFlags::new(flags & KNOWN_FLAGS), state: None })
    }

    /// Adds the `tracestate` that came along (several headers: joined by commas). An invalid one is left out.
    #[must_use]
    pub fn with_state(mut self, tracestate: &str) -> Self {
        let state = tracestate.trim_matches([' ', '\t']);
        self.state = is_state(state).then(|| state.into());
        self
    }

    /// Starts a trace.
    pub fn root(sampled: bool) -> Self {
        let sampled = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        Self {
            trace_id: TraceId::from(fastrand::u128(1..)),
            span_id: SpanId::from(fastrand::u64(1..)),
            flags: sampled | TraceFlags::new(RANDOM),
            state: None,
        }
    }

    /// The same trace with a span of our own, to send on.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: SpanId::from(fastrand::u64(1..)), ..self.clone() }
    }

    pub fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }

    /// The `traceparent` value.
    pub fn to_header(&self) -> String {
        String::from_utf8_lossy(&self.to_header_bytes()).into_owned()
    }

    /// The `traceparent` value without an allocation.
    pub fn to_header_bytes(&self) -> [u8; HEADER_LEN] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut header = [b'-'; HEADER_LEN];
        let trace = self.trace_id.to_bytes();
        let span = self.span_id.to_bytes();
        let flags = [self.flags.to_u8()];
        let fields: [(usize, &[u8]); 4] = [(0, &[0]), (3, &trace), (36, &span), (53, &flags)];
        for (at, bytes) in fields {
            let digits = bytes.iter().flat_map(|b| [b >> 4, b & 0xf]);
            for (slot, digit) in header.iter_mut().skip(at).zip(digits) {
                *slot = DIGITS.get(usize::from(digit)).copied().unwrap_or(b'0');
            }
        }
        header
    }

    /// The same in OpenTelemetry's words, for an exporter.
    pub fn to_span_context(&self) -> SpanContext {
        let state: TraceState =
            self.state.as_deref().and_then(|state| state.parse().ok()).unwrap_or_default();
        SpanContext::new(self.trace_id, self.span_id, self.flags, true, state)
    }
}

/// Lower-case hex of exactly `N` bytes, as the recommendation asks (upper case is invalid).
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let mut bytes = [0; N];
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The list of `key=value` members: at most 32, no key twice, empty members allowed.
fn is_state(state: &str) -> bool {
    if state.is_empty() || state.len() > MAX_STATE_BYTES {
        return false;
    }
    let mut keys: smallvec::SmallVec<[&str; 8]> = smallvec::SmallVec::new();
    for member in state.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let Some((key, value)) = member.split_once('=') else { return false };
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MAX_STATE_MEMBERS {
            return false;
        }
        keys.push(key);
    }
    !keys.is_empty()
}

/// `simple-key` or `tenant@system` of the recommendation, section 3.3.1.3.1.
fn is_key(key: &str) -> bool {
    let part = |part: &str, max: usize, digit_first: bool| {
        part.len() <= max
            && part
                .bytes()
                .next()
                .is_some_and(|b| b.is_ascii_lowercase() || digit_first && b.is_ascii_digit())
            && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    match key.split_once('@') {
        None => part(key, 256, true),
        Some((tenant, system)) => part(tenant, 241, true) && part(system, 14, false),
    }
}

/// Printable ASCII without comma and equals sign, at most 256, not ending in a space.
fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b',' && b != b'=')
        && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn reads_and_writes_the_specs_example() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.to_header(), GOOD);
        let child = context.child();
        assert_eq!(child.trace_id, context.trace_id);
        assert_ne!(child.span_id, context.span_id);
        assert!(child.is_sampled());
        assert!(TraceContext::parse(&TraceContext::root(false).to_header()).is_some_and(|c| !c.is_sampled()));
    }

    #[test]
    fn refuses_what_is_not_a_traceparent() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0G",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c80319c0-b7ad6b716920333-01",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_later_version_is_read_and_sent_on_as_ours() {
        let later = format!("cc{}-what-the-future-holds", &GOOD[2..]);
        assert_eq!(TraceContext::parse(&later).unwrap().to_header(), GOOD);
        let flags = format!("{}ff", &GOOD[..53]);
        assert_eq!(TraceContext::parse(&flags).unwrap().to_header(), format!("{}03", &GOOD[..53]));
    }

    #[test]
    fn keeps_a_good_state_and_drops_a_bad_one() {
        let kept = |state: &str| TraceContext::parse(GOOD).unwrap().with_state(state).state.is_some();
        let many = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
        for good in ["a=1", "a=1,b=2", "a=1 ,\tb=2", "a=1,,b=2", "fw529a3039@dt=FfffAAA", "0a=1", &many(32)] {
            assert!(kept(good), "{good}");
        }
        let long = format!("a={}", "v".repeat(257));
        for bad in
            ["", ",", "a", "A=1", "a=", "a=1,a=2", "a=b=c", "a@1b=1", "@a=1", "é=1", "a=é", &many(33), &long]
        {
            assert!(!kept(bad), "{bad}");
        }
    }
}
