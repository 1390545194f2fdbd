//! Finds the end of a head, and refuses what lenient parsers disagree about before any parser sees it.

use memchr::memchr;

use super::parse::Limits;
use super::refuse::Refusal;

/// Where the scan of a head has got to; survives reads, so no byte is looked at twice.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Scan {
    line_at: usize,
    lines: usize,
    looked: bool,
}

impl Scan {
    /// Whether nobody has looked at this head before. It may be whole, and is then parsed without a scan.
    pub(crate) fn is_first_look(&mut self) -> bool {
        !std::mem::replace(&mut self.looked, true)
    }

    /// The length of the head that starts `buffer`, the empty line included, or `None` when more must be read.
    ///
    /// Every line ends in CRLF, and no line after the first begins with a space or a tab. (A bare CR or NUL inside a
    /// line is refused by the parser, which knows no value byte below 0x20 but the tab.)
    pub(crate) fn advance(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        loop {
            let rest = buffer.get(self.line_at..).unwrap_or_default();
            let Some(feed) = memchr(b'\n', rest) else {
                return if self.lines == 0 && rest.len() > limits.first_line() {
                    Err(Refusal::URI_TOO_LONG)
                } else if buffer.len() > limits.head_bytes {
                    Err(Refusal::HEAD_TOO_LARGE)
                } else {
                    Ok(None)
                };
            };
            let Some((b'\r', line)) = rest.get(..feed).unwrap_or_default().split_last() else {
                return Err(Refusal::BARE_LF);
            };
            self.check(line, limits)?;
            self.line_at += feed + 1;
            if self.line_at > limits.head_bytes {
                return Err(Refusal::HEAD_TOO_LARGE);
            }
            if line.is_empty() {
                return Ok(Some(self.line_at));
            }
            self.lines += 1;
        }
    }

    fn check(&self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        match (self.lines, line.first()) {
            // Only one empty line may come before a message, and the caller has taken that one.
            (0, None) => Err(Refusal::REQUEST_LINE),
            (0, _) if line.len() > limits.first_line() => Err(Refusal::URI_TOO_LONG),
            (1, Some(b' ' | b'\t')) => Err(Refusal::LEADING_WHITESPACE),
            (2.., Some(b' ' | b'\t')) => Err(Refusal::OBS_FOLD),
            (lines, Some(_)) if lines > limits.headers => Err(Refusal::TOO_MANY_HEADERS),
            _ => Ok(()),
        }
    }
}

/// The same rules for a trailer section, which has no first line: starts as if one had been read.
pub(crate) fn trailer_scan() -> Scan {
    Scan { lines: 1, ..Scan::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<Option<usize>, Refusal> {
        Scan::default().advance(text.as_bytes(), &Limits::for_test())
    }

    #[test]
    fn line_ends_and_folds() {
        assert_eq!(scan("GET / HTTP/1.1\r\na: b\r\n\r\nrest"), Ok(Some(24)));
        assert_eq!(scan("GET / HTTP/1.1\r\na: b\r\n"), Ok(None));
        assert_eq!(scan("GET / HTTP/1.1\n"), Err(Refusal::BARE_LF));
        assert_eq!(scan("GET / HTTP/1.1\r\na: b\n\r\n"), Err(Refusal::BARE_LF));
        assert_eq!(scan("GET / HTTP/1.1\r\na: b\r\n\n"), Err(Refusal::BARE_LF));
        assert_eq!(scan("GET / HTTP/1.1\r\n a: b\r\n"), Err(Refusal::LEADING_WHITESPACE));
        assert_eq!(scan("GET / HTTP/1.1\r\na: b\r\n\tc\r\n"), Err(Refusal::OBS_FOLD));
    }

    #[test]
    fn byte_by_byte_is_the_same() {
        let text = b"GET / HTTP/1.1\r\na: b\r\nc: d\r\n\r\n";
        let mut scan = Scan::default();
        for end in 0..text.len() {
            assert_eq!(scan.advance(&text[..end], &Limits::for_test()), Ok(None));
        }
        assert_eq!(scan.advance(text, &Limits::for_test()), Ok(Some(text.len())));
    }

    #[test]
    fn limits_hold_before_the_line_is_complete() {
        let long = "GET /".to_owned() + &"a".repeat(20_000);
        assert_eq!(scan(&long), Err(Refusal::URI_TOO_LONG));
        let many = "GET / HTTP/1.1\r\n".to_owned() + &"a: b\r\n".repeat(101);
        assert_eq!(scan(&many), Err(Refusal::TOO_MANY_HEADERS));
        let big = "GET / HTTP/1.1\r\na: ".to_owned() + &"b".repeat(50_000);
        assert_eq!(scan(&big), Err(Refusal::HEAD_TOO_LARGE));
    }
}
