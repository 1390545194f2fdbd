//! The file suite must be able to fail: one small correct store passes it, and each fault planted into that store is
//! caught by the case whose promise it breaks.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use outrigger_component_api::{
    Component, Error, ErrorKind, FileBody, FileInfo, FileList, FileOptions, FileStore, Page, Result,
    async_trait,
};
use outrigger_testkit::{file, run};
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Writes in place, piece by piece.
    WritesInPlace,
    /// The same, but takes back what failed.
    ShowsUploads,
    WritesOverTheBeginning,
    LosesPieces,
    FollowsChanges,
    DeletesNothing,
    DeletesMissing,
    ReadsMissingAsEmpty,
    CountsWrong,
    ListsUnsorted,
    ListsTwice,
    EndsEarly,
    ListsDeeper,
    ResolvesDots,
    TakesAbsoluteNames,
}

#[derive(Default)]
struct Store {
    fault: Option<Fault>,
    files: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

impl Store {
    fn subject(fault: Fault) -> Arc<dyn FileStore> {
        Arc::new(Self { fault: Some(fault), ..Self::default() })
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn name(&self, name: &str) -> Result<String> {
        let mut parts = Vec::new();
        for part in name.trim_start_matches(|c| c == '/' && self.has(Fault::TakesAbsoluteNames)).split('/') {
            match part {
                "." | ".." if self.has(Fault::ResolvesDots) => drop(parts.pop()),
                "" | "." | ".." => return Err(Error::invalid("a wrong part")),
                part if part.contains('\0') => return Err(Error::invalid("a wrong character")),
                part => parts.push(part),
            }
        }
        Ok(parts.join("/"))
    }

    fn find(&self, name: &str) -> Result<Bytes> {
        match self.files.lock().get(&self.name(name)?) {
            Some(content) => Ok(content.clone()),
            None if self.has(Fault::ReadsMissingAsEmpty) => Ok(Bytes::new()),
            None => Err(Error::new(ErrorKind::NotFound, "missing")),
        }
    }
}

#[async_trait]
impl Component for Store {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl FileStore for Store {
    async fn put(&self, name: &str, mut body: FileBody, _: FileOptions) -> Result<()> {
        let name = self.name(name)?;
        let in_place = self.has(Fault::WritesInPlace) || self.has(Fault::ShowsUploads);
        let before = self.files.lock().get(&name).cloned();
        let mut content = Vec::new();
        while let Some(piece) = body.next().await {
            match piece {
                Ok(_) if self.has(Fault::LosesPieces) && !content.is_empty() => {}
                Ok(piece) => content.extend_from_slice(&piece),
                Err(error) => {
                    if self.has(Fault::ShowsUploads) {
                        let mut files = self.files.lock();
                        drop(files.remove(&name));
                        files.extend(before.map(|before| (name, before)));
                    }
                    return Err(error);
                }
            }
            if in_place {
                self.files.lock().insert(name.clone(), content.clone().into());
            }
            tokio::task::yield_now().await;
        }
        if let Some(before) = before.filter(|_| self.has(Fault::WritesOverTheBeginning)) {
            content.extend_from_slice(before.get(content.len()..).unwrap_or_default());
        }
        self.files.lock().insert(name, content.into());
        Ok(())
    }

    async fn get(&self, name: &str, _: FileOptions) -> Result<FileBody> {
        let content = self.find(name)?;
        let changes = self.has(Fault::FollowsChanges).then(|| Arc::clone(&self.files));
        let name = name.to_owned();
        let pieces = stream::unfold(0, move |at| {
            let now = changes.as_ref().and_then(|files| files.lock().get(&name).cloned());
            let content = now.unwrap_or_else(|| content.clone());
            let end = content.len().min(at + 100_000);
            async move { (at < end).then(|| (Ok(content.slice(at..end)), end)) }
        });
        Ok(Box::pin(pieces))
    }

    async fn list(&self, directory: &str, page: Page, _: FileOptions) -> Result<FileList> {
        let directory = self.name(directory)? + "/";
        let files = self.files.lock();
        let below = files.iter().filter_map(|(name, content)| {
            let name = name.strip_prefix(&directory)?;
            (self.has(Fault::ListsDeeper) || !name.contains('/')).then(|| FileInfo {
                name: name.to_owned(),
                size: content.len() as u64,
                modified: None,
                metadata: BTreeMap::new(),
            })
        });
        let after = |info: &FileInfo| {
            let repeats = self.has(Fault::ListsTwice) && info.name == page.marker;
            info.name > page.marker || repeats && page.size > 1
        };
        let mut rest: Vec<_> = below.filter(after).collect();
        let more = rest.len() > page.size;
        rest.truncate(page.size);
        let next = rest.last().filter(|_| more && !self.has(Fault::EndsEarly)).map(|info| info.name.clone());
        if self.has(Fault::ListsUnsorted) {
            rest.reverse();
        }
        Ok(FileList { files: rest, next })
    }

    async fn delete(&self, name: &str, _: FileOptions) -> Result<()> {
        let name = self.name(name)?;
        if self.has(Fault::DeletesNothing) {
            return self.find(&name).map(drop);
        }
        match self.files.lock().remove(&name) {
            Some(_) => Ok(()),
            None if self.has(Fault::DeletesMissing) => Ok(()),
            None => Err(Error::new(ErrorKind::NotFound, "missing")),
        }
    }

    async fn stat(&self, name: &str, _: FileOptions) -> Result<FileInfo> {
        let size = self.find(name)?.len() as u64 + u64::from(self.has(Fault::CountsWrong));
        Ok(FileInfo { name: name.to_owned(), size, modified: None, metadata: BTreeMap::new() })
    }
}

mod the_correct_store_passes {
    outrigger_testkit::file_suite!(super::Store::subject(super::Fault::None));
}

macro_rules! caught {
    ($($fault:ident by $case:ident)*) => {$(
        #[test]
        #[expect(non_snake_case, reason = "named after the fault and the case")]
        fn $fault() {
            let case = || run(file::$case(Store::subject(Fault::$fault)));
            let verdict = catch_unwind(AssertUnwindSafe(case));
            assert!(verdict.is_err(), "{} let {:?} pass", stringify!($case), Fault::$fault);
        }
    )*};
}

mod each_planted_fault_is_caught {
    use super::*;

    caught! {
        WritesInPlace by a_body_that_fails_changes_nothing
        ShowsUploads by uploads_under_way_are_not_listed
        WritesOverTheBeginning by writing_again_replaces_the_whole_file
        LosesPieces by a_file_is_read_as_it_was_written
        FollowsChanges by a_reader_sees_one_version
        DeletesNothing by a_deleted_file_is_gone
        DeletesMissing by a_missing_file_is_not_found
        ReadsMissingAsEmpty by a_missing_file_is_not_found
        CountsWrong by stat_tells_what_is_there
        ListsUnsorted by a_listing_is_in_pages_by_name
        ListsTwice by a_listing_is_in_pages_by_name
        EndsEarly by a_listing_is_in_pages_by_name
        ListsDeeper by a_listing_shows_its_directory_only
        ResolvesDots by names_that_lead_out_are_refused
        TakesAbsoluteNames by names_that_lead_out_are_refused
    }

    #[test]
    fn what_is_shown_too_early_is_also_found_when_a_put_is_given_up() {
        for fault in [Fault::WritesInPlace, Fault::ShowsUploads] {
            let case = || run(file::a_put_that_is_given_up_changes_nothing(Store::subject(fault)));
            assert!(catch_unwind(AssertUnwindSafe(case)).is_err(), "{fault:?}");
        }
    }
}
