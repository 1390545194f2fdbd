//! Header fields as spans into the buffer they were read from.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

/// Fields in the order and case they came in. What is added lives in a buffer beside them, so neither reading nor
/// editing allocates per field.
#[derive(Debug, Clone, Default)]
pub struct WireHeaders {
    head: Bytes,
    added: Vec<u8>,
    spans: SmallVec<[Span; 16]>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    name_at: u32,
    value_at: u32,
    value_len: u32,
    name_len: u16,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Added,
}

impl WireHeaders {
    /// Fields of a head that has been parsed out of `head`; see [`push_span`](Self::push_span).
    pub(crate) fn over(head: Bytes) -> Self {
        Self { head, ..Self::default() }
    }

    /// Records a field found in `head`. Positions are those of the parser, which has checked the syntax.
    pub(crate) fn push_span(&mut self, name_at: usize, name_len: usize, value_at: usize, value_len: usize) {
        self.spans.push(Span {
            name_at: to_u32(name_at),
            name_len: u16::try_from(name_len).unwrap_or(u16::MAX),
            value_at: to_u32(value_at),
            value_len: to_u32(value_len),
            place: Place::Head,
        });
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.find(name.as_bytes()).map(|span| self.value(span))
    }

    pub(crate) fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.spans
            .iter()
            .filter(move |span| self.is_called(span, name.as_bytes()))
            .map(|span| self.value(span))
    }

    pub(crate) fn get_bytes(&self, name: &str) -> Option<Bytes> {
        self.find(name.as_bytes()).map(|span| self.shared(span))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans.iter().map(|span| (self.name(span), self.value(span)))
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        let before = self.spans.len();
        self.remove_where(|candidate| candidate.eq_ignore_ascii_case(name));
        self.spans.len() != before
    }

    pub(crate) fn remove_where(&mut self, mut drop: impl FnMut(&[u8]) -> bool) {
        let (head, added) = (&self.head, &self.added);
        self.spans
            .retain(|span| !drop(slice(source(head, added, span.place), span.name_at, span.name_len.into())));
    }

    /// Adds a field; name and value are valid already.
    pub(crate) fn append(&mut self, name: &[u8], value: &[u8]) {
        if self.added.capacity() == 0 {
            // One allocation serves the handful of fields a proxy adds.
            self.added.reserve(256);
        }
        let name_at = self.added.len();
        self.added.extend_from_slice(name);
        self.added.extend_from_slice(value);
        self.spans.push(Span {
            name_at: to_u32(name_at),
            name_len: u16::try_from(name.len()).unwrap_or(u16::MAX),
            value_at: to_u32(name_at + name.len()),
            value_len: to_u32(value.len()),
            place: Place::Added,
        });
    }

    pub(crate) fn into_map(self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.spans.len());
        for span in &self.spans {
            // Both were checked when the field was read or added; `from_maybe_shared` checks again.
            let name = HeaderName::from_bytes(self.name(span));
            let value = HeaderValue::from_maybe_shared(self.shared(span));
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        map
    }

    fn find(&self, name: &[u8]) -> Option<&Span> {
        self.spans.iter().find(|span| self.is_called(span, name))
    }

    fn is_called(&self, span: &Span, name: &[u8]) -> bool {
        usize::from(span.name_len) == name.len() && self.name(span).eq_ignore_ascii_case(name)
    }

    fn name(&self, span: &Span) -> &[u8] {
        slice(source(&self.head, &self.added, span.place), span.name_at, span.name_len.into())
    }

    fn value(&self, span: &Span) -> &[u8] {
        slice(source(&self.head, &self.added, span.place), span.value_at, span.value_len)
    }

    fn shared(&self, span: &Span) -> Bytes {
        match span.place {
            Place::Head => self.head.slice_ref(self.value(span)),
            Place::Added => Bytes::copy_from_slice(self.value(span)),
        }
    }
}

fn source<'a>(head: &'a Bytes, added: &'a [u8], place: Place) -> &'a [u8] {
    match place {
        Place::Head => head,
        Place::Added => added,
    }
}

fn slice(bytes: &[u8], at: u32, len: u32) -> &[u8] {
    let at = at as usize;
    bytes.get(at..at.saturating_add(len as usize)).unwrap_or_default()
}

/// Heads are bounded far below 4 GiB; a position that does not fit reads as an empty field, never as another one.
fn to_u32(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
