//! The endpoints of a cluster at one moment: an immutable snapshot that pickers read without a lock.

use std::sync::Arc;
use std::time::Instant;

use crate::config::{Balance, Location};
use crate::endpoint::{Checked, Endpoint};
use crate::pick::Draw;

/// An endpoint with its weight in one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) weight: u32,
}

/// Made anew whenever an endpoint comes, goes, fails or recovers.
#[derive(Debug)]
pub(crate) struct EndpointSet {
    pub(crate) all: Box<[Member]>,
    /// Who may be picked: everybody usable, or everybody when too few are (panic).
    pub(crate) usable: Box<[Member]>,
    pub(crate) draw: Draw,
    /// When the next endpoint's time out is over. Looked at by whoever picks, so no timer is needed.
    pub(crate) review_at: Option<Instant>,
    pub(crate) panic: bool,
    /// Whether any of those that may be picked are functions.
    pub(crate) has_functions: bool,
}

impl EndpointSet {
    pub(crate) fn new(members: &[Member], balance: Balance, panic_percent: Option<u8>, now: Instant) -> Self {
        let mut review_at: Option<Instant> = None;
        let mut may_serve = |member: &&Member| {
            let out_until = member.endpoint.gate.out_until(now);
            if let Some(until) = out_until {
                review_at = Some(review_at.map_or(until, |earliest| earliest.min(until)));
            }
            out_until.is_none() && member.endpoint.checked() != Checked::Unhealthy
        };
        let usable: Box<[Member]> = members.iter().filter(|member| may_serve(member)).cloned().collect();
        let panic =
            panic_percent.is_some_and(|percent| usable.len() * 100 < members.len() * usize::from(percent));
        let all: Box<[Member]> = members.into();
        let usable = if panic { all.clone() } else { usable };
        let is_function = |member: &Member| matches!(member.endpoint.location(), Location::Function(_));
        let has_functions = usable.iter().any(is_function);
        Self { draw: Draw::new(&usable, balance), all, usable, review_at, panic, has_functions }
    }

    pub(crate) fn empty() -> Self {
        let none: Box<[Member]> = Box::default();
        Self {
            draw: Draw::new(&none, Balance::Random),
            all: none.clone(),
            usable: none,
            review_at: None,
            panic: false,
            has_functions: false,
        }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.review_at.is_some_and(|at| at <= now)
    }
}
