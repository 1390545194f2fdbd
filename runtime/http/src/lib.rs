//! HTTP messages, the strict HTTP/1 codec, the filter chain and the access log.
//!
//! [`server::serve`] reads requests of either HTTP version off an accepted connection and gives each to a
//! [`Handler`]; [`h1::client::Conn`] and [`h2::client`] send them on. Between the two, heads are [`RequestHead`] and
//! [`ResponseHead`], and bytes flow as [`Body`].

mod authority;
mod body;
mod buffer;
mod config;
mod filter_state;
mod head;
mod headers;
mod message;
mod record;
mod tunnel;

pub mod access_log;
pub mod chain;
pub mod filter;
pub mod forward;
pub mod h1;
pub mod h2;
pub mod reply;
pub mod server;
pub mod tower;

pub use authority::{Authority, InvalidAuthority};
pub use body::{Body, BodyError, Meter};
pub use config::{Http2Config, Problem, ServerConfig, Underscores};
pub use filter_state::{FilterState, Unsettable};
pub use h1::probe::fuzz_h1;
pub use h1::timer::Timer;
pub use head::{InvalidPath, RequestHead, ResponseHead, Scheme, Target};
pub use headers::{FieldName, Headers, InvalidValue, WireHeaders};
pub use message::{Chosen, Duplex, Handler, Informational, Request, RequestExt, Response, Tunnel, Upstream};
pub use record::{Observer, Outcome, Record, Sent, unanswered};
pub use server::serve;
