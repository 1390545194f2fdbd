//! Files: named byte streams.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use outrigger_proto::layotto as proto;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{Client, Error, ErrorKind, Result};

/// Small enough for every limit on messages on the way.
const PIECE: usize = 64 * 1024;

/// One file store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FileStore {
    client: Client,
    name: String,
}

/// A file without its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileInfo {
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// As the store writes it.
    pub modified: String,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePage {
    pub files: Vec<FileInfo>,
    /// What to give [`FileStore::list`] for the next page; `None` when there is none.
    pub next: Option<String>,
}

impl FileStore {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Writes a file whole.
    pub async fn put(&self, name: impl Into<String>, content: impl Into<Bytes>) -> Result<()> {
        let first = self.first(name.into());
        let call =
            self.client.streaming(tokio_stream::iter(std::iter::once(first).chain(pieces(content.into()))));
        self.client.runtime().put_file(call).await?;
        Ok(())
    }

    /// Begins to write a file piece by piece. It is there when [`FileWriter::finish`] has returned; until then, and when
    /// the writer is dropped before, there is what was there before.
    pub fn create(&self, name: impl Into<String>) -> FileWriter {
        let (sender, receiver) = mpsc::channel(FileWriter::AHEAD);
        let first = self.first(name.into());
        let client = self.client.clone();
        let put = async move {
            // Whoever lets go of the writer gives the call up; without a last word the content does not end meanwhile.
            let said = tokio_stream::once(Some(first)).chain(ReceiverStream::new(receiver));
            let call = client.streaming(said.chain(tokio_stream::pending()).map_while(|piece| piece));
            client.runtime().put_file(call).await?;
            Ok(())
        };
        FileWriter { pieces: sender, put: Some(Box::pin(put)) }
    }

    fn first(&self, name: String) -> proto::PutFileRequest {
        proto::PutFileRequest { store_name: self.name.clone(), name, ..Default::default() }
    }

    /// Reads a file piece by piece.
    pub async fn get(&self, name: impl Into<String>) -> Result<FileReader> {
        let request =
            proto::GetFileRequest { store_name: self.name.clone(), name: name.into(), ..Default::default() };
        let call = self.client.streaming(request);
        Ok(FileReader { pieces: self.client.runtime().get_file(call).await?.into_inner() })
    }

    /// The files directly under a directory, at most `size` of them, after `marker` (empty for the first page).
    pub async fn list(
        &self,
        directory: impl Into<String>,
        size: u16,
        marker: impl Into<String>,
    ) -> Result<FilePage> {
        let request = proto::ListFileRequest {
            request: self.file(directory),
            page_size: size.into(),
            marker: marker.into(),
        };
        let page = self.client.runtime().list_file(self.client.request(request)).await?.into_inner();
        let files = page.files.into_iter().map(|file| FileInfo {
            name: file.file_name,
            size: file.size.try_into().unwrap_or_default(),
            modified: file.last_modified,
        });
        Ok(FilePage { files: files.collect(), next: page.is_truncated.then_some(page.marker) })
    }

    /// Removes a file.
    pub async fn delete(&self, name: impl Into<String>) -> Result<()> {
        let request = proto::DelFileRequest { request: self.file(name) };
        self.client.runtime().del_file(self.client.request(request)).await?;
        Ok(())
    }

    /// What is known of a file without reading it.
    pub async fn stat(&self, name: impl Into<String>) -> Result<FileInfo> {
        let name = name.into();
        let request = proto::GetFileMetaRequest { request: self.file(&*name) };
        let found = self.client.runtime().get_file_meta(self.client.request(request)).await?.into_inner();
        let size = found.size.try_into().unwrap_or_default();
        Ok(FileInfo { name, size, modified: found.last_modified })
    }

    fn file(&self, name: impl Into<String>) -> Option<proto::FileRequest> {
        let metadata = BTreeMap::new();
        Some(proto::FileRequest { store_name: self.name.clone(), name: name.into(), metadata })
    }
}

fn pieces(content: Bytes) -> impl Iterator<Item = proto::PutFileRequest> {
    (0..content.len()).step_by(PIECE).map(move |at| {
        let data = content.slice(at..content.len().min(at + PIECE));
        proto::PutFileRequest { data, ..Default::default() }
    })
}

/// A file under way to its store.
#[must_use = "the file is there when it is finished"]
pub struct FileWriter {
    /// `None` is the last word.
    pieces: mpsc::Sender<Option<proto::PutFileRequest>>,
    /// The call; `None` when it has failed.
    put: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>,
}

impl FileWriter {
    /// Pieces on their way; more wait.
    const AHEAD: usize = 4;

    /// Sends more of the content. An error is the end of it.
    pub async fn write(&mut self, content: impl Into<Bytes>) -> Result<()> {
        for piece in pieces(content.into()) {
            let Some(put) = &mut self.put else { return Err(given_up()) };
            tokio::select! {
                biased;
                ended = put => {
                    self.put = None;
                    return Err(ended.err().unwrap_or_else(given_up));
                }
                // When nobody takes it any more, the call says why.
                Ok(()) = self.pieces.send(Some(piece)) => {}
            }
        }
        Ok(())
    }

    /// Has the store take the file, whole.
    pub async fn finish(self) -> Result<()> {
        let Self { pieces, put } = self;
        let Some(put) = put else { return Err(given_up()) };
        // When nobody takes it any more, the call says why.
        let (put, _) = tokio::join!(put, pieces.send(None));
        put
    }
}

impl fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriter").finish_non_exhaustive()
    }
}

fn given_up() -> Error {
    Error::new(ErrorKind::Cancelled, "the sidecar has given the file up")
}

/// The content of a file.
#[derive(Debug)]
pub struct FileReader {
    pieces: Streaming<proto::GetFileResponse>,
}

impl FileReader {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.pieces.message().await?.map(|piece| piece.data))
    }

    /// All that is left, in memory.
    pub async fn read_to_end(mut self) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        while let Some(piece) = self.next().await? {
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }
}
