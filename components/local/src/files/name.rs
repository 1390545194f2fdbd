//! From what a caller calls a file to the parts of its path.

use std::fmt;

use outrigger_component_api::{Error, Result};

/// How the names of files begin that are not whole yet; no names for anybody else.
pub(super) const UPLOAD: &str = ".outrigger-upload-";

/// A relative path whose parts are plain names: it leads down and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<String>);

impl Name {
    /// The name of a file.
    pub(super) fn file(name: &str) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::invalid("the name of the file is empty"));
        }
        Self::parts(name)
    }

    /// The name of a directory; empty is the root, and a slash at its end is nothing.
    pub(super) fn directory(name: &str) -> Result<Self> {
        match name.strip_suffix('/').unwrap_or(name) {
            "" if name.is_empty() => Ok(Self(Vec::new())),
            name => Self::parts(name),
        }
    }

    fn parts(name: &str) -> Result<Self> {
        let parts: Vec<String> = name.split('/').map(str::to_owned).collect();
        let wrong = |why: &'static str| Err(Error::invalid(why));
        if name.starts_with('/') {
            return wrong("the name begins with a slash; names are relative to the store's root");
        }
        for part in &parts {
            match part.as_str() {
                "" => return wrong("the name has an empty part"),
                "." | ".." => return wrong("the name has a part that is '.' or '..'"),
                part if part.starts_with(UPLOAD) => {
                    return wrong("the name has a part that is the store's own");
                }
                part if part.contains('\0') => {
                    return wrong("the name has a character that no file can have");
                }
                _ => {}
            }
        }
        Ok(Self(parts))
    }

    /// All parts, of a directory.
    pub(super) fn all(&self) -> &[String] {
        &self.0
    }

    /// The directories, and the file in the last of them.
    pub(super) fn split(&self) -> (&[String], &str) {
        self.0.split_last().map_or((&[], ""), |(file, directories)| (directories, file))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_down_only() {
        for name in ["a", "a/b.txt", "..a/b..", "ü ü/\\", ".hidden", ".outrigger"] {
            assert_eq!(Name::file(name).expect(name).to_string(), name);
        }
        for name in [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/..",
            "a/../../b",
            "./a",
            "a/./b",
            "a\0b",
            "a/.outrigger-upload-x",
        ] {
            Name::file(name).expect_err(name);
        }
        assert!(Name::directory("").expect("the root").all().is_empty());
        assert_eq!(Name::directory("a/b/").expect("reads").all(), ["a", "b"]);
        for name in ["/", "//", "a//", "..", ".outrigger-upload-x"] {
            Name::directory(name).expect_err(name);
        }
    }
}
