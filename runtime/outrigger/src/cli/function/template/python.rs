//! A function in Python: a module and its world.

use super::{Block, Template, Trigger};

pub(super) fn files(template: &Template<'_>) -> Vec<(String, String)> {
    let mut files = template.wit();
    files.push(("function.py".to_owned(), source(template)));
    files.push((".gitignore".to_owned(), ".venv\n__pycache__\n*.wasm\n*.wasm.new\n".to_owned()));
    files
}

fn source(template: &Template<'_>) -> String {
    let counts = template.uses(Block::State) && template.is_called_for(Trigger::Http);
    let mut imports = vec!["import wit_world.exports"];
    if counts {
        imports.push("from componentize_py_types import Err");
    }
    for trigger in &template.triggers {
        imports.push(match trigger {
            Trigger::Http => "from wit_world.exports.http import Response",
            Trigger::Event => "from wit_world.exports.event import Answer_Success",
            Trigger::Invoke => "from wit_world.exports.invoke import Answer",
            Trigger::Schedule | Trigger::Binding => continue,
        });
    }
    if counts {
        imports.push("from wit_world.imports import state");
        imports.push("from wit_world.imports.types import Code");
    }
    let handlers = template.triggers.iter().map(|trigger| handler(*trigger, counts));
    let parts: Vec<&str> = handlers.chain(counts.then_some(INCREMENT)).collect();
    format!(
        "\"\"\"{}: see README.md.\"\"\"\n\n{}\n\n\n{}",
        template.name,
        imports.join("\n"),
        parts.join("\n\n")
    )
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

const HTTP: &str = r#"class Http(wit_world.exports.Http):
    def handle(self, request):
        return Response(200, [], f"hello from {request.path}\n".encode())
"#;

const COUNTS: &str = r#"class Http(wit_world.exports.Http):
    def handle(self, request):
        visits = increment(request.path)
        return Response(200, [], f"{request.path} was visited {visits} times\n".encode())
"#;

const EVENT: &str = r#"class Event(wit_world.exports.Event):
    def handle(self, event):
        print(f"{event.id} of {event.topic}: {event.data.decode()}")
        return Answer_Success()  # or Answer_Retry(), or Answer_Drop()
"#;

const SCHEDULE: &str = r#"class Schedule(wit_world.exports.Schedule):
    def handle(self, tick):
        print(f"{tick.name} was due at {tick.due}")
"#;

const BINDING: &str = r#"class Binding(wit_world.exports.Binding):
    def handle(self, input):
        print(f"{input.binding} read {len(input.data)} bytes")
"#;

const INVOKE: &str = r#"class Invoke(wit_world.exports.Invoke):
    def handle(self, call):
        return Answer("text/plain", f"{call.caller} called {call.method}\n".encode())
"#;

const INCREMENT: &str = r#"def increment(key):
    """Starts again when somebody else wrote between reading and writing."""
    while True:
        found = state.get("state", key)
        counted = int(found.value) + 1 if found else 1
        options = state.WriteOptions(found.etag if found else None, found is None, ttl=None, fence=None)
        try:
            state.set("state", state.Write(key, str(counted).encode(), options))
            return counted
        except Err as error:
            if error.value.code != Code.CONFLICT:
                raise
"#;
