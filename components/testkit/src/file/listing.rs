//! What is told about files without reading them.

use std::time::Duration;

use bytes::Bytes;
use outrigger_component_api::{ErrorKind, FileList, FileOptions, Page};

use super::fixture::{Store, endless, read, refused, write};
use crate::unique_name;

async fn page(store: &Store, directory: &str, size: usize, marker: &str) -> FileList {
    let page = Page { size, marker: marker.to_owned() };
    let list = store.list(directory, page, FileOptions::default()).await.expect("listed");
    assert!(list.files.len() <= size, "a page of {size} has {}", list.files.len());
    list
}

fn names(list: &FileList) -> Vec<&str> {
    list.files.iter().map(|file| file.name.as_str()).collect()
}

pub async fn stat_tells_what_is_there(store: Store) {
    let name = format!("{}/file", unique_name("stat"));
    for content in ["", "twelve bytes"] {
        write(&store, &name, content).await;
        let info = store.stat(&name, FileOptions::default()).await.expect("told");
        assert_eq!((info.name.as_str(), info.size), (name.as_str(), content.len() as u64));
        if let Some(modified) = info.modified {
            let age = modified.elapsed().unwrap_or_default();
            assert!(age < Duration::from_secs(3600), "{age:?}");
        }
    }
}

pub async fn a_listing_is_in_pages_by_name(store: Store) {
    let directory = unique_name("pages");
    let mut expected: Vec<String> = (0..25).map(|n| format!("file-{n}")).collect();
    for name in expected.iter().rev() {
        write(&store, &format!("{directory}/{name}"), name.clone()).await;
    }
    expected.sort();
    for size in [1, 7, 25, 100] {
        let (mut seen, mut marker) = (Vec::new(), String::new());
        loop {
            let list = page(&store, &directory, size, &marker).await;
            seen.extend(list.files.iter().map(|file| file.name.clone()));
            assert!(list.files.iter().all(|file| file.size == file.name.len() as u64), "{list:?}");
            match list.next {
                Some(next) if list.files.is_empty() => panic!("an empty page before '{next}'"),
                Some(next) => marker = next,
                None => break,
            }
        }
        assert_eq!(seen, expected, "in pages of {size}");
    }
    let after = page(&store, &directory, 2, "file-23").await;
    assert_eq!(names(&after), ["file-24", "file-3"]);
}

pub async fn a_listing_shows_its_directory_only(store: Store) {
    let directory = unique_name("directory");
    for name in ["a", "b/c", "b/d/e"] {
        write(&store, &format!("{directory}/{name}"), "x").await;
    }
    write(&store, &format!("{directory}-beside/f"), "x").await;
    assert_eq!(names(&page(&store, &directory, 10, "").await), ["a"]);
    assert_eq!(names(&page(&store, &format!("{directory}/b"), 10, "").await), ["c"]);
    let unknown = Page { size: 10, marker: String::new() };
    match store.list(&format!("{directory}/z"), unknown, FileOptions::default()).await {
        Ok(list) => assert_eq!((list.files.len(), list.next), (0, None)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
    }
}

pub async fn uploads_under_way_are_not_listed(store: Store) {
    let directory = unique_name("under-way");
    let name = format!("{directory}/new");
    write(&store, &format!("{directory}/old"), "x").await;
    let put = store.put(&name, endless([Bytes::from(vec![b'x'; 200_000])]), FileOptions::default());
    let look = async {
        // Long enough for the pieces to be taken; nothing may show, however far it got.
        for _ in 0..20 {
            assert_eq!(names(&page(&store, &directory, 10, "").await), ["old"]);
            refused(read(&store, &name).await, ErrorKind::NotFound);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = put => panic!("the body does not end: {ended:?}"),
        () = look => {}
    }
}
