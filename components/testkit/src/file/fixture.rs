//! Short ways to say what the cases say most.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use outrigger_component_api::{Error, ErrorKind, FileBody, FileOptions, FileStore, Result};

/// The store as the cases take it.
pub(super) type Store = Arc<dyn FileStore>;

/// A body of these pieces.
pub(super) fn body(pieces: impl IntoIterator<Item = Bytes>) -> FileBody {
    let pieces: Vec<_> = pieces.into_iter().map(Ok).collect();
    Box::pin(stream::iter(pieces))
}

/// A body that fails after these pieces.
pub(super) fn broken(pieces: impl IntoIterator<Item = Bytes>) -> FileBody {
    let failure = stream::iter([Err(Error::new(ErrorKind::Cancelled, "the sender went away"))]);
    Box::pin(body(pieces).chain(failure))
}

/// A body that never ends after these pieces.
pub(super) fn endless(pieces: impl IntoIterator<Item = Bytes>) -> FileBody {
    Box::pin(body(pieces).chain(stream::pending()))
}

pub(super) async fn write(store: &Store, name: &str, content: impl Into<Bytes>) {
    store.put(name, body([content.into()]), FileOptions::default()).await.expect("written");
}

pub(super) async fn read(store: &Store, name: &str) -> Result<Vec<u8>> {
    let pieces: Vec<Bytes> = store.get(name, FileOptions::default()).await?.try_collect().await?;
    Ok(pieces.concat())
}

#[track_caller]
pub(super) fn refused<T>(result: Result<T>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("must be refused"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}
