//! One page of a directory, in the order of names, without holding more of it than the page.

use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;

use outrigger_component_api::{FileList, Page, Result};
use rustix::fs::{Dir, DirEntry, FileType};

use super::folder::{Root, info, look, wrong};
use super::name::{Name, UPLOAD};
use super::upload;

pub(super) fn list(root: &Root, directory: &Name, page: &Page) -> Result<FileList> {
    let directory = root.directory(directory.all())?;
    let size = page.size.max(1);
    let mut names = names(&directory, &page.marker, size + 1)?;
    let more = names.len() > size;
    names.truncate(size);
    let next = names.last().filter(|_| more).cloned();
    // One that has gone meanwhile is not there.
    let files = names.into_iter().filter_map(|name| Some(info(&name, &look(&directory, &name).ok()?)));
    Ok(FileList { files: files.collect(), next })
}

/// The first `count` names after the marker.
fn names(directory: &OwnedFd, marker: &str, count: usize) -> Result<Vec<String>> {
    let mut first = BinaryHeap::new();
    let unreadable = |errno| wrong(directory, ".", errno);
    for entry in Dir::read_from(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // A name that is not UTF-8 cannot be asked for over the API.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name.starts_with(UPLOAD) {
            upload::clear(directory, name);
        } else if name > marker && is_file(directory, &entry, name) {
            first.push(name.to_owned());
            if first.len() > count {
                first.pop();
            }
        }
    }
    Ok(first.into_sorted_vec())
}

/// Not every file system tells with the name.
fn is_file(directory: &OwnedFd, entry: &DirEntry, name: &str) -> bool {
    match entry.file_type() {
        FileType::RegularFile => true,
        FileType::Unknown => look(directory, name).is_ok(),
        _ => false,
    }
}
