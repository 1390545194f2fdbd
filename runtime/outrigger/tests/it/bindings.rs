//! Bindings: an operation is a request to another system, and what that system says comes back.

use outrigger_proto::layotto as proto;
use tonic::{Code, Response, Status};

use crate::{
    application::Application,
    http,
    layotto::{Client, refused, run},
    program::Folder,
};

impl Client {
    async fn operate(
        &mut self,
        name: &str,
        operation: &str,
        metadata: &[(&str, &str)],
        data: &'static str,
    ) -> Result<proto::InvokeBindingResponse, Status> {
        let metadata =
            metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (name, operation) = (name.to_owned(), operation.to_owned());
        let request = proto::InvokeBindingRequest { name, data: data.into(), metadata, operation };
        self.runtime.invoke_binding(request).await.map(Response::into_inner)
    }
}

fn config(server: &Application, settings: &str) -> String {
    let url = format!("http://{}/status", server.address);
    format!(
        "app: {{ id: orders }}\ncomponents:\n  server: {{ type: bindings.http, settings: {{ url: 'http://{}' }} }}\n  \
         status: {{ type: bindings.http, settings: {{ url: '{url}', {settings} }} }}\n  \
         theirs: {{ type: bindings.http, scopes: [billing], settings: {{ url: '{url}' }} }}\n",
        server.address
    )
}

#[test]
fn an_operation_is_a_request_and_its_answer_comes_back_with_what_it_says() {
    let server = Application::echo();
    let folder = Folder::with(&config(&server, "errorIfNot2XX: false"));
    let program = folder.run();
    run(&program, async |c| {
        let metadata = [("path", "/orders/7?x=1"), ("X-Tenant", "a"), ("ignored", "b")];
        let answer = c.operate("server", "create", &metadata, "data").await.unwrap();
        let text = String::from_utf8(answer.data.to_vec()).unwrap();
        assert!(text.starts_with("POST /orders/7?x=1\n") && text.ends_with("\n\ndata"), "{text}");
        assert!(text.contains("x-tenant: a\n") && !text.contains("ignored"), "{text}");
        assert!(text.contains(&format!("host: {}\n", server.address)), "{text}");
        assert_eq!(
            (answer.metadata["statusCode"].as_str(), answer.metadata["status"].as_str()),
            ("200", "200 OK")
        );
        assert_eq!(answer.metadata["X-App"], "first, second");
        for operation in ["get", "put", "patch", "delete", "options"] {
            let answer = c.operate("server", operation, &[], "").await.unwrap();
            let text = String::from_utf8(answer.data.to_vec()).unwrap();
            assert!(text.starts_with(&format!("{} /\n", operation.to_uppercase())), "{text}");
        }
        let answer = c.operate("status", "get", &[("path", "404")], "").await.unwrap();
        assert_eq!(answer.metadata["statusCode"], "404", "told not to mind");
    });
    let metrics = http::get(program.admin(), "/metrics").body;
    assert!(
        metrics.contains("outrigger_block_calls_total{block=\"bindings\",component=\"server\",op=\"invoke\"")
    );
}

#[test]
fn each_failure_is_internal_and_tells_what_it_was() {
    let server = Application::echo();
    let folder = Folder::with(&config(&server, "maxResponseBodySize: 4"));
    let program = folder.run();
    run(&program, async |c| {
        let refusal = c.operate("server", "get", &[("path", "status/404")], "").await.unwrap_err();
        assert_eq!(refusal.code(), Code::Internal, "{refusal}");
        assert_eq!(
            refusal.message(),
            "binding 'server': the server answered 404 Not Found: the app's reason"
        );
        let told = |name: &str| refusal.metadata().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(
            (told("http-status"), told("status"), told("x-app")),
            (Some("404"), Some("404 Not Found"), Some("why"))
        );
        assert_eq!(told("x-outrigger-reason"), Some("refused"));

        refused(c.operate("sever", "get", &[], "").await, Code::Internal, "did you mean 'server'?");
        refused(c.operate("", "get", &[], "").await, Code::Internal, "name is empty");
        refused(c.operate("server", "", &[], "").await, Code::Internal, "operation is empty");
        refused(c.operate("server", "drop", &[], "").await, Code::Internal, "'drop' does not exist here");
        for path in ["/../x", "/%2e%2e/x", "/.%2E/x", "/a%2f..%2fx", "/..\\x"] {
            refused(c.operate("server", "get", &[("path", path)], "").await, Code::Internal, "leads up");
        }
        refused(c.operate("server", "get", &[("X-A", "a\nb")], "").await, Code::Internal, "X-A");
        refused(
            c.operate("theirs", "get", &[], "").await,
            Code::PermissionDenied,
            "not open to app 'orders'",
        );
        refused(
            c.operate("status", "get", &[("path", "404")], "").await,
            Code::Internal,
            "maxResponseBodySize",
        );
    });
    let slow = Folder::with(&format!(
        "components: {{ a: {{ type: bindings.http, settings: {{ url: 'http://{}/slow', responseTimeout: 200ms }} }} }}\n",
        server.address
    ));
    run(&slow.run(), async |c| {
        refused(c.operate("a", "get", &[], "").await, Code::DeadlineExceeded, "in time");
    });
    drop(server);
    run(&program, async |c| {
        refused(c.operate("server", "get", &[], "").await, Code::Unavailable, "not reached");
    });
    let none = Folder::with("components: {}\n");
    run(&none.run(), async |c| {
        refused(c.operate("server", "get", &[], "").await, Code::Internal, "no output binding is configured");
    });
}
