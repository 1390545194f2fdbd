//! What a route does with a request: forward it, redirect it, or answer it.

mod local;
mod rewrite;
mod weighted;

use std::sync::Arc;
use std::time::Duration;

use outrigger_resilience::RetryPolicy;

pub(crate) use local::{Redirect, Respond};
pub(crate) use rewrite::{PathChange, Rewrite, authority};
pub(crate) use weighted::Weighted;

#[derive(Debug)]
pub(crate) enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Respond(Box<Respond>),
}

/// Where requests go and how long they may take.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) backends: Weighted,
    pub(crate) rewrite: Rewrite,
    /// As configured: `None` is the default, zero is none.
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<RetryPolicy>,
}

impl Action {
    /// Whether the same configuration led to the same clusters.
    pub(crate) fn has_same_clusters(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Forward(a), Self::Forward(b)) => {
                a.backends.clusters().map(Arc::as_ptr).eq(b.backends.clusters().map(Arc::as_ptr))
            }
            _ => true,
        }
    }
}
