//! Input bindings, by the one that goes by the clock: the application is called when it is time, and only if it wants.

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, Method, StatusCode},
    routing::any,
};
use outrigger_proto::dapr::{
    BindingEventRequest, BindingEventResponse, ListInputBindingsResponse,
    app_callback_server::{AppCallback, AppCallbackServer},
};
use tonic::{Response, Status, transport::Server};

use crate::{
    application::Application,
    http,
    ports::reserved,
    program::{Folder, Program, eventually},
};

/// What an application was asked.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<(Method, String, HeaderMap)>>>);

impl Notes {
    fn of(&self, method: &Method, path: &str) -> Vec<HeaderMap> {
        let notes = self.0.lock().unwrap();
        notes
            .iter()
            .filter(|(m, p, _)| m == method && p == path)
            .map(|(.., headers)| headers.clone())
            .collect()
    }

    fn calls(&self, path: &str) -> usize {
        self.of(&Method::POST, path).len()
    }

    /// At which moments the application was called, as the sidecar tells them.
    fn moments(&self, path: &str) -> Vec<String> {
        let calls = self.of(&Method::POST, path).into_iter();
        calls.map(|headers| headers["readtimeutc"].to_str().unwrap().to_owned()).collect()
    }
}

/// Notes everything; `/slow` takes its time, `/failing` fails, `/unknown` is not there.
fn application(notes: &Notes) -> Application {
    let notes = notes.clone();
    Application::serve(Router::new().fallback(any(move |request: Request| {
        let notes = notes.clone();
        async move {
            let (head, body) = request.into_parts();
            let path = head.uri.path().to_owned();
            notes.0.lock().unwrap().push((head.method.clone(), path.clone(), head.headers));
            let length = axum::body::to_bytes(body, 1024).await.unwrap().len();
            assert_eq!(length, 0);
            match (path.as_str(), head.method) {
                ("/unknown", _) => StatusCode::NOT_FOUND,
                ("/post-only", Method::OPTIONS) => StatusCode::METHOD_NOT_ALLOWED,
                ("/failing", Method::POST) => StatusCode::INTERNAL_SERVER_ERROR,
                ("/slow", Method::POST) => {
                    tokio::time::sleep(Duration::from_secs(6)).await;
                    StatusCode::OK
                }
                _ => StatusCode::OK,
            }
        }
    })))
}

fn metric(program: &Program, series: &str) -> u64 {
    let text = http::get(program.admin(), "/metrics").body;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn an_app_is_called_when_it_is_time_where_it_wants_to_be() {
    let notes = Notes::default();
    let app = application(&notes);
    let folder = Folder::with(&format!(
        "app: {{ id: reports, port: {} }}
components:
  tick: {{ type: bindings.cron, settings: {{ schedule: '@every 300ms' }} }}
  second: {{ type: bindings.cron, settings: {{ schedule: '* * * * * *', route: post-only }} }}
  unknown: {{ type: bindings.cron, settings: {{ schedule: '@every 100ms' }} }}
  told: {{ type: bindings.cron, settings: {{ schedule: '@every 300ms', direction: input, route: /unknown }} }}
  failing: {{ type: bindings.cron, settings: {{ schedule: '@every 300ms', maxRetries: 1, redeliverInterval: 20ms }} }}
  theirs: {{ type: bindings.cron, scopes: [other], settings: {{ schedule: '@every 100ms', direction: input }} }}
",
        app.port()
    ));
    let mut program = folder.run();
    for path in ["/tick", "/post-only", "/unknown", "/failing"] {
        eventually(path, || (notes.calls(path) >= 3).then_some(()));
    }
    let call = notes.of(&Method::POST, "/tick").remove(0);
    assert_eq!(call["content-type"], "application/json");
    assert_eq!(call["content-length"], "0");
    assert_eq!(call["timezone"], "UTC");
    assert!(call["traceparent"].to_str().unwrap().starts_with("00-"), "{call:?}");
    let mut moments = notes.moments("/tick");
    let count = moments.len();
    moments.dedup();
    assert_eq!(moments.len(), count, "each once");
    for path in ["/tick", "/post-only", "/failing"] {
        assert_eq!(notes.of(&Method::OPTIONS, path).len(), 1, "{path}");
    }
    program.wait_for("the application does not take the events");
    assert_eq!(notes.calls("/theirs"), 0, "it is open to another application");
    let events = |component: &str, outcome: &str| {
        let series = "outrigger_input_events_total";
        metric(&program, &format!("{series}{{component=\"{component}\",outcome=\"{outcome}\"}}"))
    };
    assert!(events("tick", "delivered") >= 2 && events("tick", "dropped") == 0);
    assert!(events("told", "dropped") >= 1, "nobody asked, and it is not there");
    assert!(events("failing", "retried") >= 1 && events("failing", "dropped") >= 1);
    assert_eq!((events("unknown", "delivered"), events("theirs", "delivered")), (0, 0));
    assert!(metric(&program, "outrigger_input_event_seconds_count{component=\"tick\"}") >= 2);
    let shown = http::get(program.admin(), "/actuator/components").json();
    let shown = shown["components"].as_array().unwrap().iter().find(|it| it["name"] == "tick").unwrap();
    assert_eq!((&shown["block"], &shown["status"]), (&"input_bindings".into(), &"UP".into()));
}

#[test]
fn a_schedule_that_did_not_change_goes_on_across_reloads() {
    let notes = Notes::default();
    let app = application(&notes);
    let config = |level: &str, more: &str| {
        format!(
            "app: {{ id: reports, port: {} }}\nlog: {{ level: {level} }}\ncomponents:
  tick: {{ type: bindings.cron, settings: {{ schedule: '* * * * * *' }} }}\n{more}",
            app.port()
        )
    };
    let folder = Folder::with(&config("info", ""));
    let mut program = folder.run();
    eventually("the first call", || (notes.calls("/tick") >= 1).then_some(()));
    for level in ["debug", "info", "debug", "info", "debug", "info"] {
        folder.configure(&config(level, ""));
        program.wait_for_next("configuration reloaded");
        std::thread::sleep(Duration::from_millis(350));
    }
    // Each second at most once, and none left out while the reloads went on: at most one by the machine itself.
    let seconds: Vec<u32> = notes.moments("/tick").iter().map(|at| at[17..19].parse().unwrap()).collect();
    let steps: Vec<u32> = seconds.windows(2).map(|pair| (pair[1] + 60 - pair[0]) % 60).collect();
    assert!(steps.len() >= 2 && steps.iter().all(|step| *step >= 1), "{seconds:?}");
    assert!(steps.iter().filter(|step| **step > 1).count() <= 1, "{seconds:?}");
    assert_eq!(notes.of(&Method::OPTIONS, "/tick").len(), 1, "it is not asked again");

    // One that comes is called, one that goes is not.
    folder.configure(&config(
        "info",
        "  more: { type: bindings.cron, settings: { schedule: '@every 200ms' } }\n",
    ));
    program.wait_for_next("configuration reloaded");
    eventually("the new one", || (notes.calls("/more") >= 2).then_some(()));
    folder.configure(&config("info", ""));
    program.wait_for_next("configuration reloaded");
    let calls = notes.calls("/more");
    eventually("the old one goes on", || (notes.calls("/tick") >= seconds.len() + 3).then_some(()));
    assert!(notes.calls("/more") <= calls + 1, "one may have been under way");
}

#[test]
fn stopping_waits_for_a_call_under_way_and_no_longer_than_told() {
    for (timeout, shortest, longest) in [("10s", 2, 15), ("200ms", 0, 4)] {
        let notes = Notes::default();
        let app = application(&notes);
        let folder = Folder::with(&format!(
            "app: {{ port: {} }}\nshutdown: {{ timeout: {timeout} }}\ncomponents:
  slow: {{ type: bindings.cron, settings: {{ schedule: '@every 200ms' }} }}\n",
            app.port()
        ));
        let mut program = folder.run();
        eventually("a call", || (notes.calls("/slow") >= 1).then_some(()));
        let (_, took) = program.stop();
        assert!((shortest..=longest).contains(&took.as_secs()), "{timeout}: {took:?}");
        assert_eq!(notes.calls("/slow"), 1, "what came due meanwhile is not queued up");
    }
}

#[test]
fn a_server_of_one_connection_at_a_time_is_not_held_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&calls);
    // It reads one request from each connection before it looks at the next.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            noted.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
            // It does not know OPTIONS at all.
            let status = if head.starts_with("POST ") { "200 OK" } else { "501 Not Implemented" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    let folder = Folder::with(&format!(
        "app: {{ port: {port}, probe: false }}\ncomponents:
  tick: {{ type: bindings.cron, settings: {{ schedule: '@every 200ms' }} }}\n"
    ));
    let _program = folder.run();
    eventually("it is called", || {
        let calls = calls.lock().unwrap();
        (calls.iter().filter(|call| call.starts_with("POST /tick ")).count() >= 3).then_some(())
    });
    assert!(calls.lock().unwrap().iter().all(|call| !call.is_empty()), "each connection brought a request");
}

/// An application that speaks gRPC and takes the events of `tick`.
#[derive(Clone, Default)]
struct Callbacks(Arc<Mutex<Vec<BindingEventRequest>>>);

#[tonic::async_trait]
impl AppCallback for Callbacks {
    async fn list_input_bindings(
        &self,
        _: tonic::Request<()>,
    ) -> Result<Response<ListInputBindingsResponse>, Status> {
        Ok(Response::new(ListInputBindingsResponse { bindings: vec!["tick".to_owned()] }))
    }

    async fn on_binding_event(
        &self,
        request: tonic::Request<BindingEventRequest>,
    ) -> Result<Response<BindingEventResponse>, Status> {
        assert!(
            request.metadata().contains_key("traceparent") && request.metadata().contains_key("grpc-timeout")
        );
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(BindingEventResponse::default()))
    }
}

#[test]
fn an_app_that_speaks_grpc_gets_daprs_callbacks() {
    let port = reserved().port();
    let folder = Folder::with(&format!(
        "app: {{ port: {port}, protocol: grpc }}\ncomponents:
  tick: {{ type: bindings.cron, settings: {{ schedule: '@every 200ms' }} }}
  other: {{ type: bindings.cron, settings: {{ schedule: '@every 100ms' }} }}\n",
    ));
    let _program = folder.run();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let callbacks = Callbacks::default();
    let server = Server::builder().add_service(AppCallbackServer::new(callbacks.clone()));
    let app = runtime.spawn(server.serve(([127, 0, 0, 1], port).into()));
    eventually("it is called", || (callbacks.0.lock().unwrap().len() >= 3).then_some(()));
    app.abort();
    let events = callbacks.0.lock().unwrap();
    assert!(events.iter().all(|event| event.name == "tick" && event.metadata.contains_key("readTimeUTC")));
}

#[test]
fn an_app_on_the_sdk_takes_events_or_fails_them() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = Folder::with(&format!(
        "app: {{ port: {port}, protocol: grpc }}\ncomponents:
  good: {{ type: bindings.cron, settings: {{ schedule: '@every 200ms' }} }}
  failing: {{ type: bindings.cron, settings: {{ schedule: '@every 200ms', maxRetries: 1, redeliverInterval: 20ms }} }}
  panicking: {{ type: bindings.cron, settings: {{ schedule: '@every 200ms', direction: input }} }}
  unknown: {{ type: bindings.cron, settings: {{ schedule: '@every 200ms', direction: input }} }}\n",
    ));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let app = outrigger_sdk::App::new()
        .binding("good", |_| async { Ok::<_, String>(()) })
        .binding("failing", |_| async { Err("not today") })
        .binding("panicking", |event| async move {
            assert!(event.metadata.is_empty(), "planted");
            Ok::<_, String>(())
        });
    let app = runtime.spawn(async move {
        listener.set_nonblocking(true).unwrap();
        app.serve_on(tokio::net::TcpListener::from_std(listener).unwrap()).await
    });
    let mut program = folder.run();
    let events = |program: &Program, component: &str, outcome: &str| {
        let series = "outrigger_input_events_total";
        metric(program, &format!("{series}{{component=\"{component}\",outcome=\"{outcome}\"}}"))
    };
    for (component, outcome) in [
        ("good", "delivered"),
        ("failing", "retried"),
        ("failing", "dropped"),
        ("panicking", "dropped"),
        ("unknown", "dropped"),
    ] {
        eventually(component, || (events(&program, component, outcome) >= 2).then_some(()));
    }
    assert_eq!((events(&program, "good", "dropped"), events(&program, "failing", "delivered")), (0, 0));
    program.wait_for("not today");
    app.abort();
}

#[test]
fn mistakes_about_schedules_are_told_at_their_place() {
    let folder = Folder::empty();
    folder.write(
        "f.yaml",
        "components:
  a: { type: bindings.cron, settings: { schedule: '61 * * * *' } }
  b: { type: bindings.cron, settings: { schedule: '@daily', direction: output } }
  c: { type: bindings.cron }
",
    );
    let file = folder.path("f.yaml").display().to_string();
    let output = folder.command(&["check", &file]).output().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    for part in [
        "f.yaml:2:51: components.a.settings.schedule: the schedule '61 * * * *' cannot be read",
        "components.b.settings.direction: direction is input",
        "f.yaml:4:3: components.c: the key `schedule` is required",
        "components.a: its events are given to the application: set app.port",
    ] {
        assert!(complaints.contains(part), "{part}: {complaints}");
    }
}
