//! Mutations of text protocols: bytes, lines, numbers, and pieces of other inputs.

use fastrand::Rng;

/// Inputs stay below this; length limits are reached by repetition well before it.
const LONGEST: usize = 256 * 1024;

/// Pieces that parsers of HTTP/1.1 treat specially.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\"",
    b"\\",
    b"\xff",
    b"\x80",
    b"\x7f",
    b"0\r\n\r\n",
    b"1\r\n",
    b"ffffffffffffffff\r\n",
    b"0x1\r\n",
    b"-1",
    b"+1",
    b"18446744073709551616",
    b"00000001",
    b"Content-Length: ",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"transfer-encoding: gzip, chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade, te\r\n",
    b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"Trailer: x\r\n",
    b"Host: a\r\n",
    b"Host: a, b\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"GET ",
    b"CONNECT a:1 ",
    b"OPTIONS * ",
    b"http://a/",
    b"/%00/%2e%2e/",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b" folded\r\n",
];

/// An endless sequence of inputs that a seed determines.
pub(crate) struct Mutator {
    corpus: Vec<Vec<u8>>,
    rng: Rng,
    input: Vec<u8>,
}

impl Mutator {
    /// `corpus` must not be empty.
    pub(crate) fn new(corpus: Vec<Vec<u8>>, seed: u64) -> Self {
        Self { corpus, rng: Rng::with_seed(seed), input: Vec::new() }
    }

    pub(crate) fn next(&mut self) -> &[u8] {
        self.input.clear();
        if let Some(base) = self.rng.choice(&self.corpus) {
            self.input.extend_from_slice(base);
        }
        // Mostly few changes, so that inputs stay deep inside the grammar; sometimes many.
        for _ in 0..1 << self.rng.u32(0..5) {
            self.mutate();
        }
        self.input.truncate(LONGEST);
        &self.input
    }

    fn mutate(&mut self) {
        let at = self.rng.usize(..=self.input.len());
        match self.rng.u8(..9) {
            0 => self.change_byte(at, |rng, _| rng.u8(..)),
            1 => self.change_byte(at, |rng, byte| byte ^ (1 << rng.u8(..8))),
            2 => self.replace(at..at, |rng| rng.choice(TOKENS).copied().unwrap_or_default().to_vec()),
            3 => self.remove(at),
            4 => self.repeat(at),
            5 => self.input.truncate(at),
            6 => self.splice(at),
            7 => self.change_number(at),
            _ => self.swap_lines(),
        }
    }

    fn change_byte(&mut self, at: usize, change: impl Fn(&mut Rng, u8) -> u8) {
        if let Some(byte) = self.input.get_mut(at) {
            *byte = change(&mut self.rng, *byte);
        }
    }

    fn replace(&mut self, range: std::ops::Range<usize>, make: impl Fn(&mut Rng) -> Vec<u8>) {
        let new = make(&mut self.rng);
        self.input.splice(range, new);
    }

    fn remove(&mut self, at: usize) {
        let end = (at + self.rng.usize(1..16)).min(self.input.len());
        self.input.drain(at..end);
    }

    /// Doubles a piece, or writes it out many times to reach a limit.
    fn repeat(&mut self, at: usize) {
        let end = (at + self.rng.usize(1..64)).min(self.input.len());
        let times = if self.rng.u8(..20) == 0 { self.rng.usize(..4096) } else { 1 };
        let piece = self.input.get(at..end).unwrap_or_default().repeat(times);
        self.input.splice(at..at, piece.into_iter().take(LONGEST));
    }

    /// Continues with the rest of another input.
    fn splice(&mut self, at: usize) {
        let other = self.rng.choice(&self.corpus).cloned().unwrap_or_default();
        let from = self.rng.usize(..=other.len());
        self.input.truncate(at);
        self.input.extend_from_slice(other.get(from..).unwrap_or_default());
    }

    /// Changes the first run of digits at or after `at`.
    fn change_number(&mut self, at: usize) {
        let digits = |byte: &u8| byte.is_ascii_hexdigit();
        let rest = self.input.get(at..).unwrap_or_default();
        let Some(start) = rest.iter().position(digits).map(|offset| at + offset) else { return };
        let length = self.input.iter().skip(start).take_while(|byte| digits(byte)).count();
        self.replace(start..start + length, |rng| match rng.u8(..5) {
            0 => b"0".to_vec(),
            1 => u64::MAX.to_string().into_bytes(),
            2 => format!("{:x}", rng.u64(..)).into_bytes(),
            3 => rng.u32(..300).to_string().into_bytes(),
            _ => Vec::new(),
        });
    }

    fn swap_lines(&mut self) {
        let mut lines: Vec<&[u8]> = self.input.split_inclusive(|byte| *byte == b'\n').collect();
        let (a, b) = (self.rng.usize(..lines.len().max(1)), self.rng.usize(..lines.len().max(1)));
        if a < lines.len() && b < lines.len() {
            lines.swap(a, b);
        }
        self.input = lines.concat();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_inputs() {
        let corpus =
            || vec![b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), b"5\r\nhello\r\n0\r\n\r\n".to_vec()];
        let (mut a, mut b, mut c) =
            (Mutator::new(corpus(), 1), Mutator::new(corpus(), 1), Mutator::new(corpus(), 2));
        let mut different = 0;
        for _ in 0..2000 {
            let input = a.next().to_vec();
            assert!(input.len() <= LONGEST);
            assert_eq!(input, b.next());
            different += usize::from(input != c.next());
        }
        assert!(different > 1000);
    }
}
