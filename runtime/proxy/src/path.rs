//! One canonical path per request: what routes are matched against, and what is sent upstream.
//!
//! A backend and a proxy that read a path differently are a policy bypass (CVE-2019-9901, 2021-29492, 2021-32779), so:
//!
//! | In the client's path | What happens |
//! |---|---|
//! | nothing unusual | passes byte for byte |
//! | `//`, `/./`, `/x/../` | resolved; the resolved path is matched **and** sent upstream (`strict`: 400) |
//! | escapes of unreserved characters (`%7E`), lower-case hex | decoded for matching only: every backend decodes them alike, so the bytes sent are the client's |
//! | `..` climbing above the root, `%2e%2e`, `..;x`, overlong UTF-8 such as `%c0%ae`, `%00`, `\`, `#`, a control or a bad escape | 400 |
//! | `%2F`, `%5C` | reported to the caller, who refuses them where any route of the host looks at the path |

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to do with a path that is not in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathMode {
    /// Dot segments are resolved and slashes merged; routing and the backend see the result.
    #[default]
    Normalise,
    /// A path with dot segments or repeated slashes is refused with 400.
    Strict,
}

/// A path after [`canonical`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CanonicalPath<'a> {
    /// What routes are matched against: resolved, unreserved escapes decoded, hex in upper case.
    pub(crate) matched: Cow<'a, str>,
    /// What to send upstream instead of the client's bytes; `None` when those are already right.
    pub(crate) rewritten: Option<String>,
    /// The path holds `%2F` or `%5C`, which a backend may decode into a separator.
    pub(crate) escaped_slash: bool,
}

/// Why a path was refused. Always the client's fault: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathProblem {
    #[error("the path does not start with a slash")]
    NotAbsolute,
    #[error("the path holds a character that must be percent-encoded")]
    ForbiddenByte,
    #[error("the path holds an incomplete or invalid percent escape")]
    BadEscape,
    #[error("the path holds an escaped NUL or control character")]
    EscapedControl,
    #[error("the path hides a character in an overlong UTF-8 sequence")]
    Overlong,
    #[error("the path disguises a dot segment")]
    DisguisedDots,
    #[error("the path climbs above the root")]
    AboveRoot,
    #[error("the path is not in canonical form and this listener is strict")]
    NotCanonical,
}

/// Brings `raw` (the path without its query) into canonical form. The usual path costs one pass and no allocation.
pub(crate) fn canonical(raw: &[u8], mode: PathMode) -> Result<CanonicalPath<'_>, PathProblem> {
    if raw.first() != Some(&b'/') {
        return Err(PathProblem::NotAbsolute);
    }
    let seen = scan(raw)?;
    // Only ASCII gets past `scan`.
    let raw = std::str::from_utf8(raw).map_err(|_| PathProblem::ForbiddenByte)?;
    let rewritten = match seen.odd_segments {
        true => resolve(raw)?,
        false => None,
    };
    if rewritten.is_some() && mode == PathMode::Strict {
        return Err(PathProblem::NotCanonical);
    }
    let matched = match (&rewritten, seen.respell) {
        (None, false) => Cow::Borrowed(raw),
        (Some(path), false) => Cow::Owned(path.clone()),
        (path, true) => Cow::Owned(respell(path.as_deref().unwrap_or(raw))),
    };
    Ok(CanonicalPath { matched, rewritten, escaped_slash: seen.escaped_slash })
}

/// What one pass over the bytes found.
#[derive(Default)]
struct Seen {
    /// Some segment is empty or starts with a (possibly escaped) dot: worth a closer look.
    odd_segments: bool,
    /// Some escape has another canonical spelling.
    respell: bool,
    escaped_slash: bool,
}

fn scan(raw: &[u8]) -> Result<Seen, PathProblem> {
    let mut seen = Seen::default();
    let mut rest = raw;
    let mut after_slash = false;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'/' => seen.odd_segments |= after_slash,
            b'.' => seen.odd_segments |= after_slash,
            b'%' => {
                let decoded = escape(tail)?;
                reject_dangerous(decoded, tail)?;
                seen.escaped_slash |= matches!(decoded, b'/' | b'\\');
                seen.odd_segments |= after_slash && decoded == b'.';
                seen.respell |= is_unreserved(decoded) || tail.iter().take(2).any(u8::is_ascii_lowercase);
                rest = tail.get(2..).unwrap_or_default();
            }
            b'\\' | b'#' | b'?' | 0..=0x20 | 0x7f.. => return Err(PathProblem::ForbiddenByte),
            _ => {}
        }
        after_slash = byte == b'/';
    }
    Ok(seen)
}

/// The byte that the two hex digits at the start of `digits` stand for.
fn escape(digits: &[u8]) -> Result<u8, PathProblem> {
    match digits {
        [high, low, ..] => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l).ok_or(PathProblem::BadEscape),
        _ => Err(PathProblem::BadEscape),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Refuses escaped controls, and UTF-8 sequences longer than their character needs (RFC 3629 §3).
fn reject_dangerous(decoded: u8, at: &[u8]) -> Result<(), PathProblem> {
    let next = || match at.get(2..) {
        Some([b'%', digits @ ..]) => escape(digits).ok(),
        _ => None,
    };
    let overlong = match decoded {
        0..=0x1f | 0x7f => return Err(PathProblem::EscapedControl),
        0xc0 | 0xc1 => matches!(next(), Some(0x80..=0xbf)),
        0xe0 => matches!(next(), Some(0x80..=0x9f)),
        0xf0 => matches!(next(), Some(0x80..=0x8f)),
        _ => false,
    };
    if overlong { Err(PathProblem::Overlong) } else { Ok(()) }
}

/// Resolves dot segments and merges slashes; `None` when there was nothing to do.
fn resolve(raw: &str) -> Result<Option<String>, PathProblem> {
    let mut kept: Vec<&str> = Vec::new();
    let mut changed = false;
    let mut segments = raw.split('/').skip(1).peekable();
    let mut directory = false;
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        directory = false;
        match segment {
            "" => {
                changed |= !last;
                directory = last;
            }
            "." | ".." => {
                if segment == ".." && kept.pop().is_none() {
                    return Err(PathProblem::AboveRoot);
                }
                changed = true;
                directory = last;
            }
            other if is_disguised_dots(other) => return Err(PathProblem::DisguisedDots),
            other => kept.push(other),
        }
    }
    if !changed {
        return Ok(None);
    }
    let mut path = String::with_capacity(raw.len());
    for segment in &kept {
        path.push('/');
        path.push_str(segment);
    }
    if directory || kept.is_empty() {
        path.push('/');
    }
    Ok(Some(path))
}

/// `%2e%2e`, `.%2E`, and `..;jsessionid=1`, which servlet containers read as `..`.
fn is_disguised_dots(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or(segment).as_bytes();
    let (mut dots, mut rest) = (0, name);
    loop {
        rest = match rest {
            [] => return dots == 1 || dots == 2,
            [b'.', tail @ ..] | [b'%', b'2', b'e' | b'E', tail @ ..] => tail,
            _ => return false,
        };
        dots += 1;
    }
}

/// Decodes escapes of unreserved characters and writes the others in upper case (RFC 3986 §6.2.2).
fn respell(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut parts = path.split('%');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        match escape(digits.as_bytes()) {
            Ok(byte) if is_unreserved(byte) => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
            }
        }
        out.push_str(rest);
    }
    out
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `expected` is "matched" or "matched -> rewritten".
    fn check(raw: &str, expected: &str) {
        let path = canonical(raw.as_bytes(), PathMode::Normalise).unwrap_or_else(|e| panic!("{raw}: {e}"));
        let shown = match &path.rewritten {
            None => path.matched.to_string(),
            Some(sent) => format!("{} -> {sent}", path.matched),
        };
        assert_eq!(shown, expected, "{raw}");
    }

    #[test]
    fn ordinary_paths_pass_byte_for_byte() {
        for raw in
            ["/", "/a", "/a/", "/a.b/c..d/...", "/a;v=1/b,c", "/%20/%E2%82%AC", "/.well-known/x", "/a%2Fb"]
        {
            check(raw, raw);
            assert!(matches!(canonical(raw.as_bytes(), PathMode::Strict).unwrap().matched, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn dot_segments_and_slashes_are_resolved_for_both_sides() {
        check("/a/./b", "/a/b -> /a/b");
        check("/a/../b", "/b -> /b");
        check("/a/..", "/ -> /");
        check("/a/b/..", "/a/ -> /a/");
        check("/a/.", "/a/ -> /a/");
        check("//", "/ -> /");
        check("//a///b//", "/a/b/ -> /a/b/");
        check("/a//../b", "/b -> /b");
    }

    #[test]
    fn other_spellings_match_but_are_sent_as_they_came() {
        check("/%7Euser", "/~user");
        check("/%61dmin", "/admin");
        check("/caf%c3%a9", "/caf%C3%A9");
        check("/file%2etxt", "/file.txt");
        check("//%7euser%2fx", "/~user%2Fx -> /%7euser%2fx");
    }

    #[test]
    fn escaped_slashes_are_reported() {
        for (raw, expected) in [("/a%2Fb", true), ("/a%5cb", true), ("/a%20b", false)] {
            assert_eq!(
                canonical(raw.as_bytes(), PathMode::Normalise).unwrap().escaped_slash,
                expected,
                "{raw}"
            );
        }
    }

    #[test]
    fn tricks_are_refused() {
        use PathProblem::*;
        let cases: &[(&[u8], PathProblem)] = &[
            (b"", NotAbsolute),
            (b"a", NotAbsolute),
            (b"/..", AboveRoot),
            (b"/a/../../b", AboveRoot),
            (b"/%2e%2e/admin", DisguisedDots),
            (b"/a/.%2E/admin", DisguisedDots),
            (b"/a/%2e/admin", DisguisedDots),
            (b"/a/..;x=1/admin", DisguisedDots),
            (b"/a%00", EscapedControl),
            (b"/a%0d%0aX", EscapedControl),
            (b"/a%7f", EscapedControl),
            (b"/%c0%ae%c0%ae/x", Overlong),
            (b"/%e0%80%af", Overlong),
            (b"/%f0%80%80%af", Overlong),
            (b"/a%", BadEscape),
            (b"/a%4", BadEscape),
            (b"/a%zz", BadEscape),
            (b"/a\\b", ForbiddenByte),
            (b"/a#b", ForbiddenByte),
            (b"/a b", ForbiddenByte),
            (b"/a\xff", ForbiddenByte),
            (b"/a\0", ForbiddenByte),
        ];
        for (raw, expected) in cases {
            let shown = String::from_utf8_lossy(raw);
            assert_eq!(canonical(raw, PathMode::Normalise), Err(*expected), "{shown}");
        }
    }

    #[test]
    fn strict_refuses_what_would_be_rewritten() {
        for raw in ["/a//b", "/a/./b", "/a/../b"] {
            assert_eq!(canonical(raw.as_bytes(), PathMode::Strict), Err(PathProblem::NotCanonical), "{raw}");
        }
        assert!(canonical(b"/%7Ea", PathMode::Strict).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_sent_is_canonical_and_matches_the_same(raw in "/(([a-z.;]|%2e|%2F|%7e|%41|/|\\.\\./){0,12})") {
            if let Ok(path) = canonical(raw.as_bytes(), PathMode::Normalise) {
                let sent = path.rewritten.clone().unwrap_or_else(|| raw.clone());
                let again = canonical(sent.as_bytes(), PathMode::Strict).expect("a sent path is canonical");
                prop_assert_eq!(&again.matched, &path.matched);
                prop_assert!(!path.matched.contains("//"));
                prop_assert!(!path.matched.split('/').any(|s| s == "." || s == ".."), "{}", path.matched);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(raw in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = canonical(&raw, PathMode::Normalise);
        }
    }
}
