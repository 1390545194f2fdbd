//! Asking one endpoint whether it is well. Each question has a connection of its own: whether new ones can be
//! made is part of the answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use outrigger_http::Body;
use outrigger_http::RequestHead;
use outrigger_http::h1::client::{Conn, Recycle, SendOptions};
use outrigger_http::h2;
use outrigger_net::{Address, Stream};

use crate::cluster::Cluster;
use crate::config::{ActiveConfig, Location, Probe};
use crate::endpoint::Endpoint;
use crate::local::nobody;

/// `Err` says why it is not, in words for the operator.
pub(super) async fn ask(cluster: &Cluster, endpoint: &Endpoint, active: &ActiveConfig) -> Result<(), String> {
    let address = match endpoint.location() {
        Location::Address(address) => address,
        // There is nothing to ask it: whether it is there is known.
        Location::Function(name) => {
            return cluster.services.find(name).map(drop).ok_or_else(|| nobody(name));
        }
    };
    let stream = cluster.dialer.connect(address).await.map_err(|error| error.to_string())?;
    match active.probe {
        Probe::Tcp => Ok(()),
        Probe::Http if endpoint.identity().http2 => {
            let head = head(Method::GET, address, active, active.path.clone())?;
            let (status, _) = over_h2(cluster, stream, &head, Body::empty()).await?;
            good(status)
        }
        Probe::Http => ask_h1(cluster, stream, address, active).await,
        Probe::Grpc => ask_grpc(cluster, stream, address, active).await,
    }
}

async fn ask_h1(
    cluster: &Cluster,
    stream: Stream,
    address: &Address,
    active: &ActiveConfig,
) -> Result<(), String> {
    let head = head(Method::GET, address, active, active.path.clone())?;
    let conn = Conn::new(stream, Arc::clone(&cluster.client));
    let options = SendOptions { recycle: Arc::new(Discard), informational: None };
    let answer = conn.send(&head, &mut Body::empty(), options).await.map_err(|error| error.to_string())?;
    good(answer.head.status)
}

/// `grpc.health.v1.Health/Check`. Its two messages are a string and an enum, so they are read and written here.
async fn ask_grpc(
    cluster: &Cluster,
    stream: Stream,
    address: &Address,
    active: &ActiveConfig,
) -> Result<(), String> {
    let mut head = head(Method::POST, address, active, "/grpc.health.v1.Health/Check".to_owned())?;
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
    head.headers = headers.into();
    let (status, answer) =
        over_h2(cluster, stream, &head, Body::full(check_request(&active.service)?)).await?;
    good(status)?;
    match serving_status(&answer) {
        Some(SERVING) => Ok(()),
        Some(other) => Err(format!("answered serving status {other}")),
        None => Err("answered no serving status: is the health service there?".to_owned()),
    }
}

/// One exchange on a connection of its own, body included.
async fn over_h2(
    cluster: &Cluster,
    stream: Stream,
    head: &RequestHead,
    mut body: Body,
) -> Result<(StatusCode, Bytes), String> {
    let opened = h2::client::handshake(stream, &cluster.h2_client).await;
    let (mut sender, driver) = opened.map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send(head, &mut body).await.map_err(|error| error.to_string())?;
        let body = answer.body.collect(LARGEST_ANSWER).await.map_err(|error| error.to_string())?;
        Ok((answer.head.status, body))
    };
    tokio::select! {
        result = exchange => result,
        ended = driver => Err(ended.err().map_or("the connection was closed".to_owned(), |error| error.to_string())),
    }
}

/// An answer to a check has no reason to be longer.
const LARGEST_ANSWER: usize = 64 * 1024;
/// `ServingStatus.SERVING`.
const SERVING: u8 = 1;

fn good(status: StatusCode) -> Result<(), String> {
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(format!("answered {status}")) }
}

/// A gRPC frame with a `HealthCheckRequest`: field 1, the service's name.
fn check_request(service: &str) -> Result<Vec<u8>, String> {
    let length = u8::try_from(service.len()).ok().filter(|length| *length < 0x80);
    let length = length.ok_or("the service's name is longer than 127 bytes")?;
    let message_length = if length == 0 { 0 } else { length + 2 };
    let mut frame = vec![0, 0, 0, 0, message_length];
    if length > 0 {
        frame.extend_from_slice(&[0x0a, length]);
        frame.extend_from_slice(service.as_bytes());
    }
    Ok(frame)
}

/// The status in a gRPC frame with a `HealthCheckResponse`: field 1, an enum whose values fit one byte. An
/// empty message is the enum's zero, `UNKNOWN`.
fn serving_status(frame: &[u8]) -> Option<u8> {
    match frame {
        [0, 0, 0, 0, 0] => Some(0),
        [0, 0, 0, 0, 2, 0x08, status] => Some(*status),
        _ => None,
    }
}

fn head(
    method: Method,
    address: &Address,
    active: &ActiveConfig,
    path: String,
) -> Result<RequestHead, String> {
    let host = match (&active.host, address) {
        (Some(host), _) => host.clone(),
        (None, Address::Tcp(address)) => address.to_string(),
        (None, Address::Unix(_)) => "localhost".to_owned(),
    };
    let authority = host.parse().map_err(|_| format!("'{host}' is not a host"))?;
    Ok(RequestHead::new(method, authority, path))
}

/// The connection of a check is used once.
struct Discard;

impl Recycle for Discard {
    fn finished(self: Arc<Self>, _: Option<Conn>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_protobuf_has_them() {
        assert_eq!(check_request("").unwrap(), [0, 0, 0, 0, 0]);
        assert_eq!(check_request("ab").unwrap(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert!(check_request(&"x".repeat(128)).is_err());
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving_status(b""), None);
    }
}
