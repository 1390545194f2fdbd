//! A function in Rust: a crate, with the crate it is written on beside it.

use std::fmt::Write;

use super::{Block, Template, Trigger, embedded};

const MANIFEST: &str = r#"
version = "0.1.0"
edition = "2024"
publish = false

[workspace]
exclude = ["outrigger"]

[lib]
name = "function"
crate-type = ["cdylib"]

[dependencies]
outrigger-guest = { path = "outrigger/guest" }

[profile.release]
opt-level = "s"
panic = "abort"
strip = true
"#;

pub(super) fn files(template: &Template<'_>) -> Vec<(String, String)> {
    let mut files = vec![
        ("Cargo.toml".to_owned(), format!("[package]\nname = \"{}\"{MANIFEST}", template.name)),
        ("src/lib.rs".to_owned(), source(template)),
        (".gitignore".to_owned(), "target\n*.wasm\n*.wasm.new\n".to_owned()),
    ];
    // As in the repository: the crate looks for the package beside itself.
    for (folder, embedded) in [("guest", embedded::GUEST), ("wit", embedded::WIT)] {
        let below = |(file, text): &(&str, &str)| (format!("outrigger/{folder}/{file}"), (*text).to_owned());
        files.extend(embedded.iter().map(below));
    }
    files
}

fn source(template: &Template<'_>) -> String {
    let mut modules: Vec<String> = template.triggers.iter().map(|trigger| super::word(*trigger)).collect();
    let exported = modules.join(", ");
    let counts = template.uses(Block::State) && template.is_called_for(Trigger::Http);
    if counts {
        modules.push("state".to_owned());
    }
    modules.extend(["Failure".to_owned(), "export".to_owned()]);
    modules.sort();
    let mut text = format!(
        "//! `{}`: see README.md.\n\nuse outrigger_guest::{{{}}};\n\nstruct Function;\n\nexport!(Function: {exported});\n",
        template.name,
        modules.join(", ")
    );
    for trigger in &template.triggers {
        let _ = write!(text, "\n{}", handler(*trigger, counts));
    }
    text
}

fn handler(trigger: Trigger, counts: bool) -> &'static str {
    match trigger {
        Trigger::Http if counts => COUNTS,
        Trigger::Http => HTTP,
        Trigger::Event => EVENT,
        Trigger::Schedule => SCHEDULE,
        Trigger::Binding => BINDING,
        Trigger::Invoke => INVOKE,
    }
}

const HTTP: &str = r#"impl http::Handler for Function {
    fn handle(request: http::Request) -> Result<http::Response, Failure> {
        Ok(http::Response::text(format!("hello from {}\n", request.path)))
    }
}
"#;

const COUNTS: &str = r#"impl http::Handler for Function {
    fn handle(request: http::Request) -> Result<http::Response, Failure> {
        let store = state::Store::named("state");
        let visits: u64 = store.update(&request.path, |visits| visits.unwrap_or(0) + 1)?;
        Ok(http::Response::text(format!("{} was visited {visits} times\n", request.path)))
    }
}
"#;

const EVENT: &str = r#"impl event::Handler for Function {
    fn handle(event: event::Event) -> Result<event::Answer, Failure> {
        println!("{} of {}: {}", event.id, event.topic, String::from_utf8_lossy(&event.data));
        Ok(event::Answer::Success)
    }
}
"#;

const SCHEDULE: &str = r#"impl schedule::Handler for Function {
    fn handle(tick: schedule::Tick) -> Result<(), Failure> {
        println!("{} was due at {}", tick.name, tick.due);
        Ok(())
    }
}
"#;

const BINDING: &str = r#"impl binding::Handler for Function {
    fn handle(input: binding::Input) -> Result<(), Failure> {
        println!("{} read {} bytes", input.binding, input.data.len());
        Ok(())
    }
}
"#;

const INVOKE: &str = r#"impl invoke::Handler for Function {
    fn handle(call: invoke::Call) -> Result<invoke::Answer, Failure> {
        Ok(invoke::Answer::text(format!("{} called {}\n", call.caller, call.method)))
    }
}
"#;
