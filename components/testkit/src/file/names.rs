//! No name leads out of the store.

use bytes::Bytes;
use outrigger_component_api::{ErrorKind, FileOptions, Page};

use super::fixture::{Store, body, read, refused, write};
use crate::unique_name;

pub async fn names_that_lead_out_are_refused(store: Store) {
    let directory = unique_name("names");
    write(&store, &format!("{directory}/inside"), "x").await;
    let name = |ending: &str| format!("{directory}{ending}");
    for name in [
        String::new(),
        "/".to_owned(),
        "..".to_owned(),
        "/etc/passwd".to_owned(),
        format!("../{directory}"),
        format!("/{directory}/inside"),
        name("/../.."),
        name("/../../etc/passwd"),
        name("/./inside"),
        name("/../inside"),
        name("//inside"),
        name("/inside/.."),
        name("/inside\0"),
    ] {
        let put = store.put(&name, body([Bytes::from_static(b"y")]), FileOptions::default());
        refused(put.await, ErrorKind::InvalidArgument);
        refused(read(&store, &name).await, ErrorKind::InvalidArgument);
        refused(store.stat(&name, FileOptions::default()).await, ErrorKind::InvalidArgument);
        refused(store.delete(&name, FileOptions::default()).await, ErrorKind::InvalidArgument);
        if !name.is_empty() {
            let page = Page { size: 1, marker: String::new() };
            refused(store.list(&name, page, FileOptions::default()).await, ErrorKind::InvalidArgument);
        }
    }
    assert_eq!(read(&store, &name("/inside")).await.expect("read"), b"x");
}
