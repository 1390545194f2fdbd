//! Calls a filter makes to others, through the clusters of the configuration.

mod grpc;
mod http_call;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use outrigger_cluster::{Body, Cluster};
use outrigger_telemetry::trace::TraceContext;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::abi::Status;
use super::map::Pair;
use super::measures::Observed;
use super::state::{Home, State};
use crate::limits::{CALL, CALLS};

use grpc::Sender;
pub(crate) use grpc::{Called, Part, call as grpc_call, cancel, close, send, stream as grpc_stream};
pub(crate) use http_call::{HttpCall, collect, http_call};

type Fields = Vec<(Bytes, Bytes)>;

/// The calls of one instance.
#[derive(Default)]
pub(crate) struct Calls {
    open: HashMap<u32, Open>,
    /// What the callback under way is about.
    arrived: Option<Arrived>,
}

/// Shut until it is dropped.
pub(crate) struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A call under way; dropping it gives it up.
struct Open {
    context: u32,
    task: Option<JoinHandle<()>>,
    /// Of a gRPC stream: where its messages go, until it is closed from this side.
    sender: Option<Sender>,
}

/// What an answer has brought.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) headers: Fields,
    pub(crate) body: Bytes,
    pub(crate) trailers: Fields,
    /// Of gRPC.
    pub(crate) status: u32,
    pub(crate) message: String,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Calls {
    pub(crate) fn arrived(&self) -> Result<&Arrived, Status> {
        self.arrived.as_ref().ok_or(Status::NotFound)
    }

    /// For the time of a callback.
    pub(crate) fn arrive(&mut self, arrived: Option<Arrived>) {
        self.arrived = arrived;
    }

    /// Whose call it is, while it is open.
    pub(crate) fn context(&self, token: u32) -> Option<u32> {
        self.open.get(&token).map(|open| open.context)
    }

    /// It is over.
    pub(crate) fn end(&mut self, token: u32) {
        if let Some(mut open) = self.open.remove(&token) {
            // The task is the one telling us.
            open.task = None;
        }
    }

    /// Gives up the calls of a context that is no more.
    pub(crate) fn forget(&mut self, context: u32) {
        self.open.retain(|_, open| open.context != context);
    }
}

/// Numbers are never used twice: a late answer to an instance that is no more meets no other's call.
fn next_token() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Relaxed)
}

impl State {
    /// Makes a call for the current context: `run` is its task, given the call's number.
    fn begin<F>(&mut self, sender: Option<Sender>, run: impl FnOnce(u32, Home) -> F) -> Result<u32, Status>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // A function waits for nothing but the blocks.
        if self.acting.is_some() {
            return Err(Status::InternalFailure);
        }
        let context = self.current;
        if self.calls.open.values().filter(|open| open.context == context).count() >= CALLS {
            return Err(Status::InternalFailure);
        }
        let token = next_token();
        let gate = self.gate.as_ref().map(|gate| Arc::clone(&gate.0));
        // One that is only tried out calls nobody.
        let task = self.home.clone().map(|home| {
            let worker = home.worker.clone();
            let call = run(token, home);
            worker.spawn(async move {
                if let Some(gate) = gate {
                    // There is nothing to be had; it closes.
                    let _ = gate.acquire().await;
                }
                call.await;
            })
        });
        self.calls.open.insert(token, Open { context, task, sender });
        Ok(token)
    }

    /// What a filter does for a request has its calls below itself in the trace.
    fn trace(&self, asked: &mut Request<Body>) {
        let observed = self.stream().ok().and_then(|stream| stream.observed.as_deref());
        if let Some(trace) = observed.and_then(Observed::context) {
            asked.extensions_mut().insert(trace.clone());
        }
    }

    /// What is sent in one piece is no more than may come in one.
    fn sendable(&self, body: Vec<u8>) -> Result<Vec<u8>, Status> {
        if body.len() > self.plan.max_buffer { Err(Status::BadArgument) } else { Ok(body) }
    }

    /// Where a call goes. `None` for one that is only tried out, which may name what it likes.
    fn cluster(&self, name: &str, missing: Status) -> Result<Option<Arc<Cluster>>, Status> {
        if self.home.is_none() {
            return Ok(None);
        }
        self.services.clusters.load().get(name).cloned().map(Some).ok_or(missing)
    }
}

fn trace_of(asked: &Request<Body>) -> Option<TraceContext> {
    asked.extensions().get().cloned()
}

/// No time at all is as long as there can be.
fn timeout(milliseconds: u32) -> Duration {
    if milliseconds == 0 { CALL } else { Duration::from_millis(milliseconds.into()).min(CALL) }
}

/// A request from pairs, of which the pseudo-headers make the request line.
fn request(pairs: &[Pair<'_>], body: Body) -> Result<Request<Body>, Status> {
    let mut request = Request::new(body);
    let (mut method, mut path, mut authority) = (false, false, false);
    for (name, value) in pairs {
        match *name {
            b":method" => {
                *request.method_mut() = Method::from_bytes(value).map_err(|_| Status::BadArgument)?;
                method = true;
            }
            b":path" => {
                *request.uri_mut() = (*value).try_into().map_err(|_| Status::BadArgument)?;
                path = true;
            }
            b":authority" | b"host" => {
                let value = http::HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)?;
                request.headers_mut().insert(http::header::HOST, value);
                authority = true;
            }
            name if name.starts_with(b":") => {}
            _ => append(request.headers_mut(), name, value)?,
        }
    }
    // How the body is framed is the connection's.
    request.headers_mut().remove(http::header::CONTENT_LENGTH);
    if method && path && authority { Ok(request) } else { Err(Status::BadArgument) }
}

fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Status> {
    let name = http::HeaderName::from_bytes(name).map_err(|_| Status::BadArgument)?;
    let value = http::HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)?;
    map.append(name, value);
    Ok(())
}

fn fields(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (of(name.as_str().as_bytes()), of(value.as_bytes()))).collect()
}

fn of(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_needs_its_line() {
        let line: [Pair<'_>; 4] =
            [(b":method", b"POST"), (b":path", b"/p?q"), (b":authority", b"a.example"), (b"x", b"1")];
        let made = request(&line, Body::empty()).unwrap();
        assert_eq!(
            (made.method().as_str(), made.uri().path(), made.uri().query()),
            ("POST", "/p", Some("q"))
        );
        assert_eq!(
            (made.headers()["host"].as_bytes(), made.headers()["x"].as_bytes()),
            (b"a.example".as_slice(), b"1".as_slice())
        );
        for missing in 0..3 {
            let mut pairs = line.to_vec();
            pairs.remove(missing);
            assert!(request(&pairs, Body::empty()).is_err());
        }
        for (name, value) in [(":path", "no path"), (":method", "A B"), ("a b", "1"), ("a", "\n")] {
            let pairs = [&line[..], &[(name.as_bytes(), value.as_bytes())]].concat();
            assert!(request(&pairs, Body::empty()).is_err(), "{name}");
        }
    }
}
