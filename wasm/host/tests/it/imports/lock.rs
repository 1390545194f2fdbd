//! Locks and sequences.

use outrigger_blocks::ErrorKind;
use serde_json::json;

use super::house::{House, refused};
use super::probe::{Call, call};

fn lock(function: &'static str, store: &str, owner: &str) -> Call {
    call("outrigger:functions/lock@0.1.0", function).text(store).text("job").text(owner)
}

#[tokio::test]
async fn one_holds_a_lock_and_its_token_grows() {
    let house = House::new();
    let calls = [
        lock("try-lock", "main", "a").number(60),
        lock("try-lock", "main", "b").number(60),
        lock("keep-alive", "main", "b").number(60),
        lock("keep-alive", "main", "a").number(60),
        lock("unlock", "main", "b"),
        lock("unlock", "main", "a"),
        lock("unlock", "main", "a"),
        lock("try-lock", "main", "b").number(60),
        lock("try-lock", "main", "a").number(0),
        lock("try-lock", "main", "a").number(u64::from(u32::MAX)),
        lock("try-lock", "other", "a").number(60),
    ];
    let told = house.told(json!({ "lock": ["main"] }), &calls).await;
    let token = |call| {
        let at = told.result(call, 8).unwrap();
        (told.byte(at) == 1).then(|| told.long(at + 8))
    };
    assert_eq!(token(1), None);
    assert!(token(7).unwrap() > token(0).unwrap());
    let held = |call| told.byte(told.result(call, 4).unwrap());
    const YES: u8 = 0;
    const NOBODY: u8 = 1;
    const OTHER: u8 = 2;
    assert_eq!([2, 3, 4, 5, 6].map(held), [OTHER, YES, OTHER, YES, NOBODY]);
    refused(told.result(8, 8), ErrorKind::InvalidArgument, "above 0");
    refused(told.result(9, 8), ErrorKind::InvalidArgument, "seconds is 4294967295");
    refused(told.result(10, 8), ErrorKind::PermissionDenied, "grants.lock does not name 'other'");
}

#[tokio::test]
async fn numbers_grow() {
    let house = House::new();
    let next = |store, strong| {
        call("outrigger:functions/sequencer@0.1.0", "next").text(store).text("n").number(strong)
    };
    let calls = [next("main", 1), next("main", 1), next("main", 0), next("other", 1)];
    let told = house.told(json!({ "sequencer": ["main"] }), &calls).await;
    let number = |call| told.long(told.result(call, 8).unwrap());
    assert_eq!((number(0), number(1)), (1, 2));
    assert!(number(2) > 2);
    refused(told.result(3, 8), ErrorKind::PermissionDenied, "grants.sequencer does not name 'other'");
}
