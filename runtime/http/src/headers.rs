//! Header fields in the two shapes they arrive in, behind one set of operations.

use std::borrow::Cow;

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};

mod field;
mod wire;

pub use field::FieldName;
pub use wire::WireHeaders;
pub(crate) use wire::write_line;

/// The fields of one message.
///
/// HTTP/1 yields [`Headers::Wire`]: one piece of text, places in it, order and case kept, so that a request can be
/// forwarded without building a map. HTTP/2 and in-process services yield [`Headers::Map`].
#[derive(Debug, Clone)]
pub enum Headers {
    Wire(WireHeaders),
    Map(HeaderMap),
}

/// The value holds a byte no header value may carry (a control other than tab, or DEL).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header value may not contain control characters")]
pub struct InvalidValue;

impl Default for Headers {
    fn default() -> Self {
        Self::new()
    }
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Self {
        Self::Map(map)
    }
}

impl Headers {
    #[must_use]
    pub fn new() -> Self {
        Self::Wire(WireHeaders::default())
    }

    /// The first value of `name`; the lookup ignores case.
    #[must_use]
    pub fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        match self {
            Self::Wire(wire) => wire.get(name.as_str()),
            Self::Map(map) => map.get(name).map(HeaderValue::as_bytes),
        }
    }

    /// The first value of `name` when it is text.
    #[must_use]
    pub fn get_str(&self, name: &HeaderName) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> + 'a {
        match self {
            Self::Wire(wire) => Either::Wire(wire.get_all(name.as_str())),
            Self::Map(map) => Either::Map(map.get_all(name).iter().map(HeaderValue::as_bytes)),
        }
    }

    /// Every value of `name` as a security rule must see it: all of them, joined by `, ` (a rule that reads only
    /// the first value can be walked around with a second one).
    #[must_use]
    pub fn joined<'a>(&'a self, name: &'a HeaderName) -> Option<Cow<'a, [u8]>> {
        let mut values = self.get_all(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(first.into()) };
        let mut all = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            all.extend_from_slice(b", ");
            all.extend_from_slice(value);
        }
        Some(all.into())
    }

    /// The members of a comma-separated field, trimmed, across all its lines; empty members are left out.
    pub fn list<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.get_all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// Whether a comma-separated field has `token` among its members, ignoring case.
    #[must_use]
    pub fn has_token(&self, name: &HeaderName, token: &str) -> bool {
        self.list(name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }

    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// Fields as they will be sent: name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        match self {
            Self::Wire(wire) => Either::Wire(wire.iter()),
            Self::Map(map) => Either::Map(map.iter().map(|(n, v)| (n.as_str().as_bytes(), v.as_bytes()))),
        }
    }

    /// Writes the fields for which `keep` says so as HTTP/1 has them, in order.
    pub(crate) fn write_lines(&self, out: &mut BytesMut, keep: impl Fn(&[u8]) -> bool) {
        match self {
            Self::Wire(wire) => wire.write_lines(out, keep),
            Self::Map(_) => {
                for (name, value) in self.iter().filter(|(name, _)| keep(name)) {
                    write_line(out, name, value);
                }
            }
        }
    }

    /// Number of fields, repeated ones counted.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Wire(wire) => wire.len(),
            Self::Map(map) => map.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No fewer than all names and values have; of those of a [`Headers::Wire`] it takes no look at each.
    #[must_use]
    pub fn bytes_at_most(&self) -> usize {
        match self {
            Self::Wire(wire) => wire.text_len(),
            Self::Map(map) => map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
        }
    }

    /// Removes every field called `name`; says whether there was one.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        match self {
            Self::Wire(wire) => wire.remove(name.as_str().as_bytes()),
            Self::Map(map) => map.remove(name).is_some(),
        }
    }

    /// Removes every field for which `drop` says so; names are as received, so compare without case.
    pub fn remove_where(&mut self, mut drop: impl FnMut(&[u8]) -> bool) {
        match self {
            Self::Wire(wire) => wire.remove_where(drop),
            Self::Map(map) => {
                let names: Vec<HeaderName> =
                    map.keys().filter(|name| drop(name.as_str().as_bytes())).cloned().collect();
                for name in names {
                    map.remove(name);
                }
            }
        }
    }

    /// Replaces every field called `name` by one.
    pub fn set(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) -> Result<(), InvalidValue> {
        let value = value.as_ref();
        match self {
            Self::Wire(wire) => {
                check_value(value)?;
                wire.remove(name.as_str().as_bytes());
                wire.append(name.as_str().as_bytes(), value);
            }
            Self::Map(map) => {
                map.insert(name, HeaderValue::from_bytes(value).map_err(|_| InvalidValue)?);
            }
        }
        Ok(())
    }

    /// Adds one more field called `name`.
    pub fn append(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) -> Result<(), InvalidValue> {
        let value = value.as_ref();
        match self {
            Self::Wire(wire) => {
                check_value(value)?;
                wire.append(name.as_str().as_bytes(), value);
            }
            Self::Map(map) => {
                map.append(name, HeaderValue::from_bytes(value).map_err(|_| InvalidValue)?);
            }
        }
        Ok(())
    }

    /// [`set`](Self::set) for a value already known to be valid.
    pub fn set_value(&mut self, name: &HeaderName, value: &HeaderValue) {
        match self {
            Self::Wire(wire) => {
                wire.remove(name.as_str().as_bytes());
                wire.append(name.as_str().as_bytes(), value.as_bytes());
            }
            Self::Map(map) => {
                map.insert(name, value.clone());
            }
        }
    }

    /// [`append`](Self::append) for a value already known to be valid.
    pub fn append_value(&mut self, name: &HeaderName, value: &HeaderValue) {
        match self {
            Self::Wire(wire) => wire.append(name.as_str().as_bytes(), value.as_bytes()),
            Self::Map(map) => {
                map.append(name, value.clone());
            }
        }
    }

    /// [`set`](Self::set) for a literal.
    pub fn set_static(&mut self, name: &HeaderName, value: &'static str) {
        self.remove(name);
        self.append_static(name, value);
    }

    /// [`append`](Self::append) for a literal.
    pub fn append_static(&mut self, name: &HeaderName, value: &'static str) {
        match self {
            Self::Wire(wire) => {
                debug_assert_eq!(check_value(value.as_bytes()), Ok(()));
                wire.append(name.as_str().as_bytes(), value.as_bytes());
            }
            Self::Map(map) => {
                map.append(name, HeaderValue::from_static(value));
            }
        }
    }

    /// As a map, for HTTP/2 and in-process services. Values share one buffer.
    #[must_use]
    pub fn into_map(self) -> HeaderMap {
        match self {
            Self::Wire(wire) => wire.into_map(),
            Self::Map(map) => map,
        }
    }
}

/// What iterates over one shape or the other.
enum Either<W, M> {
    Wire(W),
    Map(M),
}

impl<T, W: Iterator<Item = T>, M: Iterator<Item = T>> Iterator for Either<W, M> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match self {
            Self::Wire(wire) => wire.next(),
            Self::Map(map) => map.next(),
        }
    }
}

/// RFC 9110 §5.5: visible characters, space, tab and bytes above 0x7f.
fn check_value(value: &[u8]) -> Result<(), InvalidValue> {
    if value.iter().all(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f)) {
        Ok(())
    } else {
        Err(InvalidValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT, CONNECTION, COOKIE, HOST};

    fn both() -> [Headers; 2] {
        [Headers::new(), Headers::Map(HeaderMap::new())]
    }

    #[test]
    fn edits_mean_the_same_in_both_shapes() {
        for mut headers in both() {
            headers.append(&ACCEPT, "a").unwrap();
            headers.append(&HOST, "h").unwrap();
            headers.append(&ACCEPT, "b").unwrap();
            assert_eq!(headers.get(&ACCEPT), Some(b"a".as_slice()));
            assert_eq!(headers.get_all(&ACCEPT).count(), 2);
            assert_eq!(headers.joined(&ACCEPT).unwrap().as_ref(), b"a, b");
            assert_eq!(headers.len(), 3);
            headers.set(&ACCEPT, "c").unwrap();
            assert_eq!(headers.get_all(&ACCEPT).collect::<Vec<_>>(), [b"c"]);
            assert!(headers.remove(&HOST));
            assert!(!headers.remove(&HOST));
            assert_eq!(headers.len(), 1);
            assert_eq!(headers.into_map().get("accept").unwrap(), "c");
        }
    }

    #[test]
    fn fields_are_written_as_lines_however_they_were_read() {
        let check = |head: &str, expected: &str| {
            let mut slots = [httparse::EMPTY_HEADER; 8];
            let (_, parsed) = httparse::parse_headers(head.as_bytes(), &mut slots).unwrap().unwrap();
            let mut wire = WireHeaders::over(head.as_bytes());
            let at = |text: &[u8]| text.as_ptr() as usize - head.as_ptr() as usize;
            for field in parsed {
                let value_at = if field.value.is_empty() { 0 } else { at(field.value) };
                wire.push_span(at(field.name.as_bytes()), field.name.len(), value_at, field.value.len());
            }
            let mut headers = Headers::Wire(wire);
            headers.append(&ACCEPT, "last").unwrap();
            for headers in [headers.clone(), Headers::Map(headers.into_map())] {
                let mut out = BytesMut::new();
                headers.write_lines(&mut out, |name| !name.eq_ignore_ascii_case(b"not"));
                let written = String::from_utf8(out.to_vec()).unwrap();
                assert_eq!(written.to_ascii_lowercase(), format!("{expected}accept: last\r\n"), "{head:?}");
            }
        };
        check("\r\n", "");
        check("a: 1\r\nB: 2\r\n\r\n", "a: 1\r\nb: 2\r\n");
        check("not: 0\r\na: 1\r\nNot: 2\r\nb: 3\r\nnot: 4\r\n\r\n", "a: 1\r\nb: 3\r\n");
        // Blanks that are no part of the value do not come along.
        check("a:1\r\nb: \t2 \t\r\nc:\r\nd: \r\ne: 5\r\n\r\n", "a: 1\r\nb: 2\r\nc: \r\nd: \r\ne: 5\r\n");
    }

    #[test]
    fn a_value_cannot_smuggle_a_line() {
        for mut headers in both() {
            for bad in ["a\r\nb: c", "a\nb", "a\0", "\u{7f}"] {
                assert_eq!(headers.set(&COOKIE, bad), Err(InvalidValue));
                assert_eq!(headers.append(&COOKIE, bad), Err(InvalidValue));
            }
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn lists_are_read_across_lines() {
        for mut headers in both() {
            headers.append(&CONNECTION, "close, , X-One").unwrap();
            headers.append(&CONNECTION, " upgrade").unwrap();
            assert!(headers.has_token(&CONNECTION, "Upgrade"));
            assert!(headers.has_token(&CONNECTION, "x-one"));
            assert!(!headers.has_token(&CONNECTION, "x"));
            assert_eq!(headers.list(&CONNECTION).count(), 3);
        }
    }
}
