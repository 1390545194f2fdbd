//! `outrigger.v1.Functions` as clients see it, over a host that runs nothing.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request as HttpRequest, Response as HttpResponse};
use outrigger_api::access::{Access, Token};
use outrigger_blocks::function::{Door, Function, FunctionHost, Load, Tick, Triggers};
use outrigger_blocks::{Answer, Body, Caller, Error, Event, InputEvent, Result};
use outrigger_proto::outrigger::deploy_request::Part;
use outrigger_proto::outrigger::function_version::State;
use outrigger_proto::outrigger::functions_client::FunctionsClient;
use outrigger_proto::outrigger::{self as proto};
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, async_trait};

use crate::harness::{Served, Sidecar};

struct Host;

struct Nothing;

#[async_trait]
impl FunctionHost for Host {
    async fn load(&self, load: Load) -> Result<Arc<dyn Function>> {
        load.log.write(&load.version, "info", "loading");
        if load.module.bytes() == "bad" {
            Err(Error::invalid("it is no component"))
        } else {
            Ok(Arc::new(Nothing))
        }
    }
}

#[async_trait]
impl Function for Nothing {
    fn triggers(&self) -> Triggers {
        Triggers { http: true, invoke: true, ..Triggers::default() }
    }

    async fn serve(&self, _: &Caller<'_>, _: Door, _: HttpRequest<Body>) -> Result<HttpResponse<Body>> {
        Ok(HttpResponse::new(Body::empty()))
    }

    async fn event(&self, _: &Caller<'_>, _: &Event, _: u32) -> Result<Answer> {
        Ok(Answer::Drop)
    }

    async fn schedule(&self, _: &Caller<'_>, _: &Tick) -> Result<()> {
        Ok(())
    }

    async fn binding(&self, _: &Caller<'_>, _: &InputEvent) -> Result<()> {
        Ok(())
    }
}

fn sidecar(token: Option<&str>) -> Sidecar {
    let tokens = token.map(|token| vec![Token::new(token).unwrap()]);
    let sidecar = Sidecar::empty(Access { tokens, hosts: Vec::new() });
    sidecar.blocks.functions.run_on(Arc::new(Host));
    sidecar
}

type Intercept = fn(Request<()>) -> Result<Request<()>, Status>;

async fn client(served: &Served) -> FunctionsClient<InterceptedService<Channel, Intercept>> {
    let with_token: Intercept = |mut request| {
        request.metadata_mut().insert("outrigger-api-token", MetadataValue::from_static("s3cret"));
        Ok(request)
    };
    FunctionsClient::with_interceptor(served.channel().await, with_token)
}

/// A deployment in two pieces.
fn upload(module: &str, weight: u32) -> Request<impl futures_util::Stream<Item = proto::DeployRequest>> {
    let head = proto::Deployment { name: "cart".to_owned(), weight, ..proto::Deployment::default() };
    let (first, second) = module.split_at(1);
    let chunk = |text: &str| Part::Chunk(Bytes::copy_from_slice(text.as_bytes()));
    let parts = [Part::Deployment(head), chunk(first), chunk(second)];
    Request::new(futures_util::stream::iter(parts.map(|part| proto::DeployRequest { part: Some(part) })))
}

fn states(function: &proto::Function) -> Vec<(State, u32)> {
    function.versions.iter().map(|version| (version.state(), version.weight)).collect()
}

#[tokio::test]
async fn without_a_token_nobody_manages_functions_here() {
    let sidecar = sidecar(None);
    let served = sidecar.serve().await;
    let mut client = client(&served).await;
    for refused in [
        client.list_functions(proto::ListFunctionsRequest {}).await.unwrap_err(),
        client.deploy(upload("one", 0)).await.unwrap_err(),
        client.rollback(proto::RollbackRequest::default()).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("on the admin listener"), "{refused}");
    }
    assert!(sidecar.blocks.functions.list().is_empty());
}

#[tokio::test]
async fn versions_are_deployed_weighted_promoted_and_taken_back() {
    let sidecar = sidecar(Some("s3cret"));
    let served = sidecar.serve().await;
    let mut client = client(&served).await;
    let first = client.deploy(upload("one", 0)).await.unwrap().into_inner();
    assert!(!first.kept);
    let function = first.function.unwrap();
    assert_eq!((function.origin.as_str(), function.triggers.join(" ").as_str()), ("operator", "http invoke"));
    assert_eq!(states(&function), [(State::Current, 100)]);
    assert!(function.versions[0].sha256.starts_with(&function.versions[0].version));

    let second = client.deploy(upload("two", 10)).await.unwrap().into_inner().function.unwrap();
    assert_eq!(states(&second), [(State::Current, 90), (State::Candidate, 10)]);
    let name = || "cart".to_owned();
    let weight = proto::SetWeightRequest { name: name(), weight: 300 };
    assert_eq!(client.set_weight(weight).await.unwrap_err().code(), Code::InvalidArgument);
    let weight = proto::SetWeightRequest { name: name(), weight: 60 };
    let changed = client.set_weight(weight).await.unwrap().into_inner().function.unwrap();
    assert_eq!(states(&changed), [(State::Current, 40), (State::Candidate, 60)]);
    client.promote(proto::PromoteRequest { name: name() }).await.unwrap();
    let again = client.promote(proto::PromoteRequest { name: name() }).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);

    let refused = client.deploy(upload("bad", 0)).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "it is no component"));
    let listed = client.list_functions(proto::ListFunctionsRequest {}).await.unwrap().into_inner().functions;
    assert_eq!(states(&listed[0]), [(State::Current, 100), (State::Previous, 0), (State::Refused, 0)]);
    assert_eq!(listed[0].versions[2].reason, "it is no component");
    assert_eq!(listed[0].versions[0].sha256, second.versions[1].sha256);
    let back = client.rollback(proto::RollbackRequest { name: name() }).await.unwrap().into_inner();
    assert_eq!(back.function.unwrap().versions[0].sha256, function.versions[0].sha256);

    client.remove(proto::RemoveFunctionRequest { name: name() }).await.unwrap();
    let gone = client.remove(proto::RemoveFunctionRequest { name: name() }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn what_a_function_writes_is_followed() {
    let sidecar = sidecar(Some("s3cret"));
    let served = sidecar.serve().await;
    let mut client = client(&served).await;
    client.deploy(upload("one", 0)).await.unwrap();
    let request = |follow| proto::FunctionLogsRequest { name: "cart".to_owned(), after: 0, follow };
    let mut lines = client.logs(request(false)).await.unwrap().into_inner();
    let first = lines.message().await.unwrap().unwrap();
    assert_eq!((first.number, first.level.as_str(), first.text.as_str()), (1, "info", "loading"));
    assert!(lines.message().await.unwrap().is_none());

    let mut lines = client.logs(request(true)).await.unwrap().into_inner();
    assert_eq!(lines.message().await.unwrap().unwrap().number, 1);
    sidecar.blocks.functions.logs("cart").unwrap().write(&"v".into(), "warn", "later");
    let second = lines.message().await.unwrap().unwrap();
    assert_eq!((second.number, second.text.as_str()), (2, "later"));
}

#[tokio::test]
async fn an_upload_out_of_order_is_refused() {
    let sidecar = sidecar(Some("s3cret"));
    let served = sidecar.serve().await;
    let mut client = client(&served).await;
    let check = async |client: &mut FunctionsClient<_>, parts: Vec<Part>, expected: &str| {
        let parts = parts.into_iter().map(|part| proto::DeployRequest { part: Some(part) });
        let parts = futures_util::stream::iter(parts.collect::<Vec<_>>());
        let refused = client.deploy(parts).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(expected), "{refused}");
    };
    let head = || Part::Deployment(proto::Deployment { name: "cart".to_owned(), ..Default::default() });
    let chunk = || Part::Chunk(Bytes::from_static(&[0; 1 << 20]));
    check(&mut client, vec![], "the first message").await;
    check(&mut client, vec![chunk()], "the first message").await;
    check(&mut client, vec![head(), chunk(), head()], "pieces of the module").await;
    let large = std::iter::once(head()).chain((0..33).map(|_| chunk())).collect();
    check(&mut client, large, "larger than 32 MiB").await;
}
