//! Sockets: acceptor, workers, TLS, protocol detection, limits and drain.
//!
//! A [`Listener`] is a bound socket. An [`Acceptor`] takes its connections on the control runtime and gives each to
//! the worker with fewest, where a [`Service`] serves it until it ends: a connection never leaves its worker. What is
//! said over the connection is for the crates above.

mod accept;
mod address;
mod authority;
mod conn;

pub mod copy;
pub mod detect;
pub mod drain;
pub mod frames;
mod limits;
mod listener;
mod rewind;
mod stream;
mod sys;
pub mod tls;
mod workers;

pub use accept::{Acceptor, AcceptorHandle, AcceptorStats};
pub use address::{Address, AddressError, Peer};
pub use authority::LocalAuthority;
pub use conn::{Accepted, BoxFuture, ConnInfo, Service};
pub use drain::{Drain, DrainWatch};
pub use limits::ListenerLimits;
pub use listener::{BindError, Listener, SocketOptions};
pub use rewind::Rewind;
pub use stream::{ConnectOptions, Stream};
pub use sys::{nofile_limit, raise_nofile_limit, release_program};
pub use workers::Workers;
