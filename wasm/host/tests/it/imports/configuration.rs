//! Configuration, and waiting for it to change.

use std::time::Duration;

use outrigger_blocks::{Caller, ConfigurationItem, ErrorKind};
use serde_json::json;

use super::house::{House, invoke, refused};
use super::probe::{Call, Cell, Told, call};

const CONFIGURATION: &str = "outrigger:functions/configuration@0.1.0";

/// Of the application's own items, those of these keys.
fn select(call: Call, store: &str, keys: &[&'static str]) -> Call {
    let keys: Vec<_> = keys.iter().map(|key| [Cell::Text(key)]).collect();
    let keys: Vec<&[Cell]> = keys.iter().map(|key| &key[..]).collect();
    call.text(store).text("").text("").text("").list(&keys)
}

fn watch(revision: Option<&str>, wait: u64) -> Call {
    let selected = select(call(CONFIGURATION, "watch"), "main", &["a", "b"]);
    let since = match revision {
        None => selected.none(2),
        Some(revision) => selected.some().text(revision),
    };
    since.number(wait)
}

async fn save(house: &House, key: &str, content: &str) {
    let item = ConfigurationItem { key: key.to_owned(), content: content.to_owned(), ..Default::default() };
    house.blocks.configuration.save(&Caller::new("shop"), "main", "", vec![item]).await.unwrap();
}

/// `key=value` of each item.
fn items(told: &Told, at: usize) -> Vec<String> {
    let elements = told.elements(at, 24);
    elements.into_iter().map(|at| format!("{}={}", told.text(at), told.text(at + 8))).collect()
}

/// What has changed, what is gone, and where to go on.
fn changes(told: &Told) -> (Vec<String>, Vec<String>, String) {
    let at = told.result(0, 4).unwrap();
    let gone = told.elements(at + 8, 8).into_iter().map(|at| told.text(at)).collect();
    (items(told, at), gone, told.text(at + 16))
}

fn grants() -> serde_json::Value {
    json!({ "configuration": ["main"] })
}

#[tokio::test]
async fn items_are_the_applications_own() {
    let house = House::new();
    save(&house, "a", "1").await;
    save(&house, "b", "2").await;
    let get = |store, keys| select(call(CONFIGURATION, "get"), store, keys);
    let told = house.told(grants(), &[get("main", &["b", "c"]), get("main", &[]), get("other", &[])]).await;
    assert_eq!(items(&told, told.result(0, 4).unwrap()), ["b=2"]);
    assert_eq!(items(&told, told.result(1, 4).unwrap()), ["a=1", "b=2"]);
    refused(told.result(2, 4), ErrorKind::PermissionDenied, "grants.configuration does not name 'other'");
}

#[tokio::test]
async fn a_function_that_comes_back_misses_no_change() {
    let house = House::new();
    let (items, gone, revision) = changes(&house.told(grants(), &[watch(None, 20)]).await);
    assert!(items.is_empty() && gone.is_empty(), "nothing came in time");

    save(&house, "a", "1").await;
    let (items, _, revision) = changes(&house.told(grants(), &[watch(Some(&revision), 20)]).await);
    assert_eq!(items, ["a=1"], "between two calls");

    let calls = [watch(Some(&revision), 40_000)];
    let function = house.load(&calls, json!({ "grants": grants(), "deadline": "1m" })).await.unwrap();
    let change = async {
        house.until("op=\"watch\",outcome=\"ok\"} 3").await;
        save(&house, "b", "2").await;
    };
    let caller = Caller::new("shop");
    let (told, ()) = tokio::join!(invoke(&function, &caller, &calls), change);
    let (items, _, revision) = changes(&told.unwrap());
    assert_eq!(items, ["b=2"], "while it waits");

    let all = outrigger_blocks::Selector { keys: vec!["a".to_owned()], ..Default::default() };
    house.blocks.configuration.delete(&caller, "main", all).await.unwrap();
    let (_, gone, _) = changes(&house.told(grants(), &[watch(Some(&revision), 20)]).await);
    assert_eq!(gone, ["a"]);
    let told = house.told(grants(), &[watch(Some("never"), 20)]).await;
    refused(told.result(0, 4), ErrorKind::InvalidArgument, "revision");
}

#[tokio::test]
async fn a_watch_is_over_before_the_call() {
    let house = House::new();
    let calls = [watch(None, 600_000)];
    let function = house.load(&calls, json!({ "grants": grants(), "deadline": "8s" })).await.unwrap();
    let began = std::time::Instant::now();
    let (items, gone, revision) = changes(&invoke(&function, &Caller::new("shop"), &calls).await.unwrap());
    assert!(items.is_empty() && gone.is_empty() && !revision.is_empty(), "nothing new, and where to go on");
    assert!(began.elapsed() < Duration::from_secs(120));
}
