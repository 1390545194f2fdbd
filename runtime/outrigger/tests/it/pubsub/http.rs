//! Events for an application that speaks HTTP: each is posted to the path of its subscription, and the answer counts.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use outrigger_proto::layotto as proto;
use outrigger_sdk::Outcome;
use serde_json::{Value, json};

use super::{MEMORY, client, next, runtime};
use crate::{
    http::metric,
    ports::reserved,
    program::{Folder, Program, eventually},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A small server with none of our code in it: a thread for each connection, and answers by path.
struct HttpApp {
    port: u16,
    posts: Arc<Mutex<Vec<Post>>>,
}

#[derive(Clone, Debug)]
struct Post {
    /// Request line and headers, in lower case.
    head: Vec<String>,
    path: String,
    body: Value,
}

impl HttpApp {
    fn start() -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn listen(listener: TcpListener) -> Self {
        let port = listener.local_addr().unwrap().port();
        let posts = Arc::<Mutex<Vec<Post>>>::default();
        let kept = Arc::clone(&posts);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let posts = Arc::clone(&kept);
                // The other side may hang up at any time.
                std::thread::spawn(move || serve(&stream, &posts).unwrap_or_default());
            }
        });
        Self { port, posts }
    }

    fn posts(&self, path: &str) -> Vec<Post> {
        self.posts.lock().unwrap().iter().filter(|post| post.path == path).cloned().collect()
    }

    fn wait_for(&self, path: &str, count: usize) -> Vec<Post> {
        eventually(&format!("{count} posts to {path}"), || {
            let posts = self.posts(path);
            (posts.len() >= count).then_some(posts)
        })
    }
}

fn serve(stream: &TcpStream, posts: &Mutex<Vec<Post>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            head.push(line.trim_end().to_lowercase());
        }
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("an event comes with its length").parse().unwrap()];
        reader.read_exact(&mut body)?;
        let path = head[0].split(' ').nth(1).unwrap().to_owned();
        let body = serde_json::from_slice(&body).expect("an event is JSON");
        let earlier = {
            let mut posts = posts.lock().unwrap();
            posts.push(Post { head, path: path.clone(), body });
            posts.iter().filter(|post| post.path == path).count() - 1
        };
        let (status, text) = answer(&path, earlier);
        let length = text.len();
        let mut stream = stream;
        write!(stream, "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n\r\n{text}")?;
    }
}

/// What the application says to the next post to a path.
fn answer(path: &str, earlier: usize) -> (u16, &'static str) {
    match (path, earlier) {
        ("/done", _) => (200, r#"{"status":"SUCCESS"}"#),
        ("/again", 0) => (200, r#"{"status":"RETRY"}"#),
        ("/never", _) => (200, r#"{"status":"DROP"}"#),
        ("/unknown", _) => (404, r#"{"status":"SUCCESS"}"#),
        ("/broken", 0) => (503, "not now"),
        _ => (200, ""),
    }
}

/// An application on this port and its subscriptions, on a broker in memory.
fn config(port: u16, subscriptions: &str) -> String {
    format!("app: {{ id: shop, port: {port} }}\ncomponents:\n  {MEMORY}\nsubscriptions:\n{subscriptions}")
}

async fn publish(program: &Program, topic: &str, data: &str) {
    let client = client(program).await;
    client.pubsub("events").publish(topic, data.to_owned(), "text/plain").await.unwrap();
}

#[test]
fn each_answer_says_what_becomes_of_the_event() {
    let app = HttpApp::start();
    let names = ["done", "empty", "again", "never", "unknown", "broken"];
    let subscription = |name: &&str| {
        format!("  {name}: {{ pubsub: events, topic: {name}, route: /{name}, dead_letter_topic: dead }}\n")
    };
    let folder = Folder::with(&config(app.port, &names.iter().map(subscription).collect::<String>()));
    let mut program = folder.run();
    let events = |outcome: &str| {
        let series = "outrigger_pubsub_events_total{component=\"events\",outcome=";
        metric(program.admin(), &format!("{series}\"{outcome}\"}}"))
    };
    let buried = runtime().block_on(async {
        let client = client(&program).await;
        let mut dead = client.pubsub("events").subscribe("dead").await.unwrap();
        for name in names {
            publish(&program, name, name).await;
        }
        let mut buried = BTreeMap::new();
        for _ in 0..2 {
            let event = next(&mut dead).await;
            dead.settle(&event, Outcome::Done).await.unwrap();
            buried.insert(
                event.metadata["deadLetterTopic"].clone(),
                event.metadata["deadLetterReason"].clone(),
            );
        }
        // Four of the application's, and the two of the dead-letter topic.
        eventually("all are settled", || (events("delivered") == 6).then_some(()));
        buried
    });
    let dropped = "dropped by the subscriber".to_owned();
    let expected = ["never", "unknown"].map(|topic| (topic.to_owned(), dropped.clone()));
    assert_eq!(buried, BTreeMap::from(expected));
    for (name, posts) in names.into_iter().zip([1, 1, 2, 1, 1, 2]) {
        assert_eq!(app.wait_for(&format!("/{name}"), posts).len(), posts, "{name}");
    }
    assert_eq!((events("retried"), events("dead_lettered"), events("dropped")), (2, 2, 0));
    let warning = program.wait_for("the application has no such path");
    assert!(warning.contains("/unknown"), "{warning}");
}

#[test]
fn the_event_is_posted_as_it_was_published() {
    let app = HttpApp::start();
    let folder = Folder::with(&config(
        app.port,
        "  orders: { pubsub: events, topic: orders, route: '/shop/orders?v=1' }\n  \
         raw: { pubsub: events, topic: raw, route: /raw, raw: true }\n",
    ));
    let program = folder.run();
    let sent = json!({
        "specversion": "1.0", "id": "7", "source": "/me", "type": "order", "time": "2020-01-01T00:00:00Z",
        "datacontenttype": "application/json", "data": {"apples": 2}, "tenant": "a",
    });
    crate::layotto::run(&program, async |c| {
        for (topic, raw) in [("orders", "false"), ("raw", "true")] {
            let metadata = [("rawPayload", raw), ("shop", "north"), ("dapr-api-token", "forged")];
            let mut request = tonic::Request::new(proto::PublishEventRequest {
                pubsub_name: "events".into(),
                topic: topic.into(),
                data: sent.to_string().into(),
                data_content_type: "application/cloudevents+json".into(),
                metadata: metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            });
            let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
            request.metadata_mut().insert("traceparent", parent.parse().unwrap());
            request.metadata_mut().insert("tracestate", "vendor=1".parse().unwrap());
            c.runtime.publish_event(request).await.unwrap();
        }
    });
    let Post { head, body, .. } = app.wait_for("/shop/orders?v=1", 1).remove(0);
    assert_eq!(head[0], "post /shop/orders?v=1 http/1.1");
    let header = |name: &str| {
        let found: Vec<_> = head.iter().filter_map(|line| line.strip_prefix(&format!("{name}: "))).collect();
        found.join("|")
    };
    assert_eq!(header("content-type"), "application/cloudevents+json");
    assert_eq!(header("host"), format!("127.0.0.1:{}", app.port));
    assert!(header("traceparent").starts_with(&format!("00-{TRACE}-")), "{head:?}");
    assert_eq!((header("tracestate").as_str(), header("shop").as_str()), ("vendor=1", "north"));
    assert!(!head.iter().any(|line| line.contains("forged")), "{head:?}");
    let mut expected = sent.clone();
    let trace = body["traceparent"].clone();
    assert!(trace.as_str().unwrap().starts_with(&format!("00-{TRACE}-")), "{body}");
    for (name, value) in [
        ("pubsubname", "events".into()),
        ("topic", "orders".into()),
        ("traceid", trace.clone()),
        ("traceparent", trace),
        ("tracestate", "vendor=1".into()),
    ] {
        expected[name] = value;
    }
    assert_eq!(body, expected);
    let raw = app.wait_for("/raw", 1).remove(0).body;
    assert_eq!((&raw["datacontenttype"], &raw["topic"]), (&"application/octet-stream".into(), &"raw".into()));
    assert!(
        raw["data_base64"].as_str().is_some_and(|data| data.len() > 100) && raw["data"].is_null(),
        "{raw}"
    );
}

#[test]
fn an_application_that_comes_late_gets_what_was_published_before() {
    let port = reserved().port();
    let folder = Folder::with(&config(port, "  orders: { pubsub: events, topic: orders, route: /orders }\n"));
    let program = folder.run();
    runtime().block_on(async {
        for number in 0..20 {
            publish(&program, "orders", &number.to_string()).await;
        }
    });
    let app = HttpApp::listen(TcpListener::bind(("127.0.0.1", port)).unwrap());
    let posts = app.wait_for("/orders", 20);
    let mut numbers: Vec<usize> =
        posts.iter().map(|post| post.body["data"].as_str().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

#[test]
fn stopping_does_not_wait_for_an_application_that_is_gone() {
    let port = reserved().port();
    let config = config(port, "  orders: { pubsub: events, topic: orders, route: /orders }\n");
    let folder = Folder::with(&format!("{config}shutdown: {{ timeout: 1m }}\n"));
    let mut program = folder.run();
    runtime().block_on(publish(&program, "orders", "for nobody"));
    eventually("it is under way", || {
        (metric(program.admin(), "outrigger_pubsub_in_flight{component=\"events\"}") == 1).then_some(())
    });
    let asked = Instant::now();
    let (status, _) = program.stop();
    assert!(status.success() && asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

#[test]
fn another_route_holds_from_the_next_configuration_on() {
    let app = HttpApp::start();
    let config = |route: &str| {
        config(app.port, &format!("  orders: {{ pubsub: events, topic: orders, route: {route} }}\n"))
    };
    let folder = Folder::with(&config("/one"));
    let mut program = folder.run();
    runtime().block_on(publish(&program, "orders", "first"));
    app.wait_for("/one", 1);
    folder.configure(&config("/two"));
    program.signal(rustix::process::Signal::HUP);
    program.wait_for_next("configuration reloaded");
    runtime().block_on(publish(&program, "orders", "second"));
    assert_eq!(app.wait_for("/two", 1)[0].body["data"], "second");
    assert_eq!(app.posts("/one").len(), 1);
}
