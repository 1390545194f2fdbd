//! Events, schedules and bindings.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use outrigger_blocks::function::Tick;
use outrigger_blocks::{Answer, Caller, ErrorKind, Event, InputEvent};
use serde_json::json;

use super::component::{component, http};
use super::rig::Rig;
use crate::rig::within;

/// The data is one digit, which is the answer; the attempt has to be 3 and the topic of two letters.
const EVENT: &str = r#"(func (export "outrigger:functions/event@0.1.0#handle") (param $event i32) (result i32)
    (if (i32.ne (i32.load offset=64 (local.get $event)) (i32.const 3)) (then unreachable))
    (if (i32.ne (i32.load offset=52 (local.get $event)) (i32.const 2)) (then unreachable))
    (if (i32.ne (i32.load offset=60 (local.get $event)) (i32.const 1)) (then unreachable))
    (i32.sub (i32.load8_u (i32.load offset=32 (local.get $event))) (i32.const 48)))"#;

fn event(data: &'static str) -> Event {
    let metadata = BTreeMap::from([("key".to_owned(), "7".to_owned())]);
    Event { id: "1".into(), topic: "ab".into(), data: data.into(), metadata, ..Event::default() }
}

#[tokio::test]
async fn an_event_is_told_with_its_attempt_and_each_answer_counts() {
    let rig = Rig::new();
    let module = component("export outrigger:functions/event@0.1.0;", EVENT);
    let function = rig.load(&module, json!({ "max_body": 5 })).await.unwrap();
    let caller = Caller::new("shop");
    let tell = async |data, attempt| within(function.event(&caller, &event(data), attempt)).await;
    for (data, expected) in [("0", Answer::Success), ("1", Answer::Retry), ("2", Answer::Drop)] {
        assert_eq!(tell(data, 3).await.unwrap(), expected);
    }
    assert_eq!(tell("0", 2).await.unwrap_err().kind(), ErrorKind::Internal, "it traps");
    assert_eq!(tell("3", 3).await.unwrap_err().kind(), ErrorKind::Internal, "there is no such answer");
    assert_eq!(tell("012345", 3).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "too long");
}

#[tokio::test]
async fn a_schedule_is_told_its_name_and_time() {
    let rig = Rig::new();
    let code = r#"(func (export "outrigger:functions/schedule@0.1.0#handle")
        (param $name i32) (param $name_n i32) (param $due i64) (result i32)
        (if (i64.eq (local.get $due) (i64.const 1500)) (then (return (call $done))))
        (call $fail (local.get $name) (local.get $name_n)))"#;
    let function =
        rig.load(&component("export outrigger:functions/schedule@0.1.0;", code), json!({})).await.unwrap();
    let tick = |due| Tick { name: "nightly".into(), due: UNIX_EPOCH + Duration::from_millis(due) };
    let tell = async |due| within(function.schedule(&Caller::new("shop"), &tick(due))).await;
    tell(1_500).await.unwrap();
    let error = tell(1_501).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, "nightly"));
    rig.until("outrigger_function_calls_total{function=\"f\",version=\"v1\",trigger=\"schedule\",result=\"error\"} 1")
        .await;
}

#[tokio::test]
async fn a_binding_tells_its_data() {
    let rig = Rig::new();
    let code = r#"(func (export "outrigger:functions/binding@0.1.0#handle") (param $name i32) (param $name_n i32)
        (param $data i32) (param $data_n i32) (param $metadata i32) (param $metadata_n i32) (result i32)
        (if (i32.eq (local.get $data_n) (i32.const 2)) (then (return (call $done))))
        (call $fail (local.get $name) (local.get $name_n)))"#;
    let function =
        rig.load(&component("export outrigger:functions/binding@0.1.0;", code), json!({})).await.unwrap();
    let tell = async |data: &'static str| {
        let input = InputEvent {
            binding: "queue".into(),
            route: String::new(),
            data: data.into(),
            metadata: BTreeMap::new(),
            trace: None,
        };
        within(function.binding(&Caller::new("shop"), &input)).await
    };
    tell("ab").await.unwrap();
    assert_eq!(tell("abc").await.unwrap_err().message(), "queue");
}

#[tokio::test]
async fn what_is_not_exported_is_not_called() {
    let rig = Rig::new();
    let function = rig.load(&http("(call $reply (i32.const 200) @\"\")"), json!({})).await.unwrap();
    let error = within(function.event(&Caller::new("shop"), &event("0"), 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.message(), "function 'f' does not export `outrigger:functions/event`");
}
