//! Hello and Lifecycle: the first call of every demo, and a greeting changed while it runs.

use outrigger_proto::layotto as proto;
use tonic::{Code, Status};

use crate::{
    layotto::{Client, refused, run},
    program::Folder,
};

const CONFIG: &str = "
components:
  helloworld: { type: hello.helloworld }
  demo: { type: helloworld, settings: { hello: welcome } }
  state: { type: state.in-memory }
";

impl Client {
    async fn hello(&mut self, service: &str, name: &str) -> Result<String, Status> {
        let request =
            proto::SayHelloRequest { service_name: service.into(), name: name.into(), ..Default::default() };
        self.runtime.say_hello(request).await.map(|answer| answer.into_inner().hello)
    }

    async fn apply(&mut self, kind: &str, name: &str, metadata: &[(&str, &str)]) -> Result<(), Status> {
        let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let config = proto::ComponentConfig { kind: kind.into(), name: name.into(), metadata };
        let request = proto::DynamicConfiguration { component_config: Some(config) };
        self.lifecycle.apply_configuration(request).await.map(drop)
    }
}

#[test]
fn a_greeting_comes_back_with_the_data_as_it_was_sent() {
    let folder = Folder::with(CONFIG);
    let program = folder.run();
    run(&program, async |c| {
        assert_eq!(c.hello("helloworld", "helloworld").await.unwrap(), "greeting, helloworld");
        assert_eq!(c.hello("helloworld", "").await.unwrap(), "greeting");
        assert_eq!(c.hello("demo", "eva").await.unwrap(), "welcome, eva");
        let payload = proto::SayHelloRequest {
            service_name: "demo".into(),
            data: Some(prost_types::Any { type_url: "x/y".into(), value: vec![7; 100_000] }),
            ..Default::default()
        };
        let answer = c.runtime.say_hello(payload.clone()).await.unwrap().into_inner();
        assert_eq!(answer.data, payload.data);
        refused(c.hello("helloword", "").await, Code::InvalidArgument, "did you mean 'helloworld'?");
        refused(c.hello("", "").await, Code::InvalidArgument, "service_name is empty");
    });
}

#[test]
fn a_greeting_changes_while_the_program_runs() {
    let folder = Folder::with(CONFIG);
    let program = folder.run();
    run(&program, async |c| {
        assert_eq!(c.hello("helloworld", "eva").await.unwrap(), "greeting, eva");
        c.apply("hellos", "helloworld", &[("hello", "goodbye")]).await.unwrap();
        assert_eq!(c.hello("helloworld", "eva").await.unwrap(), "goodbye, eva");
        assert_eq!(c.hello("demo", "eva").await.unwrap(), "welcome, eva", "the other one is left alone");

        let hello = [("hello", "x")];
        refused(c.apply("", "helloworld", &hello).await, Code::InvalidArgument, "kind is not configured");
        refused(c.apply("hellos", "", &hello).await, Code::InvalidArgument, "name is not configured");
        refused(c.apply("hellos", "demo", &[]).await, Code::InvalidArgument, "metadata is not configured");
        refused(
            c.apply("hellos", "nobody", &hello).await,
            Code::InvalidArgument,
            "'nobody' is not configured",
        );
        refused(c.apply("helloes", "demo", &hello).await, Code::InvalidArgument, "did you mean hellos?");
        refused(
            c.apply("state", "state", &hello).await,
            Code::InvalidArgument,
            "change the configuration file",
        );
        let unknown = c.apply("hellos", "demo", &[("helo", "x")]).await;
        refused(unknown, Code::InvalidArgument, "unknown field `helo`");
        let nothing = c.lifecycle.apply_configuration(proto::DynamicConfiguration::default()).await;
        refused(nothing, Code::InvalidArgument, "kind is not configured");
        assert_eq!(c.hello("demo", "eva").await.unwrap(), "welcome, eva", "what is refused changes nothing");
    });
}

#[test]
fn without_a_greeter_the_answer_says_what_to_add() {
    let folder = Folder::with("components: {}\n");
    let program = folder.run();
    run(&program, async |c| {
        let words = "no greeter is configured: add one under 'components'";
        refused(c.hello("helloworld", "").await, Code::FailedPrecondition, words);
        refused(c.apply("hellos", "helloworld", &[("hello", "x")]).await, Code::InvalidArgument, words);
    });
}
