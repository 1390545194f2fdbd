//! Modules from HTTP servers, and from files.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use http::Uri;
use outrigger_blocks::{
    Error, ErrorKind, Result,
    function::{MAX_MODULE, Module},
};
use outrigger_component_api::{HttpRequest, HttpServer};

use crate::outbound::Outbound;

/// How long a server may take for a module.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fetches a module. Whoever asks compares its digest.
pub(super) async fn fetch(outbound: &Outbound, name: &str, url: &str) -> Result<Module> {
    let invalid = || Error::invalid(format!("{url} is no http:// or https:// address"));
    let uri: Uri = url.parse().map_err(|_| invalid())?;
    let server = server(&uri).ok_or_else(invalid)?;
    let client = outbound.open(&format!("function:{name}"), &server)?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let request =
        HttpRequest { method: "GET".to_owned(), target, headers: BTreeMap::new(), body: Bytes::new() };
    let response = client.send(request, PATIENCE, MAX_MODULE).await.map_err(|error| match error.kind() {
        ErrorKind::FailedPrecondition => Error::invalid(format!("{url} is larger than 32 MiB")),
        kind => Error::new(kind, format!("{url}: {}", error.message())).with_source(error),
    })?;
    match response.status {
        200 => Ok(response.body.into()),
        status => Err(Error::unavailable(format!("{url} was answered with {status} {}", response.reason))),
    }
}

/// The server of an address.
pub fn server(uri: &Uri) -> Option<HttpServer> {
    let tls = match uri.scheme_str()? {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let host = uri.host()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Some(HttpServer { tls, host, port, ca: None })
}

/// Reads a module's file.
pub(super) async fn read(file: &Path) -> Result<Module> {
    let file = file.to_owned();
    let read = tokio::task::spawn_blocking(move || Module::read(&file)).await;
    read.map_err(|error| Error::internal("reading a module failed").with_source(error))?
}
