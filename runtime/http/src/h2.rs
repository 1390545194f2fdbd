//! HTTP/2 over hyper, with the checks hyper and h2 leave to us.

pub mod client;
mod convert;
pub(crate) mod server;
mod stream;

pub(crate) use stream::{Progress, Stream};
