//! Finds the frames in a byte stream, whatever pieces it comes in, without keeping their payloads.

/// A frame header, RFC 9113 section 4.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

pub(super) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PUSH_PROMISE: u8 = 0x5;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
    /// RFC 9218.
    pub(crate) const PRIORITY_UPDATE: u8 = 0x10;
}

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

impl Head {
    const LEN: usize = 9;

    fn parse([l0, l1, l2, kind, flags, s0, s1, s2, s3]: [u8; Self::LEN]) -> Self {
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        }
    }

    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM != 0
    }

    pub(super) fn ends_headers(self) -> bool {
        self.flags & END_HEADERS != 0
    }

    pub(super) fn is_ack(self) -> bool {
        matches!(self.kind, kind::SETTINGS | kind::PING) && self.flags & ACK != 0
    }

    pub(super) fn is_padded(self) -> bool {
        self.flags & PADDED != 0
    }

    /// How many bytes of payload make an item the rules read; 0 where they read none.
    fn item_len(self) -> u8 {
        match self.kind {
            kind::SETTINGS if !self.is_ack() => 6,
            kind::RST_STREAM | kind::WINDOW_UPDATE | kind::GOAWAY => 4,
            kind::DATA if self.is_padded() => 1,
            _ => 0,
        }
    }
}

/// What a scan reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A frame begins.
    Head(Head),
    /// Part `index` of the payload of a frame whose payload matters: a setting, an error code, an increment, the
    /// length of padding.
    Item { head: Head, index: u32, bytes: [u8; 6] },
}

/// Where in the stream of frames one direction is.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Bytes of the connection preface still to come.
    preface: u8,
    head: [u8; Head::LEN],
    head_filled: u8,
    current: Head,
    payload_left: u32,
    item: [u8; 6],
    item_filled: u8,
    items: u32,
}

impl Scanner {
    /// For a direction that starts with this many bytes which are no frame.
    pub(super) fn after_preface(preface: u8) -> Self {
        Self {
            preface,
            head: [0; Head::LEN],
            head_filled: 0,
            current: Head::default(),
            payload_left: 0,
            item: [0; 6],
            item_filled: 0,
            items: 0,
        }
    }

    /// Whether a frame may be put in here.
    pub(super) fn at_boundary(&self) -> bool {
        self.preface == 0 && self.head_filled == 0 && self.payload_left == 0
    }

    /// Goes through the next bytes; stops at the first error.
    pub(super) fn scan<E>(
        &mut self,
        mut bytes: &[u8],
        mut report: impl FnMut(Seen) -> Result<(), E>,
    ) -> Result<(), E> {
        let preface = usize::from(self.preface).min(bytes.len());
        self.preface -= preface as u8;
        bytes = bytes.get(preface..).unwrap_or_default();
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let n = (self.payload_left as usize).min(bytes.len());
                let (payload, rest) = bytes.split_at(n);
                self.payload_left -= n as u32;
                bytes = rest;
                self.payload(payload, &mut report)?;
                continue;
            }
            bytes = self.fill_head(bytes);
            if usize::from(self.head_filled) == Head::LEN {
                self.head_filled = 0;
                self.current = Head::parse(self.head);
                self.payload_left = self.current.length;
                (self.item_filled, self.items) = (0, 0);
                report(Seen::Head(self.current))?;
            }
        }
        Ok(())
    }

    fn fill_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let free = self.head.get_mut(usize::from(self.head_filled)..).unwrap_or_default();
        let n = free.len().min(bytes.len());
        let (taken, rest) = bytes.split_at(n);
        free.iter_mut().zip(taken).for_each(|(slot, byte)| *slot = *byte);
        self.head_filled += n as u8;
        rest
    }

    fn payload<E>(
        &mut self,
        payload: &[u8],
        report: &mut impl FnMut(Seen) -> Result<(), E>,
    ) -> Result<(), E> {
        let item_len = self.current.item_len();
        // Only the padding's length is an item of DATA, not its bytes.
        if item_len == 0 || (item_len == 1 && self.items > 0) {
            return Ok(());
        }
        for byte in payload {
            if let Some(slot) = self.item.get_mut(usize::from(self.item_filled)) {
                *slot = *byte;
            }
            self.item_filled += 1;
            if self.item_filled == item_len {
                report(Seen::Item { head: self.current, index: self.items, bytes: self.item })?;
                self.item_filled = 0;
                self.items += 1;
                if item_len == 1 {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pieces: impl Iterator<Item = Vec<u8>>) -> (Vec<Seen>, bool) {
        let mut scanner = Scanner::after_preface(3);
        let mut seen = Vec::new();
        for piece in pieces {
            let Ok(()) = scanner.scan(&piece, |one| {
                seen.push(one);
                Ok::<_, std::convert::Infallible>(())
            });
        }
        (seen, scanner.at_boundary())
    }

    #[test]
    fn finds_the_same_frames_however_the_bytes_are_cut() {
        let bytes = [
            b"PRI".as_slice(),
            &[0, 0, 12, kind::SETTINGS, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 9],
            &[0, 0, 0, kind::SETTINGS, ACK, 0, 0, 0, 0],
            &[0, 0, 5, kind::DATA, PADDED, 0x80, 0, 0, 7, 2, b'a', b'b', 0, 0],
            &[0, 0, 4, kind::RST_STREAM, 0, 0, 0, 0, 7, 0, 0, 0, 8],
        ]
        .concat();
        let (whole, boundary) = seen([bytes.clone()].into_iter());
        assert!(boundary);
        let heads: Vec<_> = whole
            .iter()
            .filter_map(|seen| match seen {
                Seen::Head(head) => Some((head.kind, head.length, head.stream)),
                Seen::Item { .. } => None,
            })
            .collect();
        assert_eq!(
            heads,
            [(kind::SETTINGS, 12, 0), (kind::SETTINGS, 0, 0), (kind::DATA, 5, 7), (kind::RST_STREAM, 4, 7)]
        );
        assert_eq!(whole.len(), 4 + 2 + 1 + 1, "two settings, one padding length, one error code");
        for size in 1..bytes.len() {
            assert_eq!(seen(bytes.chunks(size).map(<[u8]>::to_vec)), (whole.clone(), true), "in {size}s");
        }
        assert!(!seen([bytes[..bytes.len() - 1].to_vec()].into_iter()).1);
    }
}
