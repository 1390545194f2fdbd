//! Header fields as places in one piece of text, in the order and case they came in.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

mod pool;

use pool::Lent;

/// The fields of a message read from, or meant for, an HTTP/1 connection.
///
/// Neither reading nor editing allocates per field, and a message on its way through the layers is moved as one
/// pointer: text and places are in a piece of memory that the thread lends and gets back.
#[derive(Debug, Clone, Default)]
pub struct WireHeaders {
    fields: Lent,
}

#[derive(Debug, Default)]
struct Fields {
    /// The head as it was read, and behind it the lines added since.
    text: Vec<u8>,
    spans: Vec<Span>,
}

/// What removed fields may leave behind in the text, besides as much as those take that are there.
const LEFTOVER: usize = 8 * 1024;

/// Where a field's name and value are in the text.
#[derive(Debug, Clone, Copy)]
struct Span {
    name_at: u32,
    value_at: u32,
    value_len: u32,
    name_len: u16,
}

impl WireHeaders {
    /// Fields of a head that has been parsed out of `head`, which is copied; see [`push_span`](Self::push_span).
    pub(crate) fn over(head: &[u8]) -> Self {
        let mut fields = Lent::default();
        fields.edit().text.extend_from_slice(head);
        Self { fields }
    }

    /// Records a field found in the head. Positions are those of the parser, which has checked the syntax.
    pub(crate) fn push_span(&mut self, name_at: usize, name_len: usize, value_at: usize, value_len: usize) {
        self.fields.edit().spans.push(Span {
            name_at: to_u32(name_at),
            name_len: u16::try_from(name_len).unwrap_or(u16::MAX),
            value_at: to_u32(value_at),
            value_len: to_u32(value_len),
        });
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        let Fields { text, spans } = self.fields.read();
        spans.iter().find(|span| span.is_called(text, name.as_bytes())).map(|span| span.value(text))
    }

    #[inline]
    pub(crate) fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        let fields = self.fields.read();
        let text = fields.text.as_slice();
        fields
            .spans
            .iter()
            .filter(move |span| span.is_called(text, name.as_bytes()))
            .map(move |span| span.value(text))
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let fields = self.fields.read();
        let text = fields.text.as_slice();
        fields.spans.iter().map(move |span| (span.name(text), span.value(text)))
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.read().spans.len()
    }

    /// Fields are apart from each other in it, and other things may be between them.
    pub(crate) fn text_len(&self) -> usize {
        self.fields.read().text.len()
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        let fields = self.fields.read();
        // Usually there is none, and nothing to move.
        if !fields.spans.iter().any(|span| span.is_called(&fields.text, name)) {
            return false;
        }
        self.remove_where(|candidate| candidate.eq_ignore_ascii_case(name));
        true
    }

    pub(crate) fn remove_where(&mut self, mut drop: impl FnMut(&[u8]) -> bool) {
        let fields = self.fields.edit();
        let Fields { text, spans } = fields;
        spans.retain(|span| !drop(span.name(text)));
        fields.tidy();
    }

    /// Adds a field; name and value are valid already.
    pub(crate) fn append(&mut self, name: &[u8], value: &[u8]) {
        let Fields { text, spans } = self.fields.edit();
        spans.push(Span::of_line(text, name, value));
    }

    /// [`append`](Self::append), with the name in lower case.
    pub(crate) fn append_lowered(&mut self, name: &[u8], value: &[u8]) {
        let start = self.fields.read().text.len();
        self.append(name, value);
        if let Some(name) = self.fields.edit().text.get_mut(start..start + name.len()) {
            name.make_ascii_lowercase();
        }
    }

    /// Writes the fields for which `keep` says so, each as a line. Those that are such lines already, and follow each
    /// other, are copied in one go: as they would have been written, byte for byte.
    pub(crate) fn write_lines(&self, out: &mut BytesMut, keep: impl Fn(&[u8]) -> bool) {
        let Fields { text, spans } = self.fields.read();
        let mut run = 0..0;
        for span in spans.iter().filter(|span| keep(span.name(text))) {
            match span.line(text) {
                Some(line) if line.start == run.end => run.end = line.end,
                line => {
                    out.extend_from_slice(text.get(run).unwrap_or_default());
                    run = line.unwrap_or_else(|| {
                        write_line(out, span.name(text), span.value(text));
                        0..0
                    });
                }
            }
        }
        out.extend_from_slice(text.get(run).unwrap_or_default());
    }

    /// As a map; its values share one copy of the text.
    pub(crate) fn into_map(self) -> HeaderMap {
        let fields = self.fields.read();
        let text = Bytes::copy_from_slice(&fields.text);
        let mut map = HeaderMap::with_capacity(fields.spans.len());
        for span in &fields.spans {
            // Both were checked when the field was read or added; `from_maybe_shared` checks again.
            let name = HeaderName::from_bytes(span.name(&text));
            let value = HeaderValue::from_maybe_shared(text.slice_ref(span.value(&text)));
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        map
    }
}

/// A field as HTTP/1 has it.
pub(crate) fn write_line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

impl Fields {
    /// Lets go of what removed fields have left behind, when that is most of the text: a message whose fields are
    /// replaced again and again would grow with each of them.
    fn tidy(&mut self) {
        if self.text.len() <= LEFTOVER {
            return;
        }
        let size = self.spans.iter().map(Span::size).sum::<usize>();
        if self.text.len() <= LEFTOVER + 2 * size {
            return;
        }
        let old = std::mem::replace(&mut self.text, Vec::with_capacity(size));
        for span in &mut self.spans {
            *span = Span::of_line(&mut self.text, span.name(&old), span.value(&old));
        }
    }
}

impl Span {
    /// A field written behind the text, as [`write_line`] would write it.
    fn of_line(text: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Self {
        let name_at = text.len();
        text.reserve(name.len() + value.len() + 4);
        for part in [name, b": ", value, b"\r\n"] {
            text.extend_from_slice(part);
        }
        Self {
            name_at: to_u32(name_at),
            name_len: u16::try_from(name.len()).unwrap_or(u16::MAX),
            value_at: to_u32(name_at + name.len() + 2),
            value_len: to_u32(value.len()),
        }
    }

    /// Of its line.
    fn size(&self) -> usize {
        usize::from(self.name_len) + self.value_len as usize + 4
    }

    /// Where in the text the field is a line exactly as [`write_line`] would write it.
    #[inline]
    fn line(&self, text: &[u8]) -> Option<Range<usize>> {
        let (start, value_at) = (self.name_at as usize, self.value_at as usize);
        let name_end = start + usize::from(self.name_len);
        let end = value_at + self.value_len as usize;
        let is_line = name_end + 2 == value_at
            && text.get(name_end..value_at) == Some(b": ")
            && text.get(end..end + 2) == Some(b"\r\n");
        is_line.then_some(start..end + 2)
    }

    /// The length tells nearly all apart, so only that is worth having in every loop over fields.
    #[inline]
    fn is_called(&self, text: &[u8], name: &[u8]) -> bool {
        usize::from(self.name_len) == name.len() && self.is_spelt(text, name)
    }

    fn is_spelt(&self, text: &[u8], name: &[u8]) -> bool {
        self.name(text).eq_ignore_ascii_case(name)
    }

    #[inline]
    fn name<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        slice(text, self.name_at, self.name_len.into())
    }

    #[inline]
    fn value<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        slice(text, self.value_at, self.value_len)
    }
}

#[inline]
fn slice(bytes: &[u8], at: u32, len: u32) -> &[u8] {
    let at = at as usize;
    bytes.get(at..at.saturating_add(len as usize)).unwrap_or_default()
}

/// Heads are bounded far below 4 GiB; a position that does not fit reads as an empty field, never as another one.
#[inline]
fn to_u32(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_is_not_kept() {
        let mut headers = WireHeaders::over(b"A: 1\r\nb:2\r\n\r\n");
        headers.push_span(0, 1, 3, 1);
        headers.push_span(6, 1, 8, 1);
        let mut most = 0;
        for number in 0..100_000_u32 {
            let value = [number.to_string().as_bytes(), &[b'x'; 1000]].concat();
            headers.remove(b"big");
            headers.append(b"big", &value);
            most = most.max(headers.fields.read().text.len());
        }
        assert!(most < LEFTOVER + 4 * 1024, "{most}");
        let mut written = BytesMut::new();
        headers.write_lines(&mut written, |_| true);
        assert!(written.starts_with(b"A: 1\r\nb: 2\r\nbig: 99999xxx"), "{written:?}");
        assert_eq!((headers.len(), headers.get("B")), (3, Some(b"2".as_slice())));
    }
}
