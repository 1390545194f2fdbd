//! What calls functions, through the whole program: routes, names, events, schedules and input bindings.

use std::time::{Duration, Instant};

use outrigger_sdk::{Client, Options};

use crate::{
    component::{all_triggers, calling},
    http::{get, send},
    program::{Folder, Program, eventually},
    pubsub::runtime,
};

fn folder(config: &str) -> Folder {
    let folder = Folder::with(config);
    std::fs::write(folder.path("hello.wasm"), all_triggers()).unwrap();
    folder
}

fn count(program: &Program, series: &str) -> u64 {
    let text = get(program.admin(), "/metrics").body;
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.map_or(0, |count| count.parse().unwrap())
}

fn ticks(program: &Program, schedule: &str, outcome: &str) -> u64 {
    let series = format!(
        "outrigger_function_ticks_total{{function=\"hello\",schedule=\"{schedule}\",outcome=\"{outcome}\"}}"
    );
    count(program, &series)
}

#[test]
fn a_functions_name_is_a_cluster_and_an_id() {
    let folder = folder(
        "app: { id: shop }
functions: { hello: { file: hello.wasm } }
listeners: { web: { address: '127.0.0.1:0' } }
clusters: { mixed: { endpoints: [{ function: later, weight: 2 }, { function: hello }], balance: weighted } }
routes:
  named: { match: [{ path: { prefix: /named } }], backends: [{ cluster: hello }] }
  mixed: { match: [{ path: { prefix: /mixed } }], backends: [{ cluster: mixed }], retry: { attempts: 2 } }
",
    );
    let program = folder.run();
    for path in ["/named", "/mixed", "/mixed"] {
        let answer = get(program.web(), path);
        assert_eq!((answer.status, answer.body.as_str()), (200, "routed"), "{path}");
    }
    let invoked = send(program.api(), "POST", "/orders", &[("dapr-app-id", "hello")], "asked");
    assert_eq!((invoked.status, invoked.body.as_str()), (200, "invoked"));
    let unknown = send(program.api(), "POST", "/orders", &[("dapr-app-id", "hallo")], "asked");
    assert_ne!(unknown.status, 200);
}

#[test]
fn events_reach_a_function_and_what_it_fails_the_dead_letters() {
    let folder = folder(
        "app: { id: shop }
components: { events: { type: pubsub.in-memory, settings: { redeliverInterval: 10ms } } }
functions:
  hello:
    file: hello.wasm
    events: { orders: { pubsub: events, topic: orders, metadata: { deadLetterTopic: dead, maxRetries: '2' } } }
",
    );
    let program = folder.run();
    let events = |outcome: &str| {
        count(
            &program,
            &format!("outrigger_pubsub_events_total{{component=\"events\",outcome=\"{outcome}\"}}"),
        )
    };
    runtime().block_on(async {
        let options = Options { endpoint: program.api().to_string(), ..Options::default() };
        let client = Client::connect_with(options).await.unwrap();
        // What is published before it has subscribed is not for it.
        eventually("it is subscribed", || {
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current()
                    .block_on(client.pubsub("events").publish("orders", "probe", "text/plain"))
                    .unwrap();
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
            (events("delivered") > 0).then_some(())
        });
        for data in ["trap", "drop"] {
            client.pubsub("events").publish("orders", data, "text/plain").await.unwrap();
        }
    });
    eventually("both are given up on", || (events("dead_lettered") == 2).then_some(()));
    assert_eq!(events("retried"), 2, "the one that traps, twice");
}

#[test]
fn a_schedule_calls_once_of_two_sidecars_with_one_lock() {
    let config = |lock: &str, path: &std::path::Path| {
        format!(
            "app: {{ id: shop }}
components: {{ locks: {{ type: lock.sqlite, settings: {{ path: '{}' }} }} }}
functions:
  hello:
    file: hello.wasm
    schedules:
      tick: {{ schedule: '* * * * * *'{lock} }}
      failing: {{ schedule: '* * * * * *' }}
",
            path.display()
        )
    };
    let check = |lock: &str| {
        let shared = tempfile::tempdir().unwrap();
        let folders = [0, 1].map(|_| folder(&config(lock, &shared.path().join("locks.db"))));
        let programs = folders.each_ref().map(Folder::run);
        let kept = |program| ticks(program, "tick", "done") + ticks(program, "tick", "elsewhere");
        eventually("four seconds each", || programs.iter().all(|program| kept(program) >= 4).then_some(()));
        // In this order: a second that is counted in between counts as called.
        let seconds = programs.iter().map(kept).max().unwrap();
        let done: u64 = programs.iter().map(|program| ticks(program, "tick", "done")).sum();
        assert!(ticks(&programs[0], "failing", "failed") >= 3);
        (done, seconds)
    };
    let (done, seconds) = check(", lock: locks");
    // They began within a few seconds of each other.
    assert!(done >= 4 && done <= seconds + 3, "{done} calls in {seconds} seconds");
    let (done, seconds) = check("");
    assert!(done > seconds + 3, "planted: without the lock both call: {done} calls in {seconds} seconds");
}

#[test]
fn a_binding_goes_to_the_function_that_names_it() {
    let folder = folder(
        "components: { tick: { type: bindings.cron, settings: { schedule: '@every 100ms' } } }
functions: { hello: { file: hello.wasm, bindings: [tick] } }
",
    );
    let program = folder.run();
    let series = "outrigger_input_events_total{component=\"tick\",outcome=\"delivered\"}";
    eventually("events are taken", || (count(&program, series) >= 3).then_some(()));
}

#[test]
fn a_binding_needs_the_application_only_where_no_function_can_take_it() {
    let folder = folder("");
    let check = |more: &str, complains: bool| {
        folder.configure(&format!(
            "components: {{ tick: {{ type: bindings.cron, settings: {{ schedule: '@daily' }} }} }}\n{more}"
        ));
        let output = folder.command(&["check", "outrigger.yaml"]).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        let expected = "components.tick: its events are given to the application: set app.port";
        assert_eq!(
            (told.contains(expected), output.status.success()),
            (complains, !complains),
            "{more}: {told}"
        );
    };
    check("", true);
    check("functions: { hello: { file: hello.wasm } }", true);
    check("functions: { hello: { file: hello.wasm, bindings: [tick] } }", false);
    check("wasm: { functions: { folder: deployed } }", false);
    check("app: { port: 8080 }", false);
}

#[test]
fn functions_that_wait_for_each_other_are_told() {
    let folder = Folder::with(
        "app: { id: shop }
functions:
  a: { file: calling.wasm, concurrency: 1, deadline: 60s, grants: { invoke: ['*'] } }
  b: { file: calling.wasm, concurrency: 1, deadline: 60s, grants: { invoke: ['*'] } }
  c: { file: calling.wasm, deadline: 60s, grants: { invoke: ['*'] } }
",
    );
    std::fs::write(folder.path("calling.wasm"), calling()).unwrap();
    let program = folder.run();
    let (api, began) = (program.api(), Instant::now());
    let ask = move |function: &str, others: &str| {
        send(api, "POST", "/x", &[("dapr-app-id", function), ("content-type", "text/plain")], others)
    };
    let check = |function: &str, others: &str, expected: &str| {
        let answer = ask(function, others);
        let is_told = answer.status == 200 && answer.body.starts_with(expected);
        assert!(is_told, "{function} {others}: {} {}", answer.status, answer.body);
    };
    check("a", "b", "end");
    check("a", "cb", "end");
    check("a", "a", "'a' has no turn left, and those who have them wait for its callers: a → a");
    check("a", "cba", "'a' has no turn left, and those who have them wait for its callers: a → c → b → a");
    check("c", "ccccccc", "end");
    let deep = format!("more than 8 calls are inside each other: {}", ["c"; 9].join(" → "));
    check("c", "cccccccccccc", &deep);

    // Each has what the other wants, now and then.
    let callers = [("a", "b"), ("b", "a")].map(|(function, other)| {
        std::thread::spawn(move || (0..50).map(|_| ask(function, other)).collect::<Vec<_>>())
    });
    let answers: Vec<_> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
    for answer in &answers {
        let told = answer.body == "end" || answer.body.contains("those who have them wait for its callers");
        assert!(answer.status == 200 && told, "{} {}", answer.status, answer.body);
    }
    assert!(answers.iter().any(|answer| answer.body == "end"));
    assert!(began.elapsed() < Duration::from_secs(60), "nobody waits until the deadline");
}

#[test]
fn triggers_that_lead_nowhere_are_told_with_their_places() {
    let folder = folder(
        "components: { events: { type: pubsub.in-memory }, tick: { type: bindings.cron, settings: { schedule: '@daily' } } }
functions:
  hello:
    file: hello.wasm
    events: { a: { pubsub: event, topic: t }, b: { pubsub: events, topic: t }, c: { pubsub: events, topic: t } }
    schedules: { soon: { schedule: soon, lock: locks } }
    bindings: [tick, tock]
  other: { file: hello.wasm, bindings: [tick] }
",
    );
    let output = folder.command(&["check", "outrigger.yaml"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    for expected in [
        "functions.hello.events.a.pubsub: there is no pub/sub component named 'event' (did you mean `events`?)",
        "functions.hello.events.c.topic: events.b has this topic already",
        "functions.hello.schedules.soon.schedule: the schedule 'soon' cannot be read",
        "functions.hello.schedules.soon.lock: there is no lock store named 'locks'",
        "functions.hello.bindings[1]: there is no input binding named 'tock'",
        "functions.other.bindings[0]: the function 'hello' takes the events of 'tick' already",
    ] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
}
