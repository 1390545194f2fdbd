//! Functions of the host by which a filter picks endpoints: it lists those of a cluster, and chooses one for its request.

use outrigger_cluster::EndpointStatus;
use outrigger_http::Chosen;
use serde::{Deserialize, Serialize};

use super::abi::Status;
use super::memory::{Answer, Guest, Place, Span, bytes, give, text};
use super::stream::At;

pub(crate) const LIST: &[u8] = b"outrigger_endpoints";
pub(crate) const CHOOSE: &[u8] = b"outrigger_choose_endpoint";

/// An endpoint as a filter sees it.
#[derive(Serialize)]
struct Listed {
    address: String,
    weight: u32,
    /// Whether it may be picked.
    usable: bool,
    /// Requests in progress.
    active: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// As it was listed.
    address: String,
    /// No other one will do.
    #[serde(default)]
    strict: bool,
}

/// Given the name of a cluster, its endpoints in JSON.
pub(crate) fn list(guest: &mut Guest<'_>, cluster: Span, place: Place) -> Answer {
    let name = text(guest, cluster)?;
    let clusters = guest.data().services.clusters.load();
    let cluster = clusters.get(name.as_str()).ok_or(Status::NotFound)?;
    let endpoints: Vec<Listed> = cluster.snapshot().endpoints.into_iter().map(listed).collect();
    drop(clusters);
    let json = serde_json::to_vec(&endpoints).map_err(|_| Status::InternalFailure)?;
    give(guest, &json, place)
}

fn listed(EndpointStatus { address, weight, usable, active, .. }: EndpointStatus) -> Listed {
    Listed { address, weight, usable, active }
}

/// Given an address and perhaps `strict`, in JSON: the request goes there, as long as its head has not gone anywhere.
pub(crate) fn choose(guest: &mut Guest<'_>, wanted: Span, place: Place) -> Answer {
    let wanted = bytes(guest, wanted)?;
    let Wanted { address, strict } = serde_json::from_slice(&wanted).map_err(|_| Status::BadArgument)?;
    let stream = guest.data_mut().stream_mut()?;
    if stream.is_connection || stream.request.at != At::Head {
        return Err(Status::BadArgument.into());
    }
    stream.chosen = Some(Chosen { endpoint: address, strict });
    give(guest, &[], place)
}
