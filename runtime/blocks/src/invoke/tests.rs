use std::collections::BTreeMap;

use outrigger_cluster::{ClusterConfig, Clusters, Context};
use outrigger_component_api::Secret;
use outrigger_telemetry::Metrics;

use super::*;
use crate::Meter;

fn target(place: Place) -> Target {
    let context = Context::new(Metrics::new(), tokio::runtime::Handle::current());
    let address: outrigger_net::Address = "127.0.0.1:1".parse().expect("an address");
    let config = ClusterConfig { endpoints: vec![address.into()], ..ClusterConfig::default() };
    let clusters = BTreeMap::from([("orders".to_owned(), config)]);
    let Ok(clusters) = Clusters::compile(&clusters, &Clusters::empty(context)) else { panic!("compiles") };
    let cluster = Arc::clone(clusters.get("orders").expect("it is there"));
    Target::new("orders", cluster, place, &Meter::new(&Metrics::new()))
}

fn request(headers: &[(&'static str, &'static str)]) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    request
}

fn to_app(callers: &str) -> Place {
    Place::App { speaks: Speaks::Http, callers: serde_json::from_str(callers).expect("reads") }
}

#[tokio::test]
async fn a_sidecar_is_told_for_whom_and_from_whom_and_an_app_is_told_from_whom() {
    let token = SharedToken::default();
    let sidecar = target(Place::Sidecar { token: Arc::clone(&token) });
    token.store(Some(Arc::new(Secret::new("t".to_owned()))));
    let sent = prepared(&Caller::new("shop"), "orders", &sidecar, request(&[])).expect("passed on");
    let header = |name: HeaderName| sent.headers().get(name).map(|value| value.to_str().expect("text"));
    assert_eq!((header(APP), header(CALLER)), (Some("orders"), Some("shop")));
    assert_eq!((header(PASSED_ON), header(TOKEN)), (Some("1"), Some("t")));

    // The other sidecar's caller is whoever it was at the first.
    let app = target(to_app(r#"{"shop": []}"#));
    let given = prepared(&Caller::new("orders"), "orders", &app, sent).expect("given to the app");
    let names: Vec<_> =
        given.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(names, [("host", &b"localhost"[..]), ("dapr-caller-app-id", &b"shop"[..])]);
}

#[tokio::test]
async fn nobody_can_say_they_are_somebody_else_to_their_own_sidecar() {
    let app = target(to_app(r#"{"shop": []}"#));
    let forged = request(&[("dapr-caller-app-id", "shop")]);
    let error = prepared(&Caller::new("stranger"), "orders", &app, forged).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_request_is_passed_on_once() {
    let sidecar = target(Place::Sidecar { token: SharedToken::default() });
    let again = request(&[("outrigger-passed-on", "1")]);
    let error = prepared(&Caller::new("shop"), "orders", &sidecar, again).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_an_app_does_not_understand_is_refused() {
    let kind = |speaks, content_type| {
        let app = target(Place::App { speaks, callers: Callers::default() });
        let request = request(&[("content-type", content_type)]);
        prepared(&Caller::new(""), "orders", &app, request).err().map(|error| error.kind())
    };
    assert_eq!(kind(Speaks::Http, "application/json"), None);
    assert_eq!(kind(Speaks::Grpc, "application/grpc+proto"), None);
    assert_eq!(kind(Speaks::Http, "application/grpc"), Some(ErrorKind::Unsupported));
    assert_eq!(kind(Speaks::Grpc, "application/json"), Some(ErrorKind::Unsupported));
}

#[tokio::test]
async fn an_app_nobody_knows_or_reaches_is_told_apart() {
    struct One(Arc<Target>);

    #[async_trait]
    impl Directory for One {
        async fn find(&self, _: &Caller<'_>, app: &str) -> Result<Arc<Target>> {
            match app {
                "orders" => Ok(Arc::clone(&self.0)),
                _ => Err(Error::new(ErrorKind::NotConfigured, "unknown")),
            }
        }
    }

    let invoke = Invoke::default();
    let caller = Caller::new("shop");
    let kind = async |invoke: &Invoke, app: &str| {
        let answer = invoke.call(&caller, app, request(&[])).await;
        answer.err().map(|error| error.kind())
    };
    assert_eq!(kind(&invoke, "orders").await, Some(ErrorKind::FailedPrecondition));
    invoke.ask(Arc::new(One(Arc::new(target(to_app("{}"))))));
    assert_eq!(kind(&invoke, "").await, Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(&invoke, "nobody").await, Some(ErrorKind::NotConfigured));
    assert_eq!(kind(&invoke, "orders").await, Some(ErrorKind::Unavailable));
}
