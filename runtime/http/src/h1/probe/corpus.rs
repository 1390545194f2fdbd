//! The corpus of messages under `tests/corpus`: one a line, escaped, with what we make of it.

use super::{End, read_all};

/// A line of the corpus: name, verdict and message, separated by tabs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub name: String,
    /// See [`verdict`].
    pub verdict: String,
    pub bytes: Vec<u8>,
    /// The message as the file has it.
    pub escaped: String,
}

/// Reads a table of messages; empty lines and those that begin with `#` are skipped. `None` when a line is not
/// three fields, or an escape is not one of `\r \n \t \\ \xNN`.
#[must_use]
pub fn messages(table: &str) -> Option<Vec<Message>> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut fields = line.splitn(3, '\t');
            let (name, verdict, escaped) = (fields.next()?, fields.next()?, fields.next()?);
            let bytes = unescape(escaped)?;
            Some(Message {
                name: name.to_owned(),
                verdict: verdict.to_owned(),
                bytes,
                escaped: escaped.to_owned(),
            })
        })
        .collect()
}

/// How many requests are read from these bytes, and how reading ends: `2 clean`, `1 partial`, `0 bare_lf`.
#[must_use]
pub fn verdict(bytes: &[u8]) -> String {
    let (read, end) = read_all(bytes, usize::MAX);
    let end = match end {
        End::Clean => "clean",
        End::Partial => "partial",
        End::Refused(reason) => reason,
    };
    format!("{} {end}", read.len())
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'\\' => match rest.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'\\' => b'\\',
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(out)
}
