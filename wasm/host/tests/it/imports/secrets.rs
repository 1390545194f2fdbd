//! Secrets.

use outrigger_blocks::ErrorKind;
use serde_json::json;

use super::house::{House, refused};
use super::probe::call;

#[tokio::test]
async fn a_secret_that_is_granted_is_told() {
    let house = House::new();
    let get = |store, name| call("outrigger:functions/secrets@0.1.0", "get").text(store).text(name);
    let calls = [get("main", "db"), get("main", "dbx"), get("main", "other"), get("vault", "db")];
    let told = house.told(json!({ "secrets": ["main/db", "main/o*"] }), &calls).await;
    let values = told.elements(told.result(0, 4).unwrap(), 16);
    let values: Vec<_> = values.into_iter().map(|at| (told.text(at), told.text(at + 8))).collect();
    let expected = [("password", "hunter2"), ("user", "ann")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(values, expected);
    refused(told.result(1, 4), ErrorKind::PermissionDenied, "grants.secrets does not name 'main/dbx'");
    refused(told.result(2, 4), ErrorKind::NotFound, "'other'");
    refused(told.result(3, 4), ErrorKind::PermissionDenied, "grants.secrets does not name 'vault/db'");
    assert!(!format!("{:?}", house.lines()).contains("hunter2"));
}
