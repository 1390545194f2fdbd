//! The binding: what an operation, its metadata and its data are as a request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outrigger_component_api::{
    Backend, BindingRequest, BindingResponse, BuildContext, Component, Error, HttpClient, HttpRequest,
    HttpResponse, OutputBinding, Result, async_trait, unknown_operation,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::url::Url;

/// `create` is a POST, the others are what they are called.
const OPERATIONS: &[&str] = &["create", "get", "head", "post", "put", "patch", "delete", "options", "trace"];

/// Registers [`HttpBinding`] as `bindings.http`.
pub struct HttpBindingBackend;

/// Settings of `bindings.http`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpBindingConfig {
    /// Where requests go: `https://api.example/v1`. The metadata `path` of a call is added to it.
    pub url: String,
    /// How long an answer may take. Default 10s.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub response_timeout: Duration,
    /// The largest answer that is read, in bytes. Default 4 MiB, as much as one message of the API carries.
    #[serde(default = "four_mebibytes")]
    pub max_response_body_size: usize,
    /// Whether an answer other than 2xx is an error. Default: true.
    #[serde(default = "yes", rename = "errorIfNot2XX")]
    pub error_if_not_2xx: bool,
    /// PEM file with the authorities to trust, for https. Default: the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn four_mebibytes() -> usize {
    4 << 20
}

fn yes() -> bool {
    true
}

#[async_trait]
impl Backend for HttpBindingBackend {
    const TYPE: &'static str = "bindings.http";
    const ABOUT: &'static str = "Calls one HTTP server.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("url", "http://127.0.0.1:8080/hooks")];
    type Config = HttpBindingConfig;
    type Block = dyn OutputBinding;

    async fn build(config: HttpBindingConfig, context: &BuildContext) -> Result<Arc<dyn OutputBinding>> {
        Ok(Arc::new(HttpBinding::new(config, context)?))
    }
}

/// One server, asked by operations.
pub struct HttpBinding {
    url: Url,
    client: Arc<dyn HttpClient>,
    config: HttpBindingConfig,
}

impl HttpBinding {
    /// Reads the settings; connects to nothing.
    pub fn new(config: HttpBindingConfig, context: &BuildContext) -> Result<Self> {
        let mut url = Url::parse(&config.url)?;
        url.server.ca.clone_from(&config.ca);
        let clients =
            context.http.as_ref().ok_or_else(|| Error::internal("there is nobody to carry HTTP"))?;
        let client = clients.server(&context.component, &url.server)?;
        Ok(Self { url, client, config })
    }

    fn request(&self, asked: BindingRequest) -> Result<HttpRequest> {
        let BindingRequest { operation, data, metadata } = asked;
        if !OPERATIONS.contains(&operation.as_str()) {
            return Err(unknown_operation(&operation, OPERATIONS));
        }
        let method = if operation == "create" { "POST".to_owned() } else { operation.to_ascii_uppercase() };
        let path = metadata.get("path").map_or("", String::as_str);
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid("metadata path has characters that a URL writes as %.."));
        }
        if leads_up(path) {
            return Err(Error::invalid("metadata path leads up, out of the binding's url"));
        }
        let is_header = |name: &String| name.starts_with(|first: char| first.is_ascii_uppercase());
        let headers = metadata.iter().filter(|(name, _)| is_header(name));
        let headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(HttpRequest { method, target: self.url.target(path), headers, body: data })
    }

    fn answer(&self, response: HttpResponse) -> BindingResponse {
        let HttpResponse { status, reason, headers, body } = response;
        let line = format!("{status} {reason}").trim_end().to_owned();
        let mut metadata: BTreeMap<String, String> =
            headers.into_iter().map(|(name, value)| (canonical(&name), value)).collect();
        let refused = self.config.error_if_not_2xx && !(200..300).contains(&status);
        let refused = refused.then(|| format!("the server answered {line}"));
        metadata.insert("statusCode".to_owned(), status.to_string());
        metadata.insert("status".to_owned(), line);
        BindingResponse { data: body, metadata, refused }
    }
}

/// `content-type` as people write it, and as existing callers look for it: `Content-Type`.
fn canonical(name: &str) -> String {
    let mut upper = true;
    let letter = |letter: char| {
        let written = if upper { letter.to_ascii_uppercase() } else { letter };
        upper = letter == '-';
        written
    };
    name.chars().map(letter).collect()
}

#[async_trait]
impl Component for HttpBinding {
    /// A server is asked when somebody wants something of it: a probe of ours would be a request it did not expect.
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl OutputBinding for HttpBinding {
    fn operations(&self) -> &'static [&'static str] {
        OPERATIONS
    }

    async fn invoke(&self, request: BindingRequest) -> Result<BindingResponse> {
        let request = self.request(request)?;
        let (timeout, limit) = (self.config.response_timeout, self.config.max_response_body_size);
        Ok(self.answer(self.client.send(request, timeout, limit).await?))
    }
}

/// Whether a server that decodes or tidies the path may leave the url we were given.
fn leads_up(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
    plain.split(['/', '\\', '?']).any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use outrigger_component_api::{ErrorKind, HttpClients, HttpServer};
    use parking_lot::Mutex;

    use super::*;

    /// Notes what it is asked, and answers a status.
    struct Server {
        asked: Arc<Mutex<Vec<HttpRequest>>>,
        status: u16,
    }

    struct Servers(Arc<Mutex<Vec<HttpRequest>>>, u16);

    impl HttpClients for Servers {
        fn server(&self, _: &str, _: &HttpServer) -> Result<Arc<dyn HttpClient>> {
            Ok(Arc::new(Server { asked: Arc::clone(&self.0), status: self.1 }))
        }
    }

    #[async_trait]
    impl HttpClient for Server {
        async fn send(&self, request: HttpRequest, _: Duration, _: usize) -> Result<HttpResponse> {
            self.asked.lock().push(request);
            let headers = [("x-request-id".to_owned(), "7".to_owned())].into();
            Ok(HttpResponse { status: self.status, reason: "Whatever".to_owned(), headers, body: "b".into() })
        }
    }

    async fn ask(
        operation: &str,
        metadata: &[(&str, &str)],
        status: u16,
        error_if_not_2xx: bool,
    ) -> (Vec<HttpRequest>, Result<BindingResponse>) {
        let asked = Arc::default();
        let clients: Arc<dyn HttpClients> = Arc::new(Servers(Arc::clone(&asked), status));
        let context = BuildContext { http: Some(clients), ..BuildContext::default() };
        let config = HttpBindingConfig {
            url: "http://a/api".to_owned(),
            response_timeout: ten_seconds(),
            max_response_body_size: four_mebibytes(),
            error_if_not_2xx,
            ca: None,
        };
        let binding = HttpBinding::new(config, &context).expect("built");
        let metadata =
            metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = BindingRequest { operation: operation.to_owned(), data: "data".into(), metadata };
        let answer = binding.invoke(request).await;
        (std::mem::take(&mut *asked.lock()), answer)
    }

    #[tokio::test]
    async fn an_operation_is_a_request() {
        let metadata = [("path", "/orders/7?x=1"), ("Authorization", "Basic x"), ("ignored", "y")];
        let (asked, answer) = ask("create", &metadata, 201, true).await;
        let headers = [("Authorization".to_owned(), "Basic x".to_owned())].into();
        let target = "/api/orders/7?x=1".to_owned();
        let expected = HttpRequest { method: "POST".to_owned(), target, headers, body: "data".into() };
        assert_eq!(asked, [expected]);
        let answer = answer.expect("answered");
        assert_eq!((&answer.data[..], answer.refused), (&b"b"[..], None));
        assert_eq!(answer.metadata["statusCode"], "201");
        assert_eq!(answer.metadata["status"], "201 Whatever");
        assert_eq!(answer.metadata["X-Request-Id"], "7");
    }

    #[tokio::test]
    async fn another_answer_than_2xx_is_a_refusal_that_tells_all() {
        let (_, answer) = ask("get", &[], 404, true).await;
        let answer = answer.expect("answered");
        assert_eq!(answer.refused.as_deref(), Some("the server answered 404 Whatever"));
        assert_eq!((answer.metadata["statusCode"].as_str(), &answer.data[..]), ("404", &b"b"[..]));
        let (_, answer) = ask("get", &[], 404, false).await;
        assert_eq!(answer.expect("answered").refused, None);
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_refused_before_it_is_sent() {
        for (operation, metadata) in [
            ("", &[][..]),
            ("GET", &[]),
            ("drop", &[]),
            ("get", &[("path", "/../admin")]),
            ("get", &[("path", "x\r\ny: z")]),
        ] {
            let (asked, answer) = ask(operation, metadata, 200, true).await;
            assert_eq!(answer.expect_err("refused").kind(), ErrorKind::InvalidArgument, "{operation}");
            assert_eq!(asked, []);
        }
    }
}
