//! Lines of the log, and series of metrics.

use std::time::{Duration, Instant};

use outrigger_blocks::Caller;
use serde_json::json;

use super::house::{House, invoke};
use super::probe::call;
use crate::rig::PATIENCE;

const METRICS: &str = "outrigger:functions/metrics@0.1.0";

#[tokio::test]
async fn what_a_function_says_and_counts_is_shown_with_its_name() {
    let house = House::new();
    let calls = [
        call("outrigger:functions/log@0.1.0", "write").number(3).text("careful"),
        call("outrigger:functions/log@0.1.0", "write").number(4).text("first\nsecond\r\n"),
        call(METRICS, "count").text("orders_total").number(2),
        call(METRICS, "count").text("orders_total").number(1),
        call(METRICS, "gauge").text("depth").number((-7_i64).cast_unsigned()),
        call(METRICS, "observe").text("wait").number(0.25_f64.to_bits()),
        call(METRICS, "gauge").text("orders_total").number(1),
        call(METRICS, "count").text("outrigger_mine_total").number(1),
    ];
    let function = house.load(&calls, json!({})).await.unwrap();
    invoke(&function, &Caller::new("shop"), &calls).await.unwrap();
    let shown = house.metrics.render();
    for line in [
        "orders_total{function=\"f\"} 3",
        "depth{function=\"f\"} -7",
        "wait_count{function=\"f\"} 1",
        "wait_sum{function=\"f\"} 0.25",
    ] {
        assert!(shown.contains(&format!("\n{line}\n")), "{line} in {shown}");
    }
    assert!(!shown.contains("outrigger_mine"));
    let lines = house.lines();
    let said = [("warn", "careful"), ("error", "first"), ("error", "second")];
    assert_eq!(lines[..3], said.map(|(level, line)| (level, line.to_owned())));
    let refused = |text: &str| lines.iter().any(|(level, line)| *level == "warn" && line.contains(text));
    assert!(refused("metric 'orders_total': it is a Counter already"), "{lines:?}");
    assert!(refused("metric 'outrigger_mine_total'"), "{lines:?}");
    // What it counted goes with it, as soon as its last instance has.
    drop(function);
    let since = Instant::now();
    while house.metrics.render().contains("orders_total{") {
        assert!(since.elapsed() < PATIENCE, "{}", house.metrics.render());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!house.metrics.render().contains("depth{"));
}
