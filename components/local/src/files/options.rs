//! What a caller may say of a file it writes, in Layotto's words.

use std::collections::BTreeMap;

use outrigger_component_api::{Error, Result};

/// Flags of `open(2)`, as `FileFlag` has them.
const EXCLUSIVE: u32 = 0o200;
const APPEND: u32 = 0o2000;

/// How a file is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PutOptions {
    /// Permissions, before the process's mask.
    pub(super) mode: u32,
    /// Only if there is none yet.
    pub(super) exclusive: bool,
}

impl PutOptions {
    /// `FileMode`: permissions, octal with a zero in front and decimal without. We can always read and write what we
    /// wrote. `FileFlag`: decimal, as Layotto reads it; a file is always made and always replaced whole, so only
    /// `O_EXCL` makes a difference, and `O_APPEND` is refused.
    pub(super) fn read(metadata: &BTreeMap<String, String>) -> Result<Self> {
        const OWNER: u32 = 0o600;
        let mode = number(metadata, "FileMode", radix)?.unwrap_or(0o644);
        let flags = number(metadata, "FileFlag", |_| 10)?.unwrap_or(0);
        if flags & APPEND != 0 {
            return Err(
                Error::invalid("FileFlag has O_APPEND, but files are written whole").with("FileFlag", flags)
            );
        }
        Ok(Self { mode: mode & 0o777 | OWNER, exclusive: flags & EXCLUSIVE != 0 })
    }
}

fn radix(text: &str) -> u32 {
    if text.len() > 1 && text.starts_with('0') { 8 } else { 10 }
}

fn number(
    metadata: &BTreeMap<String, String>,
    name: &'static str,
    radix: fn(&str) -> u32,
) -> Result<Option<u32>> {
    let Some(text) = metadata.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let number = u32::from_str_radix(text, radix(text));
    number.map(Some).map_err(|_| Error::invalid(format!("{name} is not a number: '{text}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[(&str, &str)]) -> Result<(u32, bool)> {
        let metadata =
            entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        PutOptions::read(&metadata).map(|options| (options.mode, options.exclusive))
    }

    #[test]
    fn modes_and_flags_are_read_as_people_write_them() {
        let check = |entries: &[(&str, &str)], mode, exclusive| {
            assert_eq!(read(entries).expect("reads"), (mode, exclusive), "{entries:?}");
        };
        check(&[], 0o644, false);
        check(&[("FileMode", "0777")], 0o777, false);
        check(&[("FileMode", "511")], 0o777, false);
        check(&[("FileMode", "0")], 0o600, false);
        check(&[("FileMode", "04755")], 0o755, false);
        check(&[("FileMode", "521"), ("FileFlag", "0777")], 0o611, false); // Layotto's Java demo
        check(&[("FileFlag", "66")], 0o644, false); // O_CREAT | O_RDWR
        check(&[("FileFlag", "194")], 0o644, true); // O_CREAT | O_EXCL | O_RDWR
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for entry in [("FileMode", "rwx"), ("FileMode", "089"), ("FileFlag", "-1"), ("FileFlag", "1090")] {
            let error = read(&[entry]).expect_err("refused");
            assert!(error.message().starts_with(entry.0), "{error}");
        }
    }
}
