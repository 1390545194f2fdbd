//! `wasi:keyvalue`, in both of its drafts.

use outrigger_blocks::{Caller, Write};
use serde_json::json;

use super::house::House;
use super::probe::{Call, Cell, Told, call};

/// The first handle an instance is given, and the second.
const BUCKET: u64 = 1;
const SECOND: u64 = 2;
/// Cases of the error.
const NO_SUCH_STORE: u8 = 0;
const ACCESS_DENIED: u8 = 1;
const OTHER: u8 = 2;

const STORES: [&str; 2] = ["wasi:keyvalue/store@0.2.0-draft", "wasi:keyvalue/store@0.2.0-draft2"];

fn on(interface: &'static str, function: &'static str) -> Call {
    call(interface, function).number(BUCKET)
}

/// The value of an option of bytes.
fn value(told: &Told, call: usize) -> Option<String> {
    let at = told.result(call, 4).unwrap();
    (told.byte(at) == 1).then(|| told.text(at + 4))
}

#[tokio::test]
async fn a_bucket_is_a_state_store() {
    for store in STORES {
        let house = House::new();
        let calls = [
            call(store, "open").text("main"),
            on(store, "[method]bucket.get").text("k"),
            on(store, "[method]bucket.set").text("k").text("v"),
            on(store, "[method]bucket.get").text("k"),
            on(store, "[method]bucket.exists").text("k"),
            on(store, "[method]bucket.delete").text("k"),
            on(store, "[method]bucket.exists").text("k"),
            on(store, "[method]bucket.set").text("kept").text("v"),
            on(store, "[method]bucket.set").text("").text("v"),
        ];
        let told = house.told(json!({ "state": ["main"] }), &calls).await;
        assert_eq!((value(&told, 1), value(&told, 3).as_deref()), (None, Some("v")), "{store}");
        let exists = |call| told.byte(told.result(call, 4).unwrap());
        assert_eq!((exists(4), exists(6)), (1, 0));
        let (code, message) = told.result(8, 4).unwrap_err();
        assert_eq!((code, message.contains("key is empty")), (OTHER, true), "{message}");
        let kept = house.blocks.state.get(&Caller::new("shop"), "main", "kept", Default::default()).await;
        assert_eq!(kept.unwrap().unwrap().value, "v", "the same store as everybody's");
    }
}

#[tokio::test]
async fn which_store_a_bucket_is_the_grants_say() {
    let open = async |store: &'static str, grants: &[&str], identifier: &str| {
        let house = House::new();
        let told = house.told(json!({ "state": grants }), &[call(store, "open").text(identifier)]).await;
        let lines = house.lines().into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
        told.result(0, 4).map(drop).map_err(|(code, _)| (code, lines))
    };
    for store in STORES {
        for identifier in ["main", "", "default"] {
            open(store, &["main"], identifier).await.unwrap();
        }
        open(store, &["*"], "main").await.unwrap();
        let refused = async |grants: &[&str], identifier: &str, code: u8, names: &str| {
            let (told, lines) = open(store, grants, identifier).await.unwrap_err();
            assert_eq!(told, code, "{identifier}");
            assert!(lines.contains(names), "{lines}");
        };
        refused(&["main"], "other", ACCESS_DENIED, "grants.state does not name 'other'").await;
        refused(&["*"], "other", NO_SUCH_STORE, "'other' is not configured").await;
        refused(&["main", "second"], "", NO_SUCH_STORE, "names several").await;
        refused(&["main", "second"], "default", NO_SUCH_STORE, "names several").await;
        // A store may be called so.
        refused(&["main", "default"], "default", NO_SUCH_STORE, "'default' is not configured").await;
    }
}

#[tokio::test]
async fn many_keys_are_read_and_written_at_once() {
    for (at, version) in ["draft", "draft2"].into_iter().enumerate() {
        let batch = ["wasi:keyvalue/batch@0.2.0-draft", "wasi:keyvalue/batch@0.2.0-draft2"][at];
        let pairs: &[&[Cell]] = &[&[Cell::Text("a"), Cell::Text("1")], &[Cell::Text("b"), Cell::Text("2")]];
        let keys: &[&[Cell]] = &[&[Cell::Text("b")], &[Cell::Text("none")]];
        let calls = [
            call(STORES[at], "open").text("main"),
            on(batch, "set-many").list(pairs),
            on(batch, "get-many").list(keys),
            on(batch, "delete-many").list(keys),
            on(batch, "get-many").list(keys),
        ];
        let house = House::new();
        let told = house.told(json!({ "state": ["main"] }), &calls).await;
        told.result(1, 4).unwrap();
        told.result(3, 4).unwrap();
        // An option of a key and its value, or a key and an option of its value.
        let (mark, bytes) = if version == "draft" { (0, 12) } else { (8, 12) };
        let marks = |call| {
            let elements = told.elements(told.result(call, 4).unwrap(), 20);
            elements.into_iter().map(|at| (told.byte(at + mark), at)).collect::<Vec<_>>()
        };
        let (read, after) = (marks(2), marks(4));
        assert_eq!((read[0].0, read[1].0, after[0].0), (1, 0, 0), "{version}");
        assert_eq!(told.text(read[0].1 + bytes), "2", "{version}");
    }
}

#[tokio::test]
async fn each_key_of_many_is_an_operation() {
    let pairs: &[&[Cell]] = &[&[Cell::Text("a"), Cell::Text("1")], &[Cell::Text("b"), Cell::Text("2")]];
    let keys: &[&[Cell]] = &[&[Cell::Text("a")], &[Cell::Text("b")]];
    for (at, batch) in
        ["wasi:keyvalue/batch@0.2.0-draft", "wasi:keyvalue/batch@0.2.0-draft2"].iter().enumerate()
    {
        let calls = [
            call(STORES[at], "open").text("main"),
            on(batch, "set-many").list(pairs),
            on(batch, "get-many").list(keys),
            on(batch, "delete-many").list(keys),
            on(batch, "get-many").list(&keys[..1]),
        ];
        let allowed = async |max_calls: u32| {
            let settings = json!({ "grants": { "state": ["main"] }, "max_calls": max_calls });
            let told = House::new().told_with(settings, &calls).await;
            [1, 2, 3, 4].map(|call| told.result(call, 4).is_ok())
        };
        assert_eq!(allowed(8).await, [true, true, true, true], "{batch}");
        assert_eq!(allowed(7).await, [true, true, true, false], "{batch}");
        assert_eq!(allowed(6).await, [true, true, false, true], "{batch}");
        assert_eq!(allowed(4).await, [true, false, false, true], "{batch}");
        assert_eq!(allowed(2).await, [false, false, false, true], "{batch}");
    }
}

#[tokio::test]
async fn what_handles_keep_is_bounded() {
    let house = House::new();
    let write = Write { key: "k".to_owned(), value: vec![b'x'; 400_000].into(), ..Write::default() };
    house.blocks.state.set(&Caller::new("shop"), "main", write).await.unwrap();
    let atomics = "wasi:keyvalue/atomics@0.2.0-draft2";
    let new = || on(atomics, "[static]cas.new").text("k");
    let calls = [
        call(STORES[1], "open").text("main"),
        new(),
        new(),
        call(atomics, "[resource-drop]cas").number(SECOND),
        new(),
        new(),
        call(atomics, "swap").number(SECOND).text("small"),
        new(),
        new(),
    ];
    let settings = json!({ "grants": { "state": ["main"] }, "memory": 524_288 });
    let told = house.told_with(settings, &calls).await;
    for call in [1, 4, 7, 8] {
        told.result(call, 4).unwrap();
    }
    for call in [2, 5] {
        let (code, message) = told.result(call, 4).unwrap_err();
        assert_eq!((code, message.contains("524288 bytes")), (OTHER, true), "{message}");
    }
    assert_eq!(told.byte(Told::answer(6)), 0, "it was swapped");
}

#[tokio::test]
async fn numbers_are_counted_on() {
    let house = House::new();
    for (at, by, sums) in [(0, 5, [5, 10]), (1, (-3_i64).cast_unsigned(), [7, 4])] {
        let atomics = ["wasi:keyvalue/atomics@0.2.0-draft", "wasi:keyvalue/atomics@0.2.0-draft2"][at];
        let increment = || on(atomics, "increment").text("n").number(by);
        let calls = [call(STORES[at], "open").text("main"), increment(), increment()];
        let told = house.told(json!({ "state": ["main"] }), &calls).await;
        assert_eq!([1, 2].map(|call| told.long(told.result(call, 8).unwrap())), sums, "{atomics}");
    }
    let atomics = "wasi:keyvalue/atomics@0.2.0-draft";
    let calls = [
        call(STORES[0], "open").text("main"),
        on(atomics, "increment").text("n").number(u64::MAX),
        on(STORES[0], "[method]bucket.set").text("n").text("seven"),
        on(atomics, "increment").text("n").number(1),
    ];
    let told = house.told(json!({ "state": ["main"] }), &calls).await;
    assert_eq!(told.result(1, 8).unwrap_err().0, OTHER);
    assert!(told.result(3, 8).unwrap_err().1.contains("not a number"));
}

#[tokio::test]
async fn a_swap_is_made_over_what_was_read_only() {
    let house = House::new();
    let (store, atomics) = (STORES[1], "wasi:keyvalue/atomics@0.2.0-draft2");
    let calls = [
        call(store, "open").text("main"),
        on(atomics, "[static]cas.new").text("k"),
        call(atomics, "[method]cas.current").number(SECOND),
        on(store, "[method]bucket.set").text("k").text("theirs"),
        call(atomics, "swap").number(SECOND).text("mine"),
        // What failed gave its handle back, and was given another.
        call(atomics, "[method]cas.current").number(SECOND),
        call(atomics, "swap").number(SECOND).text("mine"),
        on(store, "[method]bucket.get").text("k"),
    ];
    let told = house.told(json!({ "state": ["main"] }), &calls).await;
    assert_eq!(value(&told, 2), None);
    let (cas_failed, handle) = {
        let at = Told::answer(4) + 4;
        assert_eq!(told.byte(Told::answer(4)), 1, "it was overtaken");
        (told.byte(at), told.number(at + 4))
    };
    assert_eq!((cas_failed, handle as u64), (1, SECOND));
    assert_eq!(value(&told, 5).as_deref(), Some("theirs"));
    assert_eq!(told.byte(Told::answer(6)), 0);
    assert_eq!(value(&told, 7).as_deref(), Some("mine"));
}

#[tokio::test]
async fn keys_are_not_listed_and_that_is_said() {
    let house = House::new();
    for (at, cursor) in [(0, 1), (1, 2)] {
        let list = on(STORES[at], "[method]bucket.list-keys").none(cursor);
        let told =
            house.told(json!({ "state": ["main"] }), &[call(STORES[at], "open").text("main"), list]).await;
        // A cursor that is a number has the record laid out for it.
        let align = if at == 0 { 8 } else { 4 };
        let (code, message) = told.result(1, align).unwrap_err();
        assert_eq!((code, message.as_str()), (OTHER, "a state store does not list its keys"));
    }
}
