//! Endpoints, pickers, health, pools: the one way out of the process.
//!
//! A [`Cluster`] is a set of endpoints that answer alike. [`Cluster::send`] carries one request through
//! picking, pooling, judging and retrying; [`Cluster::connect`] makes one connection for L4.
//! [`Clusters::compile`] turns settings into clusters and keeps the runtime state a change does not touch.

mod admit;
mod cluster;
mod compile;
pub mod config;
mod connect;
mod dial;
mod endpoint;
mod error;
mod gate;
mod health;
mod judge;
mod local;
mod metrics;
mod pick;
mod plain;
mod pool;
mod registry;
mod replay;
mod send;
mod set;
mod spans;
mod status;
mod trial;
mod usage;
mod waiting;

pub use cluster::Cluster;
pub use compile::{Clusters, Context};
pub use config::ClusterConfig;
pub use connect::Connected;
pub use endpoint::{Checked, Endpoint};
pub use error::{ConnectError, Fault, SendError, SendErrorKind};
pub use gate::Standing;
pub use local::{LocalCall, Service, Services};
pub use outrigger_http::{Body, BodyError};
pub use registry::{Found, Resolve, SystemResolver};
pub use send::{Report, SendOptions};
pub use status::{ClusterStatus, EndpointStatus};
pub use usage::InFlight;
