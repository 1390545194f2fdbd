//! The file block: named byte streams.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

use crate::{Component, Result};

/// The content of a file, in pieces of any size.
pub type FileBody = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// A place files are kept. A name is a relative path with `/` between its parts; one that would leave the store's root
/// (`..`, an absolute path, a link that points outside) is [`InvalidArgument`](crate::ErrorKind::InvalidArgument) and
/// touches nothing.
#[async_trait]
pub trait FileStore: Component {
    /// Writes a file whole: when the body ends early or fails, or the future is dropped, whatever was there before is
    /// still there.
    async fn put(&self, name: &str, body: FileBody, options: FileOptions) -> Result<()>;

    /// Reads a file from its beginning. A name that is not there is [`NotFound`](crate::ErrorKind::NotFound).
    async fn get(&self, name: &str, options: FileOptions) -> Result<FileBody>;

    /// The files directly under a directory, by name, beginning after `marker`.
    async fn list(&self, directory: &str, page: Page, options: FileOptions) -> Result<FileList>;

    /// Removes a file. A name that is not there is [`NotFound`](crate::ErrorKind::NotFound).
    async fn delete(&self, name: &str, options: FileOptions) -> Result<()>;

    /// What is known of a file without reading it. A name that is not there is
    /// [`NotFound`](crate::ErrorKind::NotFound).
    async fn stat(&self, name: &str, options: FileOptions) -> Result<FileInfo>;
}

/// Options of [`FileStore`]'s methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// What the caller sent along; stores ignore what they do not know.
    pub metadata: BTreeMap<String, String>,
}

/// Which part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The most files; at least 1.
    pub size: usize,
    /// The last name of the page before; empty for the first page.
    pub marker: String,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileList {
    pub files: Vec<FileInfo>,
    /// The marker of the next page; `None` when there is none.
    pub next: Option<String>,
}

/// A file without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    pub name: String,
    /// In bytes.
    pub size: u64,
    pub modified: Option<SystemTime>,
    pub metadata: BTreeMap<String, String>,
}
