//! Keys and values, and what every call of a block has in common.

use std::time::Duration;

use outrigger_blocks::{Caller, Deadline, ErrorKind, Fault, Write};
use serde_json::json;

use super::house::{House, invoke, refused};
use super::probe::{Call, Cell, Told, call};

const STATE: &str = "outrigger:functions/state@0.1.0";

fn get(store: &str, key: &str) -> Call {
    call(STATE, "get").text(store).text(key)
}

/// A write without conditions; `if-match`, `first-write`, `ttl` and `fence` are what else there can be.
fn set(key: &str, value: &str) -> Call {
    written(key, value).none(2).number(0).none(1).none(1)
}

fn written(key: &str, value: &str) -> Call {
    call(STATE, "set").text("main").text(key).text(value)
}

fn delete(key: &str) -> Call {
    call(STATE, "delete").text("main").text(key).none(2)
}

/// The value `get` was answered.
fn value(told: &Told, call: usize) -> Option<String> {
    let at = told.result(call, 4).unwrap();
    (told.byte(at) == 1).then(|| told.text(at + 4))
}

fn done(told: &Told, call: usize) {
    told.result(call, 4).unwrap();
}

#[tokio::test]
async fn what_is_written_is_there_until_it_is_deleted() {
    let house = House::new();
    let keys = [&[Cell::Text("k")][..], &[Cell::Text("none")], &[Cell::Text("k")]];
    let calls = [
        get("main", "k"),
        set("k", "first"),
        get("main", "k"),
        call(STATE, "get-many").text("main").list(&keys),
        delete("k"),
        get("main", "k"),
        delete("k"),
    ];
    let told = house.told(json!({ "state": ["main"] }), &calls).await;
    assert_eq!((value(&told, 0), value(&told, 2), value(&told, 5)), (None, Some("first".to_owned()), None));
    let (given, read) = (told.text(told.result(1, 4).unwrap()), told.text(told.result(2, 4).unwrap() + 12));
    assert!(!given.is_empty());
    assert_eq!(given, read, "the etag of the write");
    let many = told.elements(told.result(3, 4).unwrap(), 20);
    assert_eq!(many.iter().map(|at| told.byte(*at)).collect::<Vec<_>>(), [1, 0, 1]);
    assert_eq!(told.text(many[2] + 4), "first");
    done(&told, 4);
    done(&told, 6);
}

#[tokio::test]
async fn a_condition_that_does_not_hold_is_a_conflict() {
    let house = House::new();
    let stale = |call: Call| call.some().text("1").number(0).none(1).none(1);
    let first = |call: Call| call.none(2).number(1).none(1).none(1);
    let fenced = |call: Call, token| call.none(2).number(0).none(1).some().number(token);
    let calls = [
        set("k", "first"),
        stale(written("k", "second")),
        first(written("k", "second")),
        first(written("new", "second")),
        fenced(written("k", "by 5"), 5),
        fenced(written("k", "by 4"), 4),
        call(STATE, "delete").text("main").text("k").some().text("1"),
        get("main", "k"),
        written("k", "third").some().text("").number(0).none(1).none(1),
        // Gone after a second.
        written("brief", "x").none(2).number(0).some().number(1).none(1),
    ];
    let told = house.told(json!({ "state": ["main"] }), &calls).await;
    refused(told.result(1, 4), ErrorKind::Conflict, "");
    refused(told.result(2, 4), ErrorKind::Conflict, "");
    done(&told, 3);
    done(&told, 4);
    refused(told.result(5, 4), ErrorKind::Conflict, "the fencing token is stale");
    refused(told.result(6, 4), ErrorKind::Conflict, "");
    assert_eq!(value(&told, 7).as_deref(), Some("by 5"));
    refused(told.result(8, 4), ErrorKind::InvalidArgument, "if-match is empty");
    let brief = house.blocks.state.get(&Caller::new("shop"), "main", "brief", Default::default()).await;
    assert!(brief.unwrap().unwrap().expires.is_some());
}

#[tokio::test]
async fn changes_are_made_together_or_not_at_all() {
    // Elements of a variant are as large as its largest case: 64 bytes.
    let write = |key| {
        let options = (0..6).map(|_| Cell::Number(0)).chain([Cell::Long(0), Cell::Long(0)]);
        let head = [Cell::Number(0), Cell::Number(0), Cell::Text(key), Cell::Text("v")];
        head.into_iter().chain(options).collect::<Vec<_>>()
    };
    let delete = |key, etag: Option<&'static str>| {
        let condition = match etag {
            Some(etag) => vec![Cell::Number(1), Cell::Text(etag)],
            None => vec![Cell::Number(0), Cell::Long(0)],
        };
        let head = [Cell::Number(1), Cell::Number(0), Cell::Text(key)].into_iter().chain(condition);
        head.chain((0..9).map(|_| Cell::Number(0))).collect::<Vec<_>>()
    };
    let house = House::new();
    let calls = [
        call(STATE, "transact").text("main").list(&[&write("a"), &delete("b", Some("7"))]),
        get("main", "a"),
        call(STATE, "transact").text("main").list(&[&write("a"), &delete("b", None), &write("c")]),
        get("main", "a"),
        get("main", "c"),
    ];
    let told = house.told(json!({ "state": ["main"] }), &calls).await;
    refused(told.result(0, 4), ErrorKind::Conflict, "operation=1");
    assert_eq!(value(&told, 1), None);
    done(&told, 2);
    assert_eq!((value(&told, 3).as_deref(), value(&told, 4).as_deref()), (Some("v"), Some("v")));
    let settings = json!({ "grants": { "state": ["main"] }, "max_calls": 2 });
    let told = house.told_with(settings, &calls[2..]).await;
    refused(told.result(0, 4), ErrorKind::RateLimited, "`max_calls`");
}

#[tokio::test]
async fn a_call_makes_as_many_operations_as_it_may() {
    let house = House::new();
    let settings = json!({ "grants": { "state": ["main"] }, "max_calls": 2, "reuse": 2 });
    let calls = [get("main", "k"), get("other", "k"), get("main", "k")];
    let function = house.load(&calls, settings).await.unwrap();
    for _ in 0..2 {
        let told = invoke(&function, &Caller::new("shop"), &calls).await.unwrap();
        assert_eq!(value(&told, 0), None);
        refused(told.result(1, 4), ErrorKind::PermissionDenied, "grants.state does not name 'other'");
        refused(told.result(2, 4), ErrorKind::RateLimited, "`max_calls`");
    }
}

#[tokio::test]
async fn each_key_of_many_is_an_operation() {
    let house = House::new();
    let keys = [&[Cell::Text("a")][..], &[Cell::Text("b")], &[Cell::Text("c")]];
    let many = |keys| call(STATE, "get-many").text("main").list(keys);
    let calls = [many(&keys[..2]), many(&keys), many(&[]), get("main", "a"), get("main", "a")];
    let settings = json!({ "grants": { "state": ["main"] }, "max_calls": 4 });
    let told = house.told_with(settings, &calls).await;
    done(&told, 0);
    refused(told.result(1, 4), ErrorKind::RateLimited, "`max_calls`");
    done(&told, 2);
    assert_eq!(value(&told, 3), None);
    refused(told.result(4, 4), ErrorKind::RateLimited, "`max_calls`");
}

#[tokio::test]
async fn many_values_are_no_larger_together_than_a_body_may_be() {
    let house = House::new();
    let write = Write { key: "k".to_owned(), value: vec![b'x'; 50_000].into(), ..Write::default() };
    house.blocks.state.set(&Caller::new("shop"), "main", write).await.unwrap();
    let many = |none: usize, there: usize| {
        let keys = (0..none).map(|_| [Cell::Text("none")]).chain((0..there).map(|_| [Cell::Text("k")]));
        let keys = keys.collect::<Vec<_>>();
        let keys = keys.iter().map(|key| &key[..]).collect::<Vec<_>>();
        call(STATE, "get-many").text("main").list(&keys)
    };
    // More than are asked for at once.
    let calls = [many(0, 3), many(40, 1), many(17, 3)];
    let settings = json!({ "grants": { "state": ["main"] }, "max_body": 131_072 });
    let told = house.told_with(settings, &calls).await;
    refused(told.result(0, 4), ErrorKind::InvalidArgument, "more than 131072 bytes together (`max_body`)");
    let read = told.elements(told.result(1, 4).unwrap(), 20);
    assert_eq!((read.len(), read.iter().filter(|at| told.byte(**at) == 1).count()), (41, 1));
    assert_eq!(told.text(read[40] + 4).len(), 50_000);
    refused(told.result(2, 4), ErrorKind::InvalidArgument, "`max_body`");
}

#[tokio::test]
async fn a_call_waits_for_a_block_no_longer_than_it_may_take_itself() {
    let house = House::new();
    let minute = Duration::from_secs(60);
    assert!(house.blocks.inject("main", Some(Fault::Slow(minute))));
    let calls = [get("main", "k")];
    let late = async |settings, caller: &Caller<'_>| {
        let function = house.load(&calls, settings).await.unwrap();
        // Both are over at the same moment: the function may still hear of it, or not.
        match invoke(&function, caller, &calls).await {
            Ok(told) => refused(told.result(0, 4), ErrorKind::Timeout, "the caller's deadline"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
        }
    };
    let own = json!({ "grants": { "state": ["main"] }, "deadline": "100ms" });
    late(own, &Caller::new("shop")).await;
    let soon = Deadline::after(std::time::Instant::now(), Duration::from_millis(100));
    let caller = Caller { deadline: soon, ..Caller::new("shop") };
    late(json!({ "grants": { "state": ["main"] } }), &caller).await;
}

#[tokio::test]
async fn a_block_that_fails_says_how() {
    let house = House::new();
    for kind in ErrorKind::ALL {
        house.blocks.inject("main", Some(Fault::Failing(kind)));
        let calls = [set("k", "v")];
        let told = house.told(json!({ "state": ["main"] }), &calls).await;
        // A store that keeps failing is given a rest.
        let (told, message) = told.result(0, 4).unwrap_err();
        assert!(
            told == super::house::code(kind) || message.contains("given a rest"),
            "{kind}: {told} {message}"
        );
    }
}
