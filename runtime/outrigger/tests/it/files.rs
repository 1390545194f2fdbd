//! Files over the API: streamed both ways in bounded memory, whole or not at all, and never outside their directory.

use std::{collections::BTreeMap, fs, time::Duration};

use futures_util::{StreamExt, stream};
use outrigger_proto::layotto as proto;
use tonic::{Code, Response, Status};

use crate::{
    layotto::{Client, refused, run},
    program::{Folder, eventually},
};

const CONFIG: &str = "
app: { id: orders }
components:
  files: { type: file.local, settings: { rootPath: files } }
  theirs: { type: file.local, scopes: [billing], settings: { rootPath: theirs } }
";
const CHUNK: usize = 102_400;

fn file(store: &str, name: &str) -> Option<proto::FileRequest> {
    Some(proto::FileRequest { store_name: store.into(), name: name.into(), ..Default::default() })
}

fn piece(data: Vec<u8>) -> proto::PutFileRequest {
    proto::PutFileRequest { data: data.into(), ..Default::default() }
}

fn first(store: &str, name: &str, metadata: &[(&str, &str)]) -> proto::PutFileRequest {
    let metadata: BTreeMap<_, _> =
        metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    proto::PutFileRequest { store_name: store.into(), name: name.into(), metadata, ..Default::default() }
}

impl Client {
    async fn put(&mut self, store: &str, name: &str, pieces: Vec<Vec<u8>>) -> Result<(), Status> {
        self.put_with(store, name, &[], pieces).await
    }

    async fn put_with(
        &mut self,
        store: &str,
        name: &str,
        metadata: &[(&str, &str)],
        pieces: Vec<Vec<u8>>,
    ) -> Result<(), Status> {
        let messages = std::iter::once(first(store, name, metadata)).chain(pieces.into_iter().map(piece));
        self.runtime.put_file(stream::iter(messages.collect::<Vec<_>>())).await.map(drop)
    }

    /// The sizes of the messages, and what they held.
    async fn read(&mut self, store: &str, name: &str) -> Result<(Vec<usize>, Vec<u8>), Status> {
        let request =
            proto::GetFileRequest { store_name: store.into(), name: name.into(), ..Default::default() };
        let mut messages = self.runtime.get_file(request).await?.into_inner();
        let (mut sizes, mut content) = (Vec::new(), Vec::new());
        while let Some(message) = messages.message().await? {
            sizes.push(message.data.len());
            content.extend_from_slice(&message.data);
        }
        Ok((sizes, content))
    }

    async fn list(
        &mut self,
        store: &str,
        name: &str,
        page_size: i32,
        marker: &str,
    ) -> Result<proto::ListFileResp, Status> {
        let request =
            proto::ListFileRequest { request: file(store, name), page_size, marker: marker.to_owned() };
        self.runtime.list_file(request).await.map(Response::into_inner)
    }

    async fn stat(&mut self, store: &str, name: &str) -> Result<proto::GetFileMetaResponse, Status> {
        let request = proto::GetFileMetaRequest { request: file(store, name) };
        self.runtime.get_file_meta(request).await.map(Response::into_inner)
    }

    async fn remove(&mut self, store: &str, name: &str) -> Result<(), Status> {
        self.runtime.del_file(proto::DelFileRequest { request: file(store, name) }).await.map(drop)
    }
}

#[test]
fn a_file_is_put_read_listed_told_and_deleted() {
    let folder = Folder::with(CONFIG);
    let program = folder.run();
    run(&program, async |c| {
        let content: Vec<u8> = (0..250_000_u32).map(|n| (n % 251) as u8).collect();
        // As Layotto's Java SDK sends: an empty first message, then pieces of 4 KiB.
        let pieces = content.chunks(4096).map(<[u8]>::to_vec).collect();
        c.put_with("files", "a/big", &[("FileMode", "0600"), ("FileFlag", "66")], pieces).await.unwrap();
        assert_eq!(fs::read(folder.path("files/a/big")).unwrap(), content, "it is an ordinary file");
        let (sizes, read) = c.read("files", "a/big").await.unwrap();
        assert_eq!(sizes, [CHUNK, CHUNK, 250_000 - 2 * CHUNK]);
        assert!(read == content);

        c.put("files", "a/empty", vec![]).await.unwrap();
        assert_eq!(c.read("files", "a/empty").await.unwrap(), (vec![], vec![]));
        c.put("files", "a/small", vec![b"x".to_vec()]).await.unwrap();
        let page = c.list("files", "a", 2, "").await.unwrap();
        let names = |page: &proto::ListFileResp| {
            page.files.iter().map(|file| (file.file_name.clone(), file.size)).collect::<Vec<_>>()
        };
        assert_eq!(names(&page), [("big".to_owned(), 250_000), ("empty".to_owned(), 0)]);
        assert_eq!((page.is_truncated, page.marker.as_str()), (true, "empty"));
        let page = c.list("files", "a", 2, &page.marker).await.unwrap();
        assert_eq!(names(&page), [("small".to_owned(), 1)]);
        assert!(!page.is_truncated && page.marker.is_empty());
        assert_eq!(c.list("files", "a", 0, "").await.unwrap().files.len(), 3, "0 is as many as there are");
        assert!(page.files[0].last_modified.ends_with('Z'), "{page:?}");

        let told = c.stat("files", "a/big").await.unwrap();
        assert_eq!(told.size, 250_000);
        assert_eq!(told.response.unwrap().metadata["FileMode"].value, ["0600"]);
        c.remove("files", "a/big").await.unwrap();
        refused(c.stat("files", "a/big").await, Code::NotFound, "no such file");
        assert!(!folder.path("files/a/big").exists());
    });
}

#[test]
fn each_mistake_has_its_code() {
    let folder = Folder::with(CONFIG);
    let program = folder.run();
    run(&program, async |c| {
        for (store, code, words) in [
            ("fles", Code::InvalidArgument, "did you mean 'files'?"),
            ("", Code::InvalidArgument, "store_name is empty"),
            ("theirs", Code::PermissionDenied, "not open to app 'orders'"),
        ] {
            refused(c.put(store, "x", vec![]).await, code, words);
            refused(c.read(store, "x").await, code, words);
            refused(c.list(store, "", 0, "").await, code, words);
            refused(c.stat(store, "x").await, code, words);
            refused(c.remove(store, "x").await, code, words);
        }
        for name in ["../outrigger.yaml", "/etc/passwd", "a/../../outrigger.yaml", "a//b", "."] {
            refused(c.put("files", name, vec![]).await, Code::InvalidArgument, "the name ");
            refused(c.read("files", name).await, Code::InvalidArgument, "the name ");
            refused(c.list("files", name, 0, "").await, Code::InvalidArgument, "the name ");
            refused(c.stat("files", name).await, Code::InvalidArgument, "the name ");
            refused(c.remove("files", name).await, Code::InvalidArgument, "the name ");
        }
        std::os::unix::fs::symlink(folder.path("outrigger.yaml"), folder.path("files/link")).unwrap();
        refused(c.read("files", "link").await, Code::InvalidArgument, "links are not followed");
        refused(c.put("files", "link", vec![]).await, Code::InvalidArgument, "links are not followed");

        refused(c.read("files", "missing").await, Code::NotFound, "name=missing");
        refused(c.remove("files", "missing").await, Code::NotFound, "name=missing");
        refused(c.list("files", "missing", 0, "").await, Code::NotFound, "name=missing");
        refused(c.read("files", "").await, Code::InvalidArgument, "empty");
        refused(c.list("files", "", -1, "").await, Code::InvalidArgument, "page_size is -1");
        let flags = |flags| [("FileFlag", flags)];
        let put = c.put_with("files", "x", &flags("1025"), vec![]).await;
        refused(put, Code::InvalidArgument, "O_APPEND");
        c.put_with("files", "once", &flags("193"), vec![]).await.unwrap();
        refused(c.put_with("files", "once", &flags("193"), vec![]).await, Code::AlreadyExists, "name=once");

        let nothing = c.runtime.put_file(stream::empty()).await;
        refused(nothing, Code::InvalidArgument, "first message");
        refused(
            c.runtime.list_file(proto::ListFileRequest::default()).await,
            Code::InvalidArgument,
            "request is missing",
        );
        refused(
            c.runtime.del_file(proto::DelFileRequest::default()).await,
            Code::InvalidArgument,
            "request is missing",
        );
        let stat = c.runtime.get_file_meta(proto::GetFileMetaRequest::default()).await;
        refused(stat, Code::InvalidArgument, "request is missing");
    });
    let none = Folder::with("components: {}\n");
    run(&none.run(), async |c| {
        let words = "no file store is configured";
        refused(c.put("files", "x", vec![]).await, Code::FailedPrecondition, words);
        refused(c.read("files", "x").await, Code::FailedPrecondition, words);
        refused(c.list("files", "", 0, "").await, Code::FailedPrecondition, words);
        refused(c.stat("files", "x").await, Code::FailedPrecondition, words);
        refused(c.remove("files", "x").await, Code::FailedPrecondition, words);
    });
}

#[test]
fn an_upload_that_breaks_off_leaves_what_was_there() {
    let quick = "rootPath: files }, policy: { timeout: 2s }";
    let folder = Folder::with(&CONFIG.replace("rootPath: files }", quick));
    let program = folder.run();
    let left = || fs::read_dir(folder.path("files")).unwrap().count();
    run(&program, async |c| {
        c.put("files", "file", vec![b"before".to_vec()]).await.unwrap();
        let begun = || {
            let pieces = vec![first("files", "file", &[]), piece(vec![b'x'; 300_000])];
            stream::iter(pieces).chain(stream::pending())
        };
        // The caller stops sending.
        let stalled = c.runtime.put_file(begun()).await;
        refused(stalled, Code::Cancelled, "stopped sending");
        // The caller goes away.
        let gone = tokio::time::timeout(Duration::from_millis(100), c.runtime.put_file(begun())).await;
        assert!(gone.is_err());
        assert_eq!(c.read("files", "file").await.unwrap().1, b"before");
    });
    eventually("nothing is left of the uploads", || (left() == 1).then_some(()));
}

/// Memory a process holds data in, in bytes; its code comes and goes.
fn held(id: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn memory_is_bounded_by_the_stream_and_not_by_the_file() {
    const FILE: usize = 128 << 20;
    let folder = Folder::with(CONFIG);
    let program = folder.run();
    run(&program, async |c| {
        c.put("files", "warm", vec![vec![0; 1 << 20]]).await.unwrap();
        c.read("files", "warm").await.unwrap();
        let before = held(program.id());
        let pieces = (0..FILE / (64 << 10)).map(|n| piece(vec![n as u8; 64 << 10]));
        let messages = stream::iter(std::iter::once(first("files", "big", &[])).chain(pieces));
        c.runtime.put_file(messages).await.unwrap();
        let request =
            proto::GetFileRequest { store_name: "files".into(), name: "big".into(), ..Default::default() };
        let mut messages = c.runtime.get_file(request).await.unwrap().into_inner();
        let mut read = messages.message().await.unwrap().unwrap().data.len();
        // A reader who pauses: what could be read ahead would have been by now.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let paused = held(program.id());
        while let Some(message) = messages.message().await.unwrap() {
            read += message.data.len();
        }
        assert_eq!(read, FILE);
        let most = paused.max(held(program.id()));
        assert!(most < before + (16 << 20), "{before} grew to {most}");
    });
}
