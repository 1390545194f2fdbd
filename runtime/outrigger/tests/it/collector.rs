//! A collector: OTLP's services as its publisher generates them, keeping what they are sent.

use std::{net::SocketAddr, sync::Arc};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value},
    metrics::v1::{metric, number_data_point},
    trace::v1::Span,
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, async_trait,
    transport::{Identity, Server, ServerTlsConfig},
};

/// Listens until it is dropped.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Received>>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Received {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    /// The header `x-key` of each export.
    keys: Vec<String>,
    /// Answers nothing while it is set.
    hangs: bool,
}

#[derive(Clone)]
struct Inbox(Arc<Mutex<Received>>);

impl Inbox {
    async fn take<T>(&self, request: Request<T>, keep: impl FnOnce(&mut Received, T)) {
        let hangs = {
            let mut received = self.0.lock();
            let key = request.metadata().get("x-key").map(|key| key.to_str().unwrap().to_owned());
            received.keys.extend(key);
            let hangs = received.hangs;
            keep(&mut received, request.into_inner());
            hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl TraceService for Inbox {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(request, |received, message| received.traces.push(message)).await;
        Ok(Response::new(Default::default()))
    }
}

#[async_trait]
impl MetricsService for Inbox {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take(request, |received, message| received.metrics.push(message)).await;
        Ok(Response::new(Default::default()))
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::serve(Server::builder()).await
    }

    /// With this certificate and key.
    pub(crate) async fn start_tls(certificate: &str, key: &str) -> Self {
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        Self::serve(Server::builder().tls_config(tls).unwrap()).await
    }

    async fn serve(mut server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Received>>::default();
        let inbox = Inbox(Arc::clone(&received));
        let server = server
            .add_service(TraceServiceServer::new(inbox.clone()))
            .add_service(MetricsServiceServer::new(inbox));
        let serving = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, received, serving }
    }

    pub(crate) fn hang(&self) {
        self.received.lock().hangs = true;
    }

    /// Every span so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let received = self.received.lock();
        let resources = received.traces.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans).cloned().collect()
    }

    /// What the newest export of metrics says of the counter `name` where it has these labels.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> Option<i64> {
        let received = self.received.lock();
        let resources = &received.metrics.last()?.resource_metrics;
        let mut metrics = resources.iter().flat_map(|r| &r.scope_metrics).flat_map(|scope| &scope.metrics);
        let Some(metric::Data::Sum(sum)) = &metrics.find(|metric| metric.name == name)?.data else {
            return None;
        };
        let has =
            |attributes: &[KeyValue]| labels.iter().all(|(k, v)| text(attributes, k).as_deref() == Some(*v));
        match sum.data_points.iter().find(|point| has(&point.attributes))?.value? {
            number_data_point::Value::AsInt(n) => Some(n),
            number_data_point::Value::AsDouble(_) => None,
        }
    }

    /// How many exports of metrics there have been.
    pub(crate) fn metrics(&self) -> usize {
        self.received.lock().metrics.len()
    }

    /// Who the newest exporter says it is.
    pub(crate) fn service(&self) -> Option<String> {
        let received = self.received.lock();
        let traces =
            received.traces.iter().flat_map(|r| &r.resource_spans).filter_map(|r| r.resource.as_ref());
        let metrics =
            received.metrics.iter().flat_map(|r| &r.resource_metrics).filter_map(|r| r.resource.as_ref());
        traces.chain(metrics).last().and_then(|resource| text(&resource.attributes, "service.name"))
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.received.lock().keys.clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The text of an attribute.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}
