//! Files: named byte streams in a named store, moved piece by piece.

mod component;
mod progress;

use std::sync::{Mutex, PoisonError};

use outrigger_component_api::{Error, FileBody, FileInfo, FileList, FileOptions, FileStore, Page, Result};

pub use component::FileComponent;

use crate::caller::Caller;
use crate::guard::{Call, Class};
use crate::stores::Stores;

/// The file block.
#[derive(Default)]
pub struct Files {
    /// The stores calls can name.
    pub stores: Stores<FileComponent>,
}

impl Files {
    /// The most files in one page of a listing; more are not given however many are asked for.
    pub const LARGEST_PAGE: usize = 1000;

    /// Writes a file whole. It may take as long as it likes, as long as something moves: a caller who sends nothing
    /// for the length of the component's timeout is given up on, and so is a store that does nothing with what came.
    pub async fn put(
        &self,
        caller: &Caller<'_>,
        store: &str,
        name: &str,
        body: FileBody,
        options: FileOptions,
    ) -> Result<()> {
        let store = self.stores.find(caller, store)?;
        let (body, options) = (&Mutex::new(Some(body)), &options);
        let call = Call { op: &store.ops.put, class: Class::Stream, caller };
        let idle = store.idle;
        let put = |backend: std::sync::Arc<dyn FileStore>| async move {
            let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
            let body = body.ok_or_else(|| Error::internal("a file was to be written twice"))?;
            progress::watched(body, idle, |body| backend.put(name, body, options.clone())).await
        };
        store.slot.run(call, put).await
    }

    /// Reads a file. Nothing is read ahead of who pulls the pieces; each piece comes within the component's timeout,
    /// and all of them within the caller's.
    pub async fn get(
        &self,
        caller: &Caller<'_>,
        store: &str,
        name: &str,
        options: FileOptions,
    ) -> Result<FileBody> {
        let store = self.stores.find(caller, store)?;
        let options = &options;
        let call = Call { op: &store.ops.get, class: Class::Idempotent, caller };
        let body =
            store.slot.run(call, |backend| async move { backend.get(name, options.clone()).await }).await?;
        Ok(progress::timed(body, store.idle, caller.deadline))
    }

    /// The files directly under a directory, by name.
    pub async fn list(
        &self,
        caller: &Caller<'_>,
        store: &str,
        directory: &str,
        page: Page,
        options: FileOptions,
    ) -> Result<FileList> {
        let store = self.stores.find(caller, store)?;
        let page = &Page { size: page.size.clamp(1, Self::LARGEST_PAGE), ..page };
        let options = &options;
        let call = Call { op: &store.ops.list, class: Class::Idempotent, caller };
        let list = |backend: std::sync::Arc<dyn FileStore>| async move {
            backend.list(directory, page.clone(), options.clone()).await
        };
        store.slot.run(call, list).await
    }

    /// Removes a file. A repetition would not find it any more, so there is none.
    pub async fn delete(
        &self,
        caller: &Caller<'_>,
        store: &str,
        name: &str,
        options: FileOptions,
    ) -> Result<()> {
        let store = self.stores.find(caller, store)?;
        let options = &options;
        let call = Call { op: &store.ops.delete, class: Class::Conditional, caller };
        store.slot.run(call, |backend| async move { backend.delete(name, options.clone()).await }).await
    }

    /// What is known of a file without reading it.
    pub async fn stat(
        &self,
        caller: &Caller<'_>,
        store: &str,
        name: &str,
        options: FileOptions,
    ) -> Result<FileInfo> {
        let store = self.stores.find(caller, store)?;
        let options = &options;
        let call = Call { op: &store.ops.stat, class: Class::Idempotent, caller };
        store.slot.run(call, |backend| async move { backend.stat(name, options.clone()).await }).await
    }
}

#[cfg(test)]
mod tests;
