//! `bindings.http`: operations that are requests to one HTTP server.

mod binding;
mod url;

pub use binding::{HttpBinding, HttpBindingBackend, HttpBindingConfig};
