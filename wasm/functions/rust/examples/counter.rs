//! Counts, and can be called for everything: `wasm/functions/README.md` says what it does. In JavaScript and Python it
//! is the same.

use outrigger_guest::event::Answer;
use outrigger_guest::{
    Failure, binding, event, export, http, invoke, log, metrics, pubsub, schedule, secrets, state,
};
use serde::{Deserialize, Serialize};

struct Counter;

export!(Counter: http, event, schedule, binding, invoke);

/// What a count is answered with.
#[derive(Serialize)]
struct Counted<'a> {
    key: &'a str,
    count: u64,
    secret: String,
    language: &'static str,
}

/// What tests send as events.
#[derive(Deserialize)]
struct Order {
    key: String,
    #[serde(default)]
    then: String,
}

impl http::Handler for Counter {
    fn handle(request: http::Request) -> Result<http::Response, Failure> {
        Ok(match request.route().split('/').collect::<Vec<_>>()[..] {
            ["", "count", key] => http::Response::json(&count(key)?)?,
            ["", "echo"] => echo(&request)?,
            ["", "log"] => said(),
            ["", "trap"] => panic!("trapped as told"),
            ["", "stale"] => stale()?,
            _ => http::Response::text("nothing here\n").status(404),
        })
    }
}

fn echo(request: &http::Request) -> Result<http::Response, Failure> {
    let seen = serde_json::json!({
        "method": request.method,
        "path": request.path,
        "authority": request.authority,
        "headers": request.headers,
        "body": String::from_utf8_lossy(&request.body),
    });
    Ok(http::Response::json(&seen)?.status(201).with("x-echo", "one").with("x-echo", "two"))
}

fn stale() -> Result<http::Response, Failure> {
    let options = state::Options { if_match: Some("9".to_owned()), ..state::Options::default() };
    Ok(http::Response::json(&state::Store::named("store").set_with("stale", "1", options)?)?)
}

fn said() -> http::Response {
    println!("said on stdout");
    eprintln!("said on stderr");
    log::warn("said in the log");
    metrics::count("said_total", 1);
    http::Response::text("said\n")
}

impl invoke::Handler for Counter {
    fn handle(call: invoke::Call) -> Result<invoke::Answer, Failure> {
        match call.method.split('/').collect::<Vec<_>>()[..] {
            ["count", key] => Ok(invoke::Answer::json(&count(key)?)?),
            ["echo"] => Ok(invoke::Answer { content_type: call.content_type, data: call.data }),
            _ => Err(format!("there is no {}", call.method).into()),
        }
    }
}

impl event::Handler for Counter {
    fn handle(event: event::Event) -> Result<Answer, Failure> {
        let order: Order = event.json()?;
        let store = state::Store::named("store");
        store.set_json(&format!("{}/{}", event.topic, order.key), &event.attempt)?;
        match order.then.as_str() {
            "retry" if event.attempt < 3 => Ok(Answer::Retry),
            "trap" if event.attempt < 2 => panic!("trapped as told"),
            "drop" => Ok(Answer::Drop),
            _ => Ok(Answer::Success),
        }
    }
}

impl schedule::Handler for Counter {
    fn handle(tick: schedule::Tick) -> Result<(), Failure> {
        increment(&format!("ticks/{}", tick.name))?;
        Ok(())
    }
}

impl binding::Handler for Counter {
    fn handle(input: binding::Input) -> Result<(), Failure> {
        increment(&format!("inputs/{}", input.binding))?;
        Ok(())
    }
}

/// Counts, says so to others, and shows that it knows the secret.
fn count(key: &str) -> Result<Counted<'_>, Failure> {
    let count = increment(key)?;
    pubsub::publish_json("bus", "counted", &serde_json::json!({ "key": key, "count": count }))?;
    Ok(Counted { key, count, secret: secrets::get("vault", "word")?, language: "rust" })
}

fn increment(key: &str) -> outrigger_guest::Result<u64> {
    state::Store::named("store").update(key, |count: Option<u64>| count.unwrap_or(0) + 1)
}
