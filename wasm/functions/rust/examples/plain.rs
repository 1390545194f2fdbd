//! Counts the visits of each path, on nothing but `wit-bindgen` and `wasm/wit`.

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package local:plain;
        world plain {
            import outrigger:functions/state@0.1.0;
            export outrigger:functions/http@0.1.0;
        }
    ",
    world: "local:plain/plain",
    generate_all,
});

use exports::outrigger::functions::http::{Guest, Request, Response};
use outrigger::functions::state;
use outrigger::functions::types::{Code, Error};

const STORE: &str = "store";

struct Plain;

export!(Plain);

impl Guest for Plain {
    fn handle(request: Request) -> Response {
        match visit(&request.path) {
            Ok(visits) => answer(200, format!("{} was visited {visits} times\n", request.path)),
            Err(error) => answer(502, error.message),
        }
    }
}

/// Starts again when somebody else wrote between reading and writing.
fn visit(path: &str) -> Result<u64, Error> {
    loop {
        let found = state::get(STORE, path)?;
        let number = found.as_ref().and_then(|item| str::from_utf8(&item.value).ok()?.parse().ok());
        let visits: u64 = number.unwrap_or(0) + 1;
        let first_write = found.is_none();
        let if_match = found.map(|item| item.etag);
        let options = state::WriteOptions { if_match, first_write, ttl: None, fence: None };
        let write = state::Write { key: path.to_owned(), value: visits.to_string().into_bytes(), options };
        match state::set(STORE, &write) {
            Ok(_) => return Ok(visits),
            Err(error) if error.code == Code::Conflict => {}
            Err(error) => return Err(error),
        }
    }
}

fn answer(status: u16, text: String) -> Response {
    let headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
    Response { status, headers, body: text.into_bytes() }
}
