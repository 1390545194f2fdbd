//! The control: GetState and SaveState on a store, through tonic and nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Result;
use outrigger_component_api::{Error, GetOptions, Key, SetOptions, StateStore};
use outrigger_proto::layotto::{GetStateRequest, GetStateResponse, SaveStateRequest};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

pub(crate) async fn serve(store: Arc<dyn StateStore>, tcp: SocketAddr, unix: &Path) -> Result<()> {
    let tcp = TcpListenerStream::new(TcpListener::bind(tcp).await?);
    let unix = UnixListenerStream::new(UnixListener::bind(unix)?);
    let server = || Server::builder().tcp_nodelay(true).add_service(State(Arc::clone(&store)));
    tokio::try_join!(server().serve_with_incoming(tcp), server().serve_with_incoming(unix))?;
    Ok(())
}

/// What generated code would be for a service of two methods.
#[derive(Clone)]
struct State(Arc<dyn StateStore>);

impl NamedService for State {
    const NAME: &'static str = "spec.proto.runtime.v1.Runtime";
}

impl Service<http::Request<Body>> for State {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let store = Arc::clone(&self.0);
        match request.uri().path() {
            "/spec.proto.runtime.v1.Runtime/GetState" => {
                Box::pin(async { Ok(Grpc::new(ProstCodec::default()).unary(Get(store), request).await) })
            }
            "/spec.proto.runtime.v1.Runtime/SaveState" => {
                Box::pin(async { Ok(Grpc::new(ProstCodec::default()).unary(Save(store), request).await) })
            }
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

struct Get(Arc<dyn StateStore>);

impl UnaryService<GetStateRequest> for Get {
    type Response = GetStateResponse;
    type Future = BoxFuture<Response<GetStateResponse>, Status>;

    fn call(&mut self, request: Request<GetStateRequest>) -> Self::Future {
        let store = Arc::clone(&self.0);
        Box::pin(async move {
            let key = Key::new(request.into_inner().key).map_err(status)?;
            let entry = store.get(&key, GetOptions::default()).await.map_err(status)?;
            let Some(entry) = entry else { return Ok(Response::new(GetStateResponse::default())) };
            let etag = entry.etag.to_string();
            Ok(Response::new(GetStateResponse { data: entry.value, etag, ..Default::default() }))
        })
    }
}

struct Save(Arc<dyn StateStore>);

impl UnaryService<SaveStateRequest> for Save {
    type Response = ();
    type Future = BoxFuture<Response<()>, Status>;

    fn call(&mut self, request: Request<SaveStateRequest>) -> Self::Future {
        let store = Arc::clone(&self.0);
        Box::pin(async move {
            for item in request.into_inner().states {
                let key = Key::new(item.key).map_err(status)?;
                store.set(&key, item.value, SetOptions::default()).await.map_err(status)?;
            }
            Ok(Response::new(()))
        })
    }
}

fn status(error: Error) -> Status {
    Status::internal(error.to_string())
}
