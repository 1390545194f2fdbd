//! HTTP for components, carried by clusters: one for each server a component names, gone with the component.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Method, Request, header};
use outrigger_blocks::{Body, BodyError, Deadline, Error, ErrorKind, Result};
use outrigger_cluster::{
    Cluster, ClusterConfig, Clusters, Context, SendErrorKind, SendOptions, config::DnsConfig,
};
use outrigger_component_api::{HttpClient, HttpClients, HttpRequest, HttpResponse, HttpServer, async_trait};
use outrigger_net::{Address, tls::ClientTls};

/// Where Debian and most others keep the authorities they trust.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Makes clusters for components.
pub struct Outbound {
    context: Context,
}

impl Outbound {
    pub fn new(context: Context) -> Self {
        Self { context }
    }
}

/// One server.
struct Server {
    cluster: Arc<Cluster>,
    /// What its requests are addressed to.
    authority: String,
    /// Owns what the cluster does in the background.
    _clusters: Clusters,
}

impl HttpClients for Outbound {
    fn server(&self, component: &str, server: &HttpServer) -> Result<Arc<dyn HttpClient>> {
        self.open(&format!("binding:{component}"), server)
    }
}

impl Outbound {
    /// A server under the name of its cluster.
    pub fn open(&self, name: &str, server: &HttpServer) -> Result<Arc<dyn HttpClient>> {
        let config = BTreeMap::from([(name.to_owned(), config(server))]);
        let clusters =
            Clusters::compile(&config, &Clusters::empty(self.context.clone())).map_err(|problems| {
                let told: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
                Error::invalid(format!("the server cannot be called: {}", told.join("; ")))
            })?;
        clusters.activate();
        let cluster = clusters.get(name).cloned().ok_or_else(|| Error::internal("a cluster was lost"))?;
        let usual = server.port == if server.tls { 443 } else { 80 };
        let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
        let authority = if usual { host } else { format!("{host}:{}", server.port) };
        Ok(Arc::new(Server { cluster, authority, _clusters: clusters }))
    }
}

fn config(server: &HttpServer) -> ClusterConfig {
    let mut config = ClusterConfig::default();
    match server.host.parse::<IpAddr>() {
        Ok(ip) => config.endpoints = vec![Address::Tcp((ip, server.port).into()).into()],
        Err(_) => {
            let (name, port) = (server.host.clone(), server.port);
            config.dns = Some(DnsConfig { name, port, refresh: None });
        }
    }
    if server.tls {
        let mut tls = ClientTls::new(server.ca.clone().unwrap_or_else(|| PathBuf::from(SYSTEM)));
        tls.server_name = Some(server.host.clone());
        config.tls = Some(tls);
    }
    config
}

#[async_trait]
impl HttpClient for Server {
    async fn send(&self, request: HttpRequest, timeout: Duration, limit: usize) -> Result<HttpResponse> {
        let request = self.request(request)?;
        let deadline = Deadline::after(Instant::now(), timeout);
        let exchange = async {
            let response = self.cluster.call(request, None, &SendOptions { deadline, retry: None }).await;
            let (head, body) = response.map_err(|error| failed(error.kind).with_source(error))?.into_parts();
            Ok((head, body.collect(limit).await.map_err(|error| unread(error, limit))?))
        };
        let late = || Error::new(ErrorKind::Timeout, "the server did not answer in time");
        let (head, body) = tokio::time::timeout(timeout, exchange).await.map_err(|_| late())??;
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let all = headers.entry(name.as_str().to_owned()).or_default();
            let comma = if all.is_empty() { "" } else { ", " };
            *all = format!("{all}{comma}{value}");
        }
        let reason = head.status.canonical_reason().unwrap_or_default().to_owned();
        Ok(HttpResponse { status: head.status.as_u16(), reason, headers, body })
    }
}

impl Server {
    fn request(&self, asked: HttpRequest) -> Result<Request<Body>> {
        let mut request = Request::new(Body::full(asked.body));
        *request.method_mut() = Method::from_bytes(asked.method.as_bytes())
            .map_err(|_| Error::invalid(format!("'{}' is no HTTP method", asked.method)))?;
        *request.uri_mut() = asked.target.parse().map_err(|_| Error::invalid("the path is none"))?;
        let headers = request.headers_mut();
        for (name, value) in asked.headers {
            let wrong = || Error::invalid(format!("metadata {name} cannot be a header"));
            let (key, value) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value));
            headers.insert(key.map_err(|_| wrong())?, value.map_err(|_| wrong())?);
        }
        // How the body is framed is for the connection to say.
        headers.remove(header::CONTENT_LENGTH);
        let host = HeaderValue::from_str(&self.authority).map_err(|_| Error::invalid("the host is none"))?;
        headers.entry(header::HOST).or_insert(host);
        Ok(request)
    }
}

fn failed(kind: SendErrorKind) -> Error {
    match kind {
        SendErrorKind::Timeout | SendErrorKind::TryTimeout => {
            Error::new(ErrorKind::Timeout, "the server did not answer in time")
        }
        kind => Error::unavailable(format!("the server was not reached: {kind}")),
    }
}

fn unread(error: BodyError, limit: usize) -> Error {
    match error {
        BodyError::TooLarge => {
            let message = format!("the server's answer is larger than {limit} bytes (maxResponseBodySize)");
            Error::new(ErrorKind::FailedPrecondition, message)
        }
        other => Error::unavailable("the server's answer broke off").with_source(other),
    }
}
