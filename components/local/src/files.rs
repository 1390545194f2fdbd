//! Files in a directory of the host, which no name leads out of.
//!
//! A name is walked part by part from the root, each part opened relative to the one before and never through a link,
//! so that nothing that changes meanwhile can lead elsewhere. A file is written beside the others and moved into its
//! place once it is whole and on disk.

mod folder;
mod name;
mod options;
mod page;
mod upload;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use outrigger_component_api::{
    Backend, BuildContext, Component, Error, FileBody, FileInfo, FileList, FileOptions, FileStore, Page,
    Result, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;

use folder::Root;
use name::Name;
use options::PutOptions;
use upload::Upload;

/// Registers [`LocalFiles`] as `file.local`.
pub struct LocalFilesBackend;

/// Settings of `file.local`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LocalFilesConfig {
    /// The directory all files are under; it is made if it is missing. Links in it are not followed. With `/` a name
    /// may begin with a slash.
    pub root_path: PathBuf,
}

#[async_trait]
impl Backend for LocalFilesBackend {
    const TYPE: &'static str = "file.local";
    const ABOUT: &'static str = "Files under one directory of the host.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("rootPath", "files")];
    type Config = LocalFilesConfig;
    type Block = dyn FileStore;

    async fn build(config: LocalFilesConfig, _: &BuildContext) -> Result<Arc<dyn FileStore>> {
        Ok(Arc::new(LocalFiles::open(config).await?))
    }
}

/// The files under one directory.
pub struct LocalFiles {
    root: Arc<Root>,
}

/// How much is read at a time, and held for each reader.
const PIECE: usize = 100 * 1024;

impl LocalFiles {
    /// Makes the directory if need be.
    pub async fn open(config: LocalFilesConfig) -> Result<Self> {
        if config.root_path.as_os_str().is_empty() {
            return Err(Error::invalid("rootPath is empty").with("setting", "rootPath"));
        }
        let root = blocking(move || Root::make(config.root_path)).await?;
        Ok(Self { root: Arc::new(root) })
    }

    /// Runs a walk from the root where it may block.
    async fn at<T: Send + 'static>(
        &self,
        name: Name,
        walk: impl FnOnce(&Root, &Name) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let root = Arc::clone(&self.root);
        blocking(move || walk(&root, &name).map_err(|error| error.with("name", name))).await
    }

    fn name(&self, name: &str) -> Result<Name> {
        Name::file(self.root.strip(name)).map_err(|error| error.with("name", name))
    }
}

/// Work with files belongs on a thread that may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("the work on a file was broken off").with_source(error))?
}

#[async_trait]
impl Component for LocalFiles {
    async fn ping(&self) -> Result<()> {
        let root = Arc::clone(&self.root);
        blocking(move || root.open().map(drop)).await
    }
}

#[async_trait]
impl FileStore for LocalFiles {
    async fn put(&self, name: &str, mut body: FileBody, options: FileOptions) -> Result<()> {
        let name = self.name(name)?;
        let options = PutOptions::read(&options.metadata)?;
        let mut upload = self.at(name.clone(), move |root, name| Upload::begin(root, name, options)).await?;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            upload = blocking(move || upload.write(&piece)).await?;
        }
        self.at(name, move |_, name| upload.finish(name)).await
    }

    async fn get(&self, name: &str, _: FileOptions) -> Result<FileBody> {
        let file = self.at(self.name(name)?, folder::open).await?;
        let pieces = stream::try_unfold(file, |file| async {
            let (file, piece) = blocking(move || read(file)).await?;
            Ok((!piece.is_empty()).then_some((piece, file)))
        });
        Ok(Box::pin(pieces))
    }

    async fn list(&self, directory: &str, page: Page, _: FileOptions) -> Result<FileList> {
        let wrong = |error: Error| error.with("name", directory);
        let name = Name::directory(self.root.strip(directory)).map_err(wrong)?;
        self.at(name, move |root, name| page::list(root, name, &page)).await
    }

    async fn delete(&self, name: &str, _: FileOptions) -> Result<()> {
        self.at(self.name(name)?, folder::remove).await
    }

    async fn stat(&self, name: &str, _: FileOptions) -> Result<FileInfo> {
        let whole = name.to_owned();
        let mut info = self.at(self.name(name)?, folder::stat).await?;
        info.name = whole;
        Ok(info)
    }
}

/// One full piece, or what is left.
fn read(mut file: File) -> Result<(File, Bytes)> {
    let mut piece = Vec::with_capacity(PIECE);
    match (&mut file).take(PIECE as u64).read_to_end(&mut piece) {
        Ok(_) => Ok((file, piece.into())),
        Err(error) => Err(Error::unavailable("the file cannot be read on").with_source(error)),
    }
}
