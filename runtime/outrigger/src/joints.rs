//! Adapters between peers that do not know each other.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use outrigger_net::Accepted;
use tower_service::Service;

/// A tower service that is whatever the cell holds at the moment of the call.
pub struct Current<S>(pub Arc<ArcSwap<S>>);

impl<S> Clone for Current<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S, R> Service<R> for Current<S>
where
    S: Service<R, Error = Infallible> + Clone,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        S::clone(&self.0.load()).call(request)
    }
}

/// What can stand behind a listener: a tower service.
pub trait Door: Clone + Send + Sync + 'static {
    /// Serves one connection to its end. Asked to drain, it finishes what is under way.
    fn serve(self, conn: Accepted) -> impl Future<Output = ()> + Send;
}

// hyper drives both versions until our own server face takes these connections too.
impl<S, B> Door for S
where
    S: Service<http::Request<hyper::body::Incoming>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn serve(self, conn: Accepted) {
        let service = TowerToHyperService::new(tower::ServiceExt::boxed_clone(self));
        let builder = auto::Builder::new(TokioExecutor::new());
        let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(conn.stream), service));
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = conn.drain.draining() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(listener = %conn.info.listener, %error, "connection ended early");
        }
    }
}
