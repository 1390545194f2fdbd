//! Properties: what is known of a request, its connection and the plugin, by paths.

use std::net::SocketAddr;

use http::Version;
use outrigger_http::{RequestHead, ResponseHead, reply};
use outrigger_net::{Address, Peer};

use super::abi::Status;
use super::control::nanoseconds;
use super::flags;
use super::map;
use super::memory::{Answer, Guest, Place, Span, both, bytes, give};
use super::state::State;
use super::stream::Stream;

pub(crate) fn get(guest: &mut Guest<'_>, path: Span, place: Place) -> Answer {
    let path = bytes(guest, path)?;
    let value = value(guest.data(), &path).ok_or(Status::NotFound)?;
    give(guest, &value, place)
}

/// What a filter sets is read by all filters of the request; on a connection it is the filter's own.
pub(crate) fn set(guest: &mut Guest<'_>, path: Span, value: Span) -> Answer {
    let (memory, state) = both(guest)?;
    let (path, value) = (path.of(memory)?, value.of(memory)?);
    let state = state.stream_mut()?.state.get_or_insert_default();
    Ok(state.set(plain(path), value).map_err(|_| Status::BadArgument)?)
}

/// Some SDKs end a path with the separator.
fn plain(path: &[u8]) -> &[u8] {
    path.strip_suffix(&[0]).unwrap_or(path)
}

fn value(state: &State, path: &[u8]) -> Option<Vec<u8>> {
    let stream = state.stream().ok();
    let set = |path: &[u8]| Some(stream?.state.as_ref()?.get(path)?.to_vec());
    let path = plain(path);
    let Ok(text) = std::str::from_utf8(path) else { return set(path) };
    let (first, rest) = text.split_once('\0').unwrap_or((text, ""));
    // What is ours to tell no filter can tell the others.
    match (first, rest) {
        ("plugin_name", "") => text_of(&state.plan.name),
        ("plugin_root_id", "") => text_of(&state.plan.root_id),
        ("plugin_vm_id", "") => text_of(&state.plan.vm_id),
        // Inbound: the one direction of what a listener accepts.
        ("listener_direction", "") => number(1),
        ("route_name", "") => text_of(&stream?.route),
        ("cluster_name", "") => text_of(&stream?.upstream.as_ref()?.cluster),
        ("upstream", rest) => upstream(stream?, rest),
        ("request", rest) => request(stream?, rest),
        ("response", rest) => response(stream?, rest),
        ("source", rest) => peer(stream?, rest),
        ("destination", rest) => address(&stream?.conn.local, rest),
        ("connection_id", "") => number(stream?.conn.id),
        ("connection", rest) => connection(stream?, rest),
        ("filter_state", rest) => set(rest.strip_prefix("wasm.")?.as_bytes()),
        (name, _) if ABSENT.contains(&name) => None,
        _ => set(path),
    }
}

/// What other hosts have there is not in our configuration.
const ABSENT: [&str; 8] = [
    "metadata",
    "xds",
    "node",
    "cluster_metadata",
    "route_metadata",
    "listener_metadata",
    "upstream_host_metadata",
    "upstream_filter_state",
];

fn request(stream: &Stream, path: &str) -> Option<Vec<u8>> {
    let head = stream.request.head.as_ref()?;
    match path {
        "path" => text_of(head.path_and_query()),
        "url_path" => text_of(head.path()),
        "query" => text_of(head.query().unwrap_or_default()),
        "host" => text_of(head.authority()),
        "scheme" => text_of(head.scheme.as_str()),
        "method" => text_of(head.method.as_str()),
        "protocol" => text_of(protocol(head.version)),
        "id" => header(head, "x-request-id"),
        "referer" => header(head, "referer"),
        "useragent" => header(head, "user-agent"),
        "time" => Some(nanoseconds(stream.started).to_le_bytes().to_vec()),
        "duration" => {
            let took = stream.started.elapsed().unwrap_or_default();
            number(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
        }
        "size" => number(stream.request.size),
        "total_size" => number(stream.request.size + size_of_head(head)),
        "headers" => Some(map::encode(&head.headers.iter().collect::<Vec<_>>())),
        path => header(head, path.strip_prefix("headers\0")?),
    }
}

fn response(stream: &Stream, path: &str) -> Option<Vec<u8>> {
    let head = stream.response.head.as_ref()?;
    match path {
        "code" => number(head.status.as_u16().into()),
        "code_details" => details(stream, head),
        "flags" => number(reason(stream, head).map_or(0, flags::of_reason)),
        "size" => number(stream.response.size),
        "total_size" => number(stream.response.size + fields_size(head)),
        "grpc_status" => {
            let status = head.headers.get_str(&http::HeaderName::from_static("grpc-status"));
            let trailer = || stream.response.trailers.as_ref()?.get("grpc-status")?.to_str().ok();
            number(status.or_else(trailer)?.parse().ok()?)
        }
        "headers" => Some(map::encode(&head.headers.iter().collect::<Vec<_>>())),
        path => {
            let name = http::HeaderName::from_bytes(path.strip_prefix("headers\0")?.as_bytes()).ok()?;
            head.headers.joined(&name).map(|value| value.into_owned())
        }
    }
}

/// Who is behind the status: the upstream, or we for a reason of ours.
fn details(stream: &Stream, head: &ResponseHead) -> Option<Vec<u8>> {
    match stream.upstream {
        Some(_) => text_of("via_upstream"),
        None => text_of(reason(stream, head)?),
    }
}

/// Ours: what an upstream says under that name is its own.
fn reason<'h>(stream: &Stream, head: &'h ResponseHead) -> Option<&'h str> {
    stream.upstream.is_none().then(|| head.headers.get_str(&reply::REASON))?
}

fn peer(stream: &Stream, path: &str) -> Option<Vec<u8>> {
    match &stream.conn.peer {
        Peer::Tcp(socket) => address(&Address::Tcp(*socket), path),
        _ => (path == "address").then(Vec::new),
    }
}

fn address(address: &Address, path: &str) -> Option<Vec<u8>> {
    match path {
        "address" => text_of(&address.to_string()),
        "port" => number(address.port()?.into()),
        _ => None,
    }
}

/// Known once it has answered. A function, or a socket, has no port.
fn upstream(stream: &Stream, path: &str) -> Option<Vec<u8>> {
    let upstream = stream.upstream.as_ref()?;
    match path {
        "address" => text_of(&upstream.endpoint),
        "port" => number(upstream.endpoint.parse::<SocketAddr>().ok()?.port().into()),
        "local_address" => text_of(&upstream.local?.to_string()),
        "tls_version" => text_of(upstream.tls_version?),
        _ => None,
    }
}

fn connection(stream: &Stream, path: &str) -> Option<Vec<u8>> {
    let tls = stream.conn.tls.as_ref();
    let peer = || tls?.peer.as_ref();
    match path {
        "id" => number(stream.conn.id),
        "mtls" => Some(vec![peer().is_some().into()]),
        "requested_server_name" => text_of(tls?.sni.as_deref()?),
        "tls_version" => text_of(tls?.version),
        "uri_san_peer_certificate" => text_of(peer()?.uri_sans.first()?),
        "dns_san_peer_certificate" => text_of(peer()?.dns_sans.first()?),
        "sha256_peer_certificate_digest" => text_of(&outrigger_blocks::function::sha256(&peer()?.der)),
        _ => None,
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn header(head: &RequestHead, name: &str) -> Option<Vec<u8>> {
    let name = http::HeaderName::from_bytes(name.as_bytes()).ok()?;
    head.headers.joined(&name).map(|value| value.into_owned())
}

fn size_of_head(head: &RequestHead) -> u64 {
    let fields = head.headers.iter().map(|(name, value)| name.len() + value.len());
    (fields.sum::<usize>() + head.path_and_query().len()) as u64
}

fn fields_size(head: &ResponseHead) -> u64 {
    head.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() as u64
}

fn text_of(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn number(number: u64) -> Option<Vec<u8>> {
    Some(number.to_le_bytes().to_vec())
}
