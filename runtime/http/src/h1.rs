//! HTTP/1.0 and 1.1, strict on both faces.
//!
//! Everything is written from its parsed form, so no byte a peer sent reaches another peer's parser as it was, and
//! whatever two parsers could read differently is refused: by the server face with a 4xx, by the client face as a
//! protocol error (502).

mod chunk;
pub mod client;
mod frame;
mod io;
mod parse;
mod pump;
mod refuse;
mod scan;
pub(crate) mod server;
pub(crate) mod timer;
mod write;

pub use refuse::Refusal;

pub(crate) use chunk::is_token;
pub(crate) use io::Io;

#[doc(hidden)]
pub mod probe;
