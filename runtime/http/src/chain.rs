//! The filter chain: what a route does to a request before it is forwarded, and to the response on its way back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use outrigger_net::{BoxFuture, ConnInfo};
use outrigger_resilience::{TokenBucket, TokenBucketConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::config::Problem;
use crate::filter::cors::{Cors, CorsConfig};
use crate::filter::fault::{Fault, FaultConfig};
use crate::filter::headers::{HeadersConfig, HeadersFilter};
use crate::filter::rate_limit::{RateLimit, RateLimitConfig};
use crate::message::{Duplex, Request, Response};

/// The filters of a route. They run in the order of these fields, and backwards on the response.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FiltersConfig {
    /// Cross-origin requests of browsers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<CorsConfig>,
    /// Refuses requests beyond a rate with 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitConfig>,
    /// Delays or fails a share of requests, to see what happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultConfig>,
    /// Sets, adds and removes header fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeadersConfig>,
    /// WebAssembly filters, by their names under `wasm.plugins`, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wasm: Vec<String>,
}

/// Compiled filters, in order.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    filters: Vec<Filter>,
    route: Arc<str>,
}

/// One filter. An enum, so that the built-in ones cost a branch and not a virtual call.
#[derive(Debug, Clone)]
pub enum Filter {
    Cors(Cors),
    RateLimit(RateLimit),
    Fault(Fault),
    Headers(HeadersFilter),
    Module(Arc<dyn Module>),
}

/// A filter from elsewhere, a WebAssembly module for example: it sees whole messages and may take its time.
pub trait Module: Send + Sync + std::fmt::Debug + 'static {
    /// Begins with one request on the route of this name.
    fn visit(&self, route: &Arc<str>) -> Box<dyn Visit>;
    /// Begins with a connection that is carried without being understood. `None` when it is to be closed.
    fn tap(&self, conn: &Arc<ConnInfo>) -> Option<Box<dyn Tap>>;
}

/// A connection in the hands of a [`Module`].
pub trait Tap: Send + std::fmt::Debug {
    /// Takes the two ends and gives what takes their place: what is read there has passed the module.
    fn between(self: Box<Self>, client: Box<dyn Duplex>, server: Box<dyn Duplex>) -> [Box<dyn Duplex>; 2];
}

/// One request in the hands of a [`Module`]. Dropped when nothing more will be asked of it; what it put in a body's
/// place may live on.
pub trait Visit: Send + std::fmt::Debug {
    /// Sees the request before it is forwarded. It may change the head and put another body in the place of the one
    /// there is. A response ends the chain.
    fn request<'a>(&'a mut self, request: &'a mut Request) -> Step<'a, Option<Response>>;
    /// Sees the response before its head is sent, and may change it as well or answer something else.
    fn response<'a>(&'a mut self, response: &'a mut Response) -> Step<'a, ()>;
}

/// What a [`Visit`] makes of a message. Most make up their minds at once: a box for each of those would be for nothing.
pub enum Step<'a, T> {
    Done(T),
    Later(BoxFuture<'a, T>),
}

impl<T> Step<'_, T> {
    pub async fn taken(self) -> T {
        match self {
            Self::Done(done) => done,
            Self::Later(later) => later.await,
        }
    }
}

/// The modules there are, by name.
pub type Modules = BTreeMap<Arc<str>, Arc<dyn Module>>;

/// What the chain remembers of a request for its response.
#[derive(Debug, Default)]
pub struct Passage {
    /// Filters that have seen the request, and so are to see the response.
    seen: usize,
    /// Of the modules among them, in order.
    visits: SmallVec<[Box<dyn Visit>; 1]>,
    pub(crate) origin: Option<Bytes>,
}

impl Passage {
    /// Whether a module is going to see the response.
    #[must_use]
    pub fn has_visits(&self) -> bool {
        !self.visits.is_empty()
    }
}

/// Token buckets by identity, so that a bucket half empty stays so when the configuration around it changes.
#[derive(Debug, Default)]
pub struct Buckets(HashMap<String, (TokenBucketConfig, Arc<TokenBucket>)>);

impl Buckets {
    /// The bucket `previous` had under this identity with the same numbers, or a full one; kept for the next time.
    pub fn intern(
        &mut self,
        previous: &Self,
        identity: &str,
        config: &TokenBucketConfig,
        now: Instant,
    ) -> Arc<TokenBucket> {
        let kept =
            previous.0.get(identity).filter(|(same, _)| same == config).map(|(_, bucket)| Arc::clone(bucket));
        let bucket = kept.unwrap_or_else(|| Arc::new(TokenBucket::new(config, now)));
        self.0.insert(identity.to_owned(), (*config, Arc::clone(&bucket)));
        bucket
    }
}

impl Chain {
    /// Compiles the filters of the route called `route`. Buckets are taken over from `previous` and put into `kept`.
    pub fn compile(
        config: &FiltersConfig,
        route: &str,
        modules: &Modules,
        previous: &Buckets,
        kept: &mut Buckets,
    ) -> Result<Self, Vec<Problem>> {
        let mut filters = Vec::new();
        let mut problems = Vec::new();
        let mut add = |name: &str, filter: Result<Filter, Problem>| match filter {
            Ok(filter) => filters.push(filter),
            Err(problem) => problems.push(problem.within(name)),
        };
        if let Some(config) = &config.cors {
            add("cors", Cors::compile(config).map(Filter::Cors));
        }
        if let Some(config) = &config.rate_limit {
            add("rate_limit", RateLimit::compile(config, route, previous, kept).map(Filter::RateLimit));
        }
        if let Some(config) = &config.fault {
            add("fault", Fault::compile(config).map(Filter::Fault));
        }
        if let Some(config) = &config.headers {
            add("headers", HeadersFilter::compile(config).map(Filter::Headers));
        }
        for (index, name) in config.wasm.iter().enumerate() {
            add(&format!("wasm.{index}"), find(name, modules).map(Filter::Module));
        }
        if problems.is_empty() { Ok(Self { filters, route: route.into() }) } else { Err(problems) }
    }

    pub fn push(&mut self, filter: Filter) {
        self.filters.push(filter);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether the same modules are at work in both, and not only modules of the same names.
    #[must_use]
    pub fn has_same_modules(&self, other: &Self) -> bool {
        let modules = |chain: &Self| -> Vec<*const ()> {
            let address = |filter: &Filter| match filter {
                Filter::Module(module) => Some(Arc::as_ptr(module).cast()),
                _ => None,
            };
            chain.filters.iter().filter_map(address).collect()
        };
        modules(self) == modules(other)
    }

    /// Runs the request through; a response means that it is not to be forwarded. That response, too, goes through
    /// [`response`](Self::response).
    pub async fn request(&self, request: &mut Request, passage: &mut Passage) -> Option<Response> {
        for filter in &self.filters {
            passage.seen += 1;
            let answer = match filter {
                Filter::Cors(cors) => cors.request(&request.head, passage),
                Filter::RateLimit(limit) => limit.request(&request.head, Instant::now()),
                Filter::Fault(fault) => fault.request(&request.head).await,
                Filter::Headers(headers) => headers.request(&mut request.head),
                Filter::Module(module) => {
                    let mut visit = module.visit(&self.route);
                    let answer = visit.request(request).taken().await;
                    passage.visits.push(visit);
                    answer
                }
            };
            if answer.is_some() {
                return answer;
            }
        }
        None
    }

    /// Runs the response back through the filters that saw the request.
    pub async fn response(&self, passage: &mut Passage, response: &mut Response) {
        for filter in self.filters.iter().take(passage.seen).rev() {
            match filter {
                Filter::Cors(cors) => cors.response(passage, &mut response.head),
                Filter::Headers(headers) => headers.response(&mut response.head),
                Filter::Module(_) => {
                    if let Some(mut visit) = passage.visits.pop() {
                        visit.response(response).taken().await;
                    }
                }
                Filter::RateLimit(_) | Filter::Fault(_) => {}
            }
        }
    }
}

/// The module of this name.
///
/// # Errors
/// There is none; the problem names those there are.
pub fn find(name: &str, modules: &Modules) -> Result<Arc<dyn Module>, Problem> {
    modules.get(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = modules.keys().map(|name| &**name).collect();
        let there_are = match known.as_slice() {
            [] => "there is none".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        Problem::new("", format!("no plugin `{name}` under `wasm.plugins`; {there_are}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;
    use crate::head::RequestHead;
    use http::{Method, StatusCode};
    use outrigger_net::{Address, Peer};

    fn request() -> Request {
        let conn = ConnInfo {
            id: 0,
            local: Address::Unix("/x".into()),
            peer: Peer::Unix,
            tls: None,
            listener: "t".into(),
        };
        let head = RequestHead::new(Method::GET, Authority::default(), "/");
        Request { head, body: crate::Body::empty(), conn: Arc::new(conn), ext: crate::RequestExt::default() }
    }

    fn config(text: &str) -> FiltersConfig {
        serde_json::from_str(text).unwrap()
    }

    #[tokio::test]
    async fn only_filters_that_saw_the_request_see_the_response() {
        let config = config(
            r#"{"rate_limit": {"capacity": 1, "refill_per_second": 0.001}, "headers": {"response": {"set": {"x-a": "1"}}}}"#,
        );
        let chain =
            Chain::compile(&config, "r", &Modules::new(), &Buckets::default(), &mut Buckets::default())
                .unwrap();
        let mut passage = Passage::default();
        assert!(chain.request(&mut request(), &mut passage).await.is_none());
        let mut response = Response::status(StatusCode::OK);
        chain.response(&mut passage, &mut response).await;
        assert_eq!(response.head.headers.len(), 1);

        let mut passage = Passage::default();
        let refused = chain.request(&mut request(), &mut passage).await.unwrap();
        assert_eq!(refused.head.status, StatusCode::TOO_MANY_REQUESTS);
        let mut response = Response::status(StatusCode::OK);
        chain.response(&mut passage, &mut response).await;
        assert!(response.head.headers.is_empty(), "the headers filter never saw the request");
    }

    /// Writes its name into every message, or answers itself.
    #[derive(Debug, Clone)]
    struct Signs(&'static str, bool);

    impl Module for Signs {
        fn visit(&self, route: &Arc<str>) -> Box<dyn Visit> {
            assert_eq!(&**route, "r");
            Box::new(self.clone())
        }

        fn tap(&self, _: &Arc<ConnInfo>) -> Option<Box<dyn Tap>> {
            None
        }
    }

    impl Visit for Signs {
        fn request<'a>(&'a mut self, request: &'a mut Request) -> Step<'a, Option<Response>> {
            request.head.headers.append_static(&http::header::VIA, self.0);
            Step::Done(self.1.then(|| Response::status(StatusCode::FORBIDDEN)))
        }

        fn response<'a>(&'a mut self, response: &'a mut Response) -> Step<'a, ()> {
            response.head.headers.append_static(&http::header::VIA, self.0);
            Step::Later(Box::pin(async {}))
        }
    }

    #[tokio::test]
    async fn modules_run_in_order_and_backwards_on_the_response() {
        let modules: Modules = [("a", false), ("b", true), ("c", false)]
            .map(|(name, ends)| (name.into(), Arc::new(Signs(name, ends)) as Arc<dyn Module>))
            .into();
        let compile = |text: &str| {
            Chain::compile(&config(text), "r", &modules, &Buckets::default(), &mut Buckets::default())
        };
        let chain = compile(r#"{"wasm": ["a", "b", "c"]}"#).unwrap();
        let (mut passage, mut request) = (Passage::default(), request());
        let mut response = chain.request(&mut request, &mut passage).await.unwrap();
        let via = |headers: &crate::Headers| headers.joined(&http::header::VIA).unwrap().into_owned();
        assert_eq!(via(&request.head.headers), b"a, b");
        chain.response(&mut passage, &mut response).await;
        assert_eq!(via(&response.head.headers), b"b, a");

        let [problem] = compile(r#"{"wasm": ["a", "d"]}"#).unwrap_err().try_into().unwrap();
        assert_eq!(problem.path, "wasm.1");
        assert_eq!(problem.message, "no plugin `d` under `wasm.plugins`; there are a, b, c");
        assert!(chain.has_same_modules(&compile(r#"{"wasm": ["a", "b", "c"]}"#).unwrap()));
        assert!(!chain.has_same_modules(&compile(r#"{"wasm": ["a", "b"]}"#).unwrap()));
    }

    #[test]
    fn a_bucket_survives_a_reload_that_leaves_it_alone() {
        let numbers = TokenBucketConfig { capacity: 2, refill_per_second: 0.001 };
        let (mut first, mut second, now) = (Buckets::default(), Buckets::default(), Instant::now());
        first.intern(&Buckets::default(), "r", &numbers, now).take(2, now).unwrap();
        assert!(second.intern(&first, "r", &numbers, now).take(1, now).is_err(), "still empty");
        let other = TokenBucketConfig { capacity: 3, ..numbers };
        assert!(second.intern(&first, "r", &other, now).take(1, now).is_ok(), "other numbers, new bucket");
    }

    #[test]
    fn bad_settings_name_their_field() {
        let check = |text: &str, path: &str| {
            let problems = Chain::compile(
                &config(text),
                "r",
                &Modules::new(),
                &Buckets::default(),
                &mut Buckets::default(),
            )
            .unwrap_err();
            assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), [path]);
        };
        check(r#"{"rate_limit": {"capacity": 0, "refill_per_second": 1}}"#, "rate_limit");
        check(r#"{"headers": {"request": {"set": {"a b": "1"}}}}"#, "headers.request.set.a b");
        check(r#"{"headers": {"request": {"set": {"host": "x"}}}}"#, "headers.request.set.host");
        check(r#"{"headers": {"response": {"add": {"a": "x\ny"}}}}"#, "headers.response.add.a");
        check(r#"{"fault": {"abort": {"status": 99, "percent": 1}}}"#, "fault.abort.status");
        check(r#"{"fault": {"delay": {"duration": "1s", "percent": 101}}}"#, "fault.delay.percent");
        check(r#"{"cors": {"origins": []}}"#, "cors.origins");
        check(r#"{"cors": {"origins": ["*"], "credentials": true}}"#, "cors.credentials");
        assert!(serde_json::from_str::<FiltersConfig>(r#"{"cros": {}}"#).is_err());
    }
}
