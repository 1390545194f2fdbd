//! Edits a whole body: `x-edit` says how, `x-edit-response` whose. The configuration is the text put in.

use outrigger_filters::Filter;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Body>);
}}

#[derive(Clone, Copy, PartialEq)]
enum Edit {
    Append,
    Prepend,
    Replace,
}

struct Body {
    text: String,
    request: Option<Edit>,
    response: Option<Edit>,
}

impl Filter for Body {
    fn new(configuration: &str) -> Self {
        Self { text: configuration.to_owned(), request: None, response: None }
    }
}

fn edit(name: Option<String>) -> Option<Edit> {
    match name?.as_str() {
        "append" => Some(Edit::Append),
        "prepend" => Some(Edit::Prepend),
        "replace" => Some(Edit::Replace),
        _ => None,
    }
}

/// Where the text goes in a body of `size` bytes, and how much of it it takes the place of.
fn place(edit: Edit, size: usize) -> (usize, usize) {
    match edit {
        Edit::Append => (size, 0),
        Edit::Prepend => (0, 0),
        Edit::Replace => (0, size),
    }
}

impl Context for Body {}

impl HttpContext for Body {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.request = edit(self.get_http_request_header("x-edit"));
        self.response = edit(self.get_http_request_header("x-edit-response"));
        if self.request.is_some() {
            // It will have another length.
            self.remove_http_request_header("content-length");
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        let Some(edit) = self.request else { return Action::Continue };
        if !end {
            return Action::Pause;
        }
        let (start, replaced) = place(edit, size);
        self.set_http_request_body(start, replaced, self.text.as_bytes());
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if self.response.is_some() {
            self.remove_http_response_header("content-length");
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        let Some(edit) = self.response else { return Action::Continue };
        if !end {
            return Action::Pause;
        }
        let (start, replaced) = place(edit, size);
        self.set_http_response_body(start, replaced, self.text.as_bytes());
        Action::Continue
    }
}
