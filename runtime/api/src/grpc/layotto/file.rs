//! Files in the Layotto dialect: streams of messages on the wire, streams of bytes behind it.

mod chunks;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use outrigger_blocks::{Error, ErrorKind, FileBody, FileOptions, Files, Page};
use outrigger_proto::layotto as proto;
use tonic::{Request, Status, Streaming};

use super::{DIALECT, RuntimeService};
use crate::status::{self, Block};

/// What `GetFile` answers with.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<proto::GetFileResponse, Status>> + Send>>;

/// How long a caller may take to name the file it is about to send.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);

impl RuntimeService {
    pub(super) async fn file_put(
        &self,
        request: Request<Streaming<proto::PutFileRequest>>,
    ) -> Result<(), Status> {
        let (metadata, _, mut messages) = request.into_parts();
        let caller = self.caller(&metadata)?;
        let first = match tokio::time::timeout(FIRST_MESSAGE, messages.message()).await {
            Ok(first) => {
                first?.ok_or_else(|| invalid("the first message, which names the file, is missing"))?
            }
            Err(_) => return Err(error(Error::new(ErrorKind::Timeout, "the first message did not come"))),
        };
        let proto::PutFileRequest { store_name, name, data, metadata } = first;
        let body = sent(data, messages);
        let put = self.blocks.files.put(&caller, &store_name, &name, body, FileOptions { metadata });
        put.await.map_err(error)
    }

    pub(super) async fn file_get(&self, request: Request<proto::GetFileRequest>) -> Result<Chunks, Status> {
        let caller = self.caller(request.metadata())?;
        let proto::GetFileRequest { store_name, name, metadata } = request.into_inner();
        let body = self.blocks.files.get(&caller, &store_name, &name, FileOptions { metadata });
        let meter = self.meter.clone();
        let chunks = chunks::of(body.await.map_err(error)?).map(move |chunk| match chunk {
            Ok(data) => Ok(proto::GetFileResponse { data }),
            Err(broken) => {
                let status = error(broken);
                meter.error(DIALECT, "GetFile", status.code());
                Err(status)
            }
        });
        Ok(Box::pin(chunks))
    }

    pub(super) async fn file_list(
        &self,
        request: Request<proto::ListFileRequest>,
    ) -> Result<proto::ListFileResp, Status> {
        let caller = self.caller(request.metadata())?;
        let proto::ListFileRequest { request, page_size, marker } = request.into_inner();
        let proto::FileRequest { store_name, name, metadata } = named(request)?;
        let size = match usize::try_from(page_size) {
            Ok(0) => Files::LARGEST_PAGE,
            Ok(size) => size,
            Err(_) => return Err(invalid(format!("page_size is {page_size}, which is less than nothing"))),
        };
        let page = Page { size, marker };
        let listed = self.blocks.files.list(&caller, &store_name, &name, page, FileOptions { metadata });
        let listed = listed.await.map_err(error)?;
        let files = listed.files.into_iter().map(|file| proto::FileInfo {
            file_name: file.name,
            size: signed(file.size),
            last_modified: time(file.modified),
            metadata: file.metadata,
        });
        Ok(proto::ListFileResp {
            files: files.collect(),
            is_truncated: listed.next.is_some(),
            marker: listed.next.unwrap_or_default(),
        })
    }

    pub(super) async fn file_delete(&self, request: Request<proto::DelFileRequest>) -> Result<(), Status> {
        let caller = self.caller(request.metadata())?;
        let proto::FileRequest { store_name, name, metadata } = named(request.into_inner().request)?;
        let options = FileOptions { metadata };
        self.blocks.files.delete(&caller, &store_name, &name, options).await.map_err(error)
    }

    pub(super) async fn file_stat(
        &self,
        request: Request<proto::GetFileMetaRequest>,
    ) -> Result<proto::GetFileMetaResponse, Status> {
        let caller = self.caller(request.metadata())?;
        let proto::FileRequest { store_name, name, metadata } = named(request.into_inner().request)?;
        let options = FileOptions { metadata };
        let info = self.blocks.files.stat(&caller, &store_name, &name, options).await.map_err(error)?;
        let values = |(name, value)| (name, proto::FileMetaValue { value: vec![value] });
        let metadata: BTreeMap<_, _> = info.metadata.into_iter().map(values).collect();
        Ok(proto::GetFileMetaResponse {
            size: signed(info.size),
            last_modified: time(info.modified),
            response: Some(proto::FileMeta { metadata }),
        })
    }
}

/// The content of an upload: what came with the name, and the data of all later messages. A stream that breaks off
/// is an error, so that no half of a file is kept.
fn sent(first: Bytes, messages: Streaming<proto::PutFileRequest>) -> FileBody {
    let rest = messages.map(|message| match message {
        Ok(message) => Ok(message.data),
        Err(status) => {
            Err(Error::new(ErrorKind::Cancelled, format!("the upload broke off: {}", status.message())))
        }
    });
    Box::pin(stream::iter([Ok(first)]).chain(rest))
}

fn named(request: Option<proto::FileRequest>) -> Result<proto::FileRequest, Status> {
    request.ok_or_else(|| invalid("request is missing"))
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn time(modified: Option<SystemTime>) -> String {
    let mut text = String::new();
    // Calendars end with the year 9999; files may claim to be younger.
    let written = modified.map(|time| write!(text, "{}", humantime::format_rfc3339_seconds(time)));
    if written.is_some_and(|written| written.is_ok()) { text } else { String::new() }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Status {
    error(Error::invalid(message))
}

fn error(error: Error) -> Status {
    status::layotto::status(Block::File, &error)
}
