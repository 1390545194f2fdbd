//! The caller's deadline reaches the block, and what a component's absence looks like from outside.

use std::time::{Duration, Instant};

use outrigger_blocks::Member;
use outrigger_proto::layotto::GetStateRequest;
use tonic::{Code, Request};

use crate::harness::Sidecar;

fn get() -> Request<GetStateRequest> {
    Request::new(GetStateRequest { store_name: "state".into(), key: "k".into(), ..Default::default() })
}

#[tokio::test]
async fn a_component_that_does_not_come_is_unavailable_within_the_deadline() {
    let sidecar = Sidecar::new();
    let policy = Duration::from_secs(2);
    sidecar.stores([sidecar.store_within(policy, "state", None)]);
    let served = sidecar.serve().await;
    let mut client = served.runtime().await;

    let began = Instant::now();
    let status = client.get_state(get()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!((policy..policy * 10).contains(&began.elapsed()), "{:?}", began.elapsed());

    // Set by hand: the client must not give up on its own.
    let starting = sidecar.store_within(Duration::from_secs(60), "state", None);
    sidecar.stores([std::sync::Arc::clone(&starting)]);
    let mut hurried = get();
    hurried.metadata_mut().insert("grpc-timeout", "100m".parse().unwrap());
    let began = Instant::now();
    let status = raw(&served, hurried).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{status}");
    assert_eq!(status, "grpc-status: 14");

    starting.slot().not_ready("connection refused");
    let status = client.get_state(get()).await.unwrap_err();
    assert_eq!(status.message(), "component 'state' is not ready: connection refused");
    assert_eq!(status.metadata().get("x-outrigger-reason").unwrap(), "unavailable");
}

/// The status as the server sent it: tonic's channel would end the call by its own clock.
async fn raw(served: &crate::harness::Served, request: Request<GetStateRequest>) -> String {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let stream = tokio::net::TcpStream::connect(&served.endpoint).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let message = prost::Message::encode_to_vec(request.get_ref());
    let mut framed = vec![0; 5];
    framed[4] = u8::try_from(message.len()).unwrap();
    framed.extend(message);
    let call =
        http::Request::post(format!("http://{}/spec.proto.runtime.v1.Runtime/GetState", served.endpoint))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", request.metadata().get("grpc-timeout").unwrap().to_str().unwrap())
            .body(Full::new(bytes::Bytes::from(framed)))
            .unwrap();
    let response = sender.send_request(call).await.unwrap();
    let (head, body) = response.into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let status = head.headers.get("grpc-status").or(trailers.get("grpc-status")).unwrap();
    format!("grpc-status: {}", status.to_str().unwrap())
}
