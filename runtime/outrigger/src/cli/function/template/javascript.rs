//! A function in JavaScript: a module and its world.

use super::{Block, Template, Trigger, embedded};

pub(super) fn files(template: &Template<'_>) -> Vec<(String, String)> {
    let mut files = template.wit();
    files.push(("function.js".to_owned(), source(template)));
    files.push(("outrigger.js".to_owned(), embedded::OUTRIGGER_JS.to_owned()));
    files.push((".gitignore".to_owned(), "node_modules\n*.wasm\n*.wasm.new\n".to_owned()));
    files
}

fn source(template: &Template<'_>) -> String {
    let counts = template.uses(Block::State) && template.is_called_for(Trigger::Http);
    let mut imports = vec!["import * as log from \"outrigger:functions/log@0.1.0\";"];
    if counts {
        imports.push("import * as state from \"outrigger:functions/state@0.1.0\";");
    }
    imports.push("import { bytes, logged, text } from \"./outrigger.js\";");
    let handlers = template.triggers.iter().map(|trigger| handler(*trigger, counts));
    let parts: Vec<&str> = handlers.chain(counts.then_some(INCREMENT)).collect();
    format!("// {}: see README.md.\n\n{}\n\n{}", template.name, imports.join("\n"), parts.join("\n"))
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

const HTTP: &str = r#"export const http = logged(log, {
  handle(request) {
    return { status: 200, headers: [], body: bytes(`hello from ${request.path}\n`) };
  },
});
"#;

const COUNTS: &str = r#"export const http = logged(log, {
  handle(request) {
    const visits = increment(request.path);
    return { status: 200, headers: [], body: bytes(`${request.path} was visited ${visits} times\n`) };
  },
});
"#;

const EVENT: &str = r#"export const event = logged(log, {
  handle(event) {
    log.write("info", `${event.id} of ${event.topic}: ${text(event.data)}`);
    return { tag: "success" }; // or "retry", or "drop"
  },
});
"#;

const SCHEDULE: &str = r#"export const schedule = logged(log, {
  handle(tick) {
    log.write("info", `${tick.name} was due at ${tick.due}`);
  },
});
"#;

const BINDING: &str = r#"export const binding = logged(log, {
  handle(input) {
    log.write("info", `${input.binding} read ${input.data.length} bytes`);
  },
});
"#;

const INVOKE: &str = r#"export const invoke = logged(log, {
  handle(call) {
    return { contentType: "text/plain", data: bytes(`${call.caller} called ${call.method}\n`) };
  },
});
"#;

const INCREMENT: &str = r#"// Starts again when somebody else wrote between reading and writing.
function increment(key) {
  for (;;) {
    const found = state.get("state", key);
    const next = found ? Number(text(found.value)) + 1 : 1;
    const options = { ifMatch: found?.etag, firstWrite: !found };
    try {
      state.set("state", { key, value: bytes(String(next)), options });
      return next;
    } catch (error) {
      if (error.payload?.code !== "conflict") throw error;
    }
  }
}
"#;
