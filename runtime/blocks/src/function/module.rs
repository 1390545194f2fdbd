//! A module as it came, with the name its content gives it.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_component_api::{Error, Result};
use ring::digest::{SHA256, digest};
use rustix::fs::OFlags;

/// The largest module.
pub const MAX_MODULE: usize = 32 << 20;

/// A module and its digest, which is computed once.
#[derive(Clone, Debug)]
pub struct Module {
    bytes: Bytes,
    sha256: Arc<str>,
}

impl Module {
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// In hexadecimal.
    pub fn sha256(&self) -> &Arc<str> {
        &self.sha256
    }

    /// Whether this is its digest, in either case.
    pub fn is(&self, sha256: &str) -> bool {
        self.sha256.eq_ignore_ascii_case(sha256)
    }

    /// Reads a module's file: a regular one of a size modules have. Takes its time.
    ///
    /// # Errors
    /// [`InvalidArgument`](outrigger_component_api::ErrorKind::InvalidArgument) naming the file.
    pub fn read(file: &Path) -> Result<Self> {
        let unread = |error| Error::invalid(format!("cannot read {}: {error}", file.display()));
        let bytes = content(file).map_err(unread)?;
        if bytes.len() > MAX_MODULE {
            return Err(Error::invalid(format!("{} is larger than 32 MiB", file.display())));
        }
        Ok(bytes.into())
    }
}

/// At most one byte more than a module may have.
fn content(file: &Path) -> io::Result<Vec<u8>> {
    // A pipe would have us wait for its other end.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(nonblocking).open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    opened.take(MAX_MODULE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl From<Bytes> for Module {
    fn from(bytes: Bytes) -> Self {
        Self { sha256: sha256(&bytes), bytes }
    }
}

impl From<Vec<u8>> for Module {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

/// A digest in hexadecimal.
pub fn sha256(bytes: &[u8]) -> Arc<str> {
    let digits = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    digits.into()
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_of_a_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let check = |file: &Path, expected: &str| {
            let error = Module::read(file).unwrap_err();
            assert!(error.message().ends_with(expected), "{error}");
        };
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        check(&pipe, "it is no regular file");
        check(Path::new("/dev/zero"), "it is no regular file");
        check(folder.path(), "it is no regular file");
        let large = folder.path().join("large");
        std::fs::File::create(&large).unwrap().set_len(MAX_MODULE as u64 + 1).unwrap();
        check(&large, "is larger than 32 MiB");
        std::fs::File::create(&large).unwrap().set_len(MAX_MODULE as u64).unwrap();
        assert_eq!(Module::read(&large).unwrap().bytes().len(), MAX_MODULE);
    }

    #[test]
    fn the_digest_is_that_of_the_content() {
        let module = Module::from(b"abc".to_vec());
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(&**module.sha256(), digest);
        assert!(module.is(&digest.to_uppercase()) && !module.is("ba78"));
    }
}
