//! What is not granted is not there.

use outrigger_blocks::ErrorKind;
use serde_json::json;

use super::house::House;
use super::probe::call;

#[tokio::test]
async fn an_import_without_a_grant_is_refused_by_its_name() {
    let house = House::new();
    let check = async |interface: &'static str, function: &'static str, section: &str| {
        // What it would be called with does not matter.
        let calls = [call(interface, function)];
        let error = house.load(&calls, json!({ "grants": {} })).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        let name = interface.split('@').next().unwrap();
        assert!(error.message().contains(name), "{error}");
        assert!(error.message().contains(&format!("grants.{section}")), "{error}");
        let granted = json!({ "grants": { section: ["anything"] } });
        house.load(&calls, granted).await.map(drop).unwrap();
        for other in
            ["state", "pubsub", "configuration", "lock", "sequencer", "secrets", "invoke", "bindings", "http"]
        {
            let settings = json!({ "grants": { other: ["anything"] } });
            assert_eq!(
                house.load(&calls, settings).await.is_ok(),
                other == section,
                "{other} for {interface}"
            );
        }
    };
    check("outrigger:functions/state@0.1.0", "get", "state").await;
    check("outrigger:functions/pubsub@0.1.0", "publish", "pubsub").await;
    check("outrigger:functions/configuration@0.1.0", "get", "configuration").await;
    check("outrigger:functions/lock@0.1.0", "unlock", "lock").await;
    check("outrigger:functions/sequencer@0.1.0", "next", "sequencer").await;
    check("outrigger:functions/secrets@0.1.0", "get", "secrets").await;
    check("outrigger:functions/invocation@0.1.0", "call", "invoke").await;
    check("outrigger:functions/bindings@0.1.0", "invoke", "bindings").await;
    check("wasi:keyvalue/store@0.2.0-draft", "open", "state").await;
    check("wasi:keyvalue/store@0.2.0-draft2", "open", "state").await;
}

#[tokio::test]
async fn what_only_speaks_needs_no_grant() {
    let house = House::new();
    let calls = [
        call("outrigger:functions/log@0.1.0", "write").number(0).text("x"),
        call("outrigger:functions/metrics@0.1.0", "count").text("x").number(1),
        call("wasi:config/store@0.2.0-rc.1", "get").text("x"),
    ];
    house.told(json!({}), &calls).await;
}
