//! What is left from one call to the next.

use std::sync::Arc;

use outrigger_blocks::ErrorKind;
use serde_json::json;

use super::component::{counter, sleeper};
use super::rig::{Rig, told};

#[tokio::test]
async fn nothing_is_left_over_unless_instances_are_reused() {
    let rig = Rig::new();
    let check = async |settings: serde_json::Value, expected: [&str; 7]| {
        let function = rig.load(&counter(), settings).await.unwrap();
        for expected in expected {
            assert_eq!(told(&function, "").await.unwrap(), expected);
        }
    };
    check(json!({}), ["1"; 7]).await;
    check(json!({ "reuse": 3 }), ["1", "2", "3", "1", "2", "3", "1"]).await;
}

#[tokio::test]
async fn one_that_failed_answers_no_more() {
    let rig = Rig::new();
    let function = rig.load(&counter(), json!({ "reuse": 100 })).await.unwrap();
    assert_eq!(told(&function, "").await.unwrap(), "1");
    assert_eq!(told(&function, "").await.unwrap(), "2");
    assert_eq!(told(&function, "!").await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(told(&function, "").await.unwrap(), "1");
}

#[tokio::test]
async fn one_that_nobody_needs_goes() {
    let rig = Rig::new();
    let function = rig.load(&sleeper(3000), json!({ "reuse": 100, "deadline": "1m" })).await.unwrap();
    let calls = (0..3).map(|_| {
        let function = Arc::clone(&function);
        tokio::spawn(async move { told(&function, "").await })
    });
    let calls: Vec<_> = calls.collect();
    rig.until("outrigger_function_instances{function=\"f\"} 3").await;
    for call in calls {
        call.await.unwrap().unwrap();
    }
    rig.until("outrigger_function_instances{function=\"f\"} 0").await;
    drop(function);
}

#[tokio::test]
async fn a_version_that_goes_takes_its_instances_along() {
    let rig = Rig::new();
    let function = rig.load(&counter(), json!({ "reuse": 100 })).await.unwrap();
    assert_eq!(told(&function, "").await.unwrap(), "1");
    rig.until("outrigger_function_instances{function=\"f\"} 1").await;
    drop(function);
    assert!(!rig.metrics.render().contains("outrigger_function_calls_total{"), "its series, too");
    rig.until("outrigger_function_instances{function=\"f\"} 0").await;
}
