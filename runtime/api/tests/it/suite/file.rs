//! Files, of the local store. The dialect has no word for the end of an upload that failed but that it is given up.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use outrigger_component_api::{
    Component, FileBody, FileInfo, FileList, FileOptions, FileStore, Page, Result, async_trait,
};
use outrigger_local::{LocalFiles, LocalFilesConfig};
use outrigger_sdk as sdk;

use super::{Remote, error};
use crate::harness::Sidecar;

outrigger_testkit::file_suite!(remote());

fn remote() -> Arc<dyn FileStore> {
    let folder = tempfile::tempdir().unwrap();
    let root_path = folder.path().join("files");
    let open = || outrigger_testkit::run(LocalFiles::open(LocalFilesConfig { root_path }));
    let store = std::thread::spawn(open).join().unwrap().unwrap();
    let seat = move |sidecar: &Sidecar| {
        sidecar.blocks.files.stores.replace([sidecar.seat("files", Arc::new(store) as _)]);
        Box::new(folder) as _
    };
    Arc::new(Remote::start(seat, |client| client.files("files")))
}

#[async_trait]
impl Component for Remote<sdk::FileStore> {
    async fn ping(&self) -> Result<()> {
        self.call(|store| async move { store.list("", 1, "").await }).await.map(drop)
    }
}

#[async_trait]
impl FileStore for Remote<sdk::FileStore> {
    async fn put(&self, name: &str, mut body: FileBody, _: FileOptions) -> Result<()> {
        let mut file = self.client.create(name);
        // Here and not on the remote runtime: whoever gives this call up gives the upload up.
        while let Some(piece) = body.next().await {
            file.write(piece?).await.map_err(error)?;
        }
        file.finish().await.map_err(error)
    }

    async fn get(&self, name: &str, _: FileOptions) -> Result<FileBody> {
        let name = name.to_owned();
        let file = self.call(|store| async move { store.get(name).await }).await?;
        Ok(Box::pin(stream::unfold(Some(file), |file| async {
            let mut file = file?;
            match file.next().await {
                Ok(piece) => Some((Ok(piece?), Some(file))),
                Err(failure) => Some((Err(error(failure)), None)),
            }
        })))
    }

    async fn list(&self, directory: &str, page: Page, _: FileOptions) -> Result<FileList> {
        let (directory, marker) = (directory.to_owned(), page.marker);
        let size = page.size.try_into().unwrap_or(u16::MAX);
        let found = self.call(move |store| async move { store.list(directory, size, marker).await }).await?;
        Ok(FileList { files: found.files.into_iter().map(info).collect(), next: found.next })
    }

    async fn delete(&self, name: &str, _: FileOptions) -> Result<()> {
        let name = name.to_owned();
        self.call(|store| async move { store.delete(name).await }).await
    }

    async fn stat(&self, name: &str, _: FileOptions) -> Result<FileInfo> {
        let name = name.to_owned();
        self.call(|store| async move { store.stat(name).await }).await.map(info)
    }
}

fn info(file: sdk::FileInfo) -> FileInfo {
    let modified = humantime::parse_rfc3339_weak(&file.modified).ok();
    FileInfo { name: file.name, size: file.size, modified, metadata: BTreeMap::new() }
}
