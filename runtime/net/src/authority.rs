//! Makes the `:authority` of HTTP/2 clients on a Unix socket one that an HTTP/2 library accepts.
//!
//! gRPC clients send the socket's path there, as it is (Java, older Go) or percent-encoded (C++, Python, Swift), and
//! the library resets every such request (hyperium/h2 #487). Over a socket the name means nothing, so the characters
//! that do not belong there are replaced by `-`, in place: neither the HPACK literal nor the frame changes its length
//! (`%`, `/`, space and `-` all have Huffman codes of six bits), so no header has to be decoded or encoded.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::address::Peer;
use crate::detect::HTTP2_PREFACE;

const FRAME_HEADER: usize = 9;
/// A longer frame is not accepted anyway, and is not waited for.
const MAX_FRAME: usize = 16 * 1024;
const HEADERS: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:authority` in the static table (RFC 7541, appendix A).
const AUTHORITY: usize = 1;
/// The same spelled out, as gRPC's C core does, plain and in Huffman code.
const NAMES: [(bool, &[u8]); 2] =
    [(false, b":authority"), (true, &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f])];

/// An HTTP/2 server connection whose preface has not been read yet. Writes pass through, and so does everything when
/// the client did not come through a Unix socket.
#[derive(Debug)]
pub struct LocalAuthority<S> {
    inner: S,
    is_local: bool,
    /// Bytes until the next frame header.
    skip: usize,
    /// The beginning of a frame, until there is enough of it; then what is left to hand over.
    held: Vec<u8>,
    /// How much of `held` was handed over; `None` while it is incomplete.
    given: Option<usize>,
}

impl<S> LocalAuthority<S> {
    pub fn new(inner: S, peer: &Peer) -> Self {
        Self {
            inner,
            is_local: *peer == Peer::Unix,
            skip: HTTP2_PREFACE.len(),
            held: Vec::new(),
            given: None,
        }
    }

    /// Goes through bytes just read. What a frame still lacks of its beginning is held back, and how many bytes may
    /// be handed over is returned.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            at += self.skip;
            let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) else {
                self.skip = at - bytes.len();
                return bytes.len();
            };
            let needed = needed(rest);
            match rest.get_mut(..needed) {
                Some(frame) => {
                    tame(frame);
                    self.skip = after(frame);
                    at += needed;
                }
                None => {
                    self.held.extend_from_slice(rest);
                    self.skip = 0;
                    return at;
                }
            }
        }
    }

    /// Hands over what is held and complete.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(given) = &mut self.given else { return false };
        let rest = self.held.get(*given..).unwrap_or_default();
        let part = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(part);
        *given += part.len();
        if *given == self.held.len() {
            self.held.clear();
            self.given = None;
        }
        true
    }
}

impl<S: AsyncRead + Unpin> LocalAuthority<S> {
    /// Reads on until the held frame is as complete as it has to be, or the client has ended.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let (start, end) = (self.held.len(), needed(&self.held));
            if start == end {
                break;
            }
            self.held.resize(end, 0);
            let mut space = ReadBuf::new(self.held.get_mut(start..).unwrap_or_default());
            let read = Pin::new(&mut self.inner).poll_read(cx, &mut space);
            let got = space.filled().len();
            self.held.truncate(start + got);
            ready!(read)?;
            if got == 0 {
                break;
            }
        }
        tame(&mut self.held);
        self.skip = after(&self.held);
        self.given = Some(0);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LocalAuthority<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_local {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        loop {
            if this.give(buf) {
                return Poll::Ready(Ok(()));
            }
            if !this.held.is_empty() {
                ready!(this.poll_held(cx))?;
                continue;
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let Some(new) = buf.filled_mut().get_mut(before..).filter(|new| !new.is_empty()) else {
                return Poll::Ready(Ok(()));
            };
            let passed = this.pass(new);
            buf.set_filled(before + passed);
            // With nothing to hand over yet, an empty read would look like the end.
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LocalAuthority<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Length and type of the frame that starts here, once its header is complete.
fn frame(bytes: &[u8]) -> Option<(usize, u8)> {
    let [a, b, c, kind, _flags, _stream @ ..] = bytes.first_chunk::<FRAME_HEADER>()?;
    Some((usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c), *kind))
}

/// How much of the frame must be there before any of it is handed over: HEADERS as a whole, of others the header.
fn needed(bytes: &[u8]) -> usize {
    match frame(bytes) {
        Some((length, HEADERS)) if length <= MAX_FRAME => FRAME_HEADER + length,
        _ => FRAME_HEADER,
    }
}

/// How many bytes of the frame follow those given.
fn after(bytes: &[u8]) -> usize {
    frame(bytes).map_or(0, |(length, _)| (FRAME_HEADER + length).saturating_sub(bytes.len()))
}

/// Replaces what does not belong into the authority of a complete HEADERS frame; leaves anything else alone. A block
/// continued in another frame is treated as far as this one goes, and what is malformed is left to the library.
fn tame(bytes: &mut [u8]) {
    let Some((header, payload)) = bytes.split_at_mut_checked(FRAME_HEADER) else { return };
    let [_, _, _, HEADERS, flags, ..] = header else { return };
    let mut start = 0;
    let mut end = payload.len();
    if *flags & PADDED != 0 {
        let padding = payload.first().copied().unwrap_or(0);
        start += 1;
        end = end.saturating_sub(usize::from(padding));
    }
    if *flags & PRIORITY != 0 {
        start += 5;
    }
    if let Some(block) = payload.get_mut(start..end) {
        let mut walk = Walk { block, at: 0 };
        while walk.field().is_some() {}
    }
}

/// Goes through a header block field by field (RFC 7541, section 6) without decoding any.
struct Walk<'a> {
    block: &'a mut [u8],
    at: usize,
}

impl Walk<'_> {
    /// Passes one representation; `None` at the end of what can be followed.
    fn field(&mut self) -> Option<()> {
        let first = *self.block.get(self.at)?;
        let name = match first {
            0x80.. => return self.integer(7).map(drop),
            0x40.. => self.integer(6)?,
            0x20.. => return self.integer(5).map(drop),
            _ => self.integer(4)?,
        };
        let is_authority = match name {
            0 => self.string().is_some_and(|(is_huffman, name)| NAMES.contains(&(is_huffman, name))),
            indexed => indexed == AUTHORITY,
        };
        let (is_huffman, value) = self.string()?;
        match (is_authority, is_huffman) {
            (true, true) => tame_huffman(value),
            (true, false) => value.iter_mut().filter(|byte| !belongs(**byte)).for_each(|byte| *byte = b'-'),
            _ => {}
        }
        Some(())
    }

    /// Whether it is in Huffman code, and its bytes (section 5.2).
    fn string(&mut self) -> Option<(bool, &mut [u8])> {
        let is_huffman = self.block.get(self.at)? & 0x80 != 0;
        let length = self.integer(7)?;
        let start = self.at;
        self.at = start.checked_add(length)?;
        Some((is_huffman, self.block.get_mut(start..self.at)?))
    }

    /// An integer with a prefix of so many bits (section 5.1).
    fn integer(&mut self, prefix: u32) -> Option<usize> {
        let mask = (1 << prefix) - 1;
        let mut value = usize::from(*self.block.get(self.at)? & mask);
        self.at += 1;
        if value < usize::from(mask) {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = *self.block.get(self.at)?;
            self.at += 1;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// What RFC 3986 allows in an authority that is not percent-encoded.
fn belongs(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:@[]!$&'()*+,;=".contains(&byte)
}

/// The same in Huffman code, as far as the characters have codes of up to eight bits: those of paths do.
fn tame_huffman(value: &mut [u8]) {
    /// Space, `%`, `/` and `-` (RFC 7541, appendix B).
    const FOREIGN: [u16; 3] = [0b01_0100, 0b01_0101, 0b01_1000];
    const DASH: u16 = 0b01_0110;
    let mut at = 0;
    while let Some(bits) = bits(value, at) {
        // The code is canonical: which interval the next bits fall into says how many there are.
        at += match (bits >> 3, bits >> 2, bits >> 1, bits) {
            (0..=0b0_1001, ..) => 5,
            (_, six @ 20..=45, ..) => {
                if FOREIGN.contains(&six) {
                    put(value, at, DASH);
                }
                6
            }
            (_, _, 92..=123, _) => 7,
            (.., 248..=253) => 8,
            _ => return,
        };
    }
}

/// Eight bits from a bit position on, filled up with ones as the padding is.
fn bits(value: &[u8], at: usize) -> Option<u16> {
    let high = *value.get(at / 8)?;
    let low = value.get(at / 8 + 1).copied().unwrap_or(0xff);
    Some(u16::from_be_bytes([high, low]) << (at % 8) >> 8)
}

/// Writes a code of six bits at a bit position where there was one.
fn put(value: &mut [u8], at: usize, code: u16) {
    let shift = 10 - at % 8;
    let [mask, code] = [0b11_1111_u16, code].map(|bits| (bits << shift).to_be_bytes());
    for ((byte, mask), code) in value.iter_mut().skip(at / 8).zip(mask).zip(code) {
        *byte = *byte & !mask | code;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn hex(digits: &str) -> Vec<u8> {
        let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
        digits.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    #[test]
    fn huffman_codes_are_replaced_where_they_stand() {
        let check = |before: &str, after: &str| {
            let mut value = hex(before);
            tame_huffman(&mut value);
            assert_eq!(value, hex(after), "{before}");
        };
        check("62cb6a60eba0e4eb", "5acb6a58eba0e4eb"); // /run/o.sock
        check("4d35aa2c2753f1741c9d7f", "4d35ac2c275bf1741c9d7f"); // tmp%2Fo X.sock
        check("a0e41d139d09b8cb4f81af", "a0e41d139d09b8cb4f81af"); // localhost:34904
        check("1ff0c47f", "1ff0c47f"); // a!/b: '!' has ten bits
        check("", "");
    }

    /// A literal with incremental indexing, its name from the static table.
    fn literal(name: u8, value: &[u8]) -> Vec<u8> {
        [&[0x40 | name, u8::try_from(value.len()).unwrap()], value].concat()
    }

    /// The same with the name spelled out.
    fn spelled(name: &[u8], value: &[u8]) -> Vec<u8> {
        let [name_length, length] = [name.len(), value.len()].map(|length| u8::try_from(length).unwrap());
        [&[0x40, name_length], name, &[length], value].concat()
    }

    fn framed(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// What a gRPC client sends, with this authority.
    fn conversation(authority: &[u8]) -> Vec<u8> {
        let indexed = [0x83, 0x86];
        let path = literal(4, b"/a.B/C%2F");
        let block = [&indexed[..], &path, &literal(1, authority), &literal(15, b"a/b%c")].concat();
        let spelled = [spelled(b":path", b"/a.B/C%2F"), spelled(b":authority", authority)].concat();
        let padded = [&[2, 0, 0, 0, 0, 16][..], &block, b"//"].concat();
        let frames = [
            framed(4, 0, b""),
            framed(HEADERS, 4, &block),
            framed(0, 1, b"/data%"),
            framed(HEADERS, 4, &spelled),
            framed(HEADERS, 4 | PADDED | PRIORITY, &padded),
            framed(HEADERS, 4, b"\xff\xff\xff\xff\xff\xff\xff"),
            framed(HEADERS, 4, b"\x41\x7f/short"),
        ];
        [&HTTP2_PREFACE[..], &frames.concat()].concat()
    }

    #[tokio::test]
    async fn only_authorities_change_however_the_bytes_arrive() {
        let (sent, expected) = (conversation(b"/tmp/o%2F.sock:1"), conversation(b"-tmp-o-2F.sock:1"));
        for piece in (1..40).chain([sent.len()]) {
            for space in [1, 7, 4096] {
                let (mut client, server) = tokio::io::duplex(piece);
                let written = sent.clone();
                let writing = tokio::spawn(async move { client.write_all(&written).await });
                let mut server = LocalAuthority::new(server, &Peer::Unix);
                let mut read = Vec::new();
                let mut buffer = vec![0; space];
                loop {
                    match server.read(&mut buffer).await.unwrap() {
                        0 => break,
                        n => read.extend_from_slice(&buffer[..n]),
                    }
                }
                writing.await.unwrap().unwrap();
                assert!(read == expected, "pieces of {piece}, buffer of {space}");
            }
        }
    }

    #[tokio::test]
    async fn other_clients_are_not_touched() {
        let sent = conversation(b"/tmp/o%2F.sock:1");
        let peer = Peer::Tcp("127.0.0.1:1".parse().unwrap());
        let mut read = Vec::new();
        LocalAuthority::new(&sent[..], &peer).read_to_end(&mut read).await.unwrap();
        assert!(read == sent);
    }

    #[tokio::test]
    async fn what_is_cut_off_is_handed_over_as_it_is() {
        let whole = conversation(b"x");
        for end in 0..whole.len() {
            let mut server = LocalAuthority::new(&whole[..end], &Peer::Unix);
            let mut read = Vec::new();
            server.read_to_end(&mut read).await.unwrap();
            assert!(read == whole[..end], "cut at {end}");
        }
    }
}
