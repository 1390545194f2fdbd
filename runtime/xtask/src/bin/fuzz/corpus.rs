//! The inputs to start from: a file each, or many as the last column of a table (`.tsv`) with bytes escaped.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Every input of a directory, in a fixed order so that a seed means the same everywhere.
pub(crate) fn read(dir: &Path) -> Result<Vec<Vec<u8>>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    let mut inputs = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        if file.extension().is_some_and(|extension| extension == "tsv") {
            inputs.extend(table(&String::from_utf8(bytes)?));
        } else {
            inputs.push(bytes);
        }
    }
    ensure!(!inputs.is_empty(), "{} is empty", dir.display());
    Ok(inputs)
}

/// The last column of each line that is not a comment.
fn table(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(unescape(line.rsplit_once('\t')?.1)))
}

/// `\r \n \t \\ \xNN` as bytes; anything else stays as it is.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'\\', [b'r', after @ ..]) => (b'\r', after),
            (b'\\', [b'n', after @ ..]) => (b'\n', after),
            (b'\\', [b't', after @ ..]) => (b'\t', after),
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\', [b'x', high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, after),
                _ => (b'\\', after),
            },
            (other, after) => (*other, after),
        };
        bytes.push(byte);
        rest = after;
    }
    bytes
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_inputs() {
        let text = "# a comment\nname\tverdict\tGET /\\t\\\\ HTTP/1.1\\r\\n\\x00\\xfF\n";
        assert_eq!(table(text).collect::<Vec<_>>(), [b"GET /\t\\ HTTP/1.1\r\n\x00\xff"]);
    }
}
