//! Invoke: to the application beside the sidecar, to applications the configuration names, and to those beside other
//! sidecars of this host; as `InvokeService` and passed through as it is.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use outrigger_proto::layotto::{self as proto, app_callback_client::AppCallbackClient, http_extension::Verb};
use outrigger_sdk::{App, Outcome};
use tonic::{Code, Request, Status, metadata::MetadataMap, transport::Endpoint};

use crate::{
    application::Application,
    http,
    layotto::{Client, refused, run},
    ports::reserved,
    program::{Folder, PATIENCE, Program, eventually},
};

/// One place for the table of hosts: as on one laptop.
fn beside(folder: Folder, laptop: &Folder) -> Folder {
    folder.env("XDG_DATA_HOME", &laptop.path("data").display().to_string())
}

fn config(id: &str, port: u16, more: &str) -> String {
    format!("app: {{ id: {id}, port: {port}, {more} }}\ncomponents: {{}}\n")
}

struct Asked {
    answer: String,
    content_type: String,
    headers: MetadataMap,
}

fn message(method: &str, data: &str) -> proto::CommonInvokeRequest {
    let data = prost_types::Any { type_url: String::new(), value: data.as_bytes().to_vec() };
    proto::CommonInvokeRequest { method: method.into(), data: Some(data), ..Default::default() }
}

fn with_verb(verb: Verb, method: &str, query: &str, data: &str) -> proto::CommonInvokeRequest {
    let extension = proto::HttpExtension { verb: verb.into(), querystring: query.into() };
    proto::CommonInvokeRequest {
        http_extension: Some(extension),
        content_type: "application/json".into(),
        ..message(method, data)
    }
}

impl Client {
    async fn invoke(&mut self, id: &str, message: proto::CommonInvokeRequest) -> Result<Asked, Status> {
        self.invoke_with(id, message, &[]).await
    }

    async fn invoke_with(
        &mut self,
        id: &str,
        message: proto::CommonInvokeRequest,
        metadata: &[(&'static str, &str)],
    ) -> Result<Asked, Status> {
        let mut request = Request::new(proto::InvokeServiceRequest { id: id.into(), message: Some(message) });
        for (name, value) in metadata {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let (headers, answer, _) = self.runtime.invoke_service(request).await?.into_parts();
        let data = answer.data.unwrap();
        assert_eq!(data.type_url, "");
        let answer_text = String::from_utf8(data.value).unwrap();
        Ok(Asked { answer: answer_text, content_type: answer.content_type, headers })
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.answer)
    }
}

#[test]
fn the_app_beside_us_is_asked_and_its_answer_comes_back() {
    let app = Application::echo();
    let folder = Folder::with(&config("orders", app.port(), "protocol: http"));
    let program = folder.run();
    run(&program, async |c| {
        // As Layotto's demo asks: no verb, a body.
        let asked =
            c.invoke_with("orders", message("hello", "hello,echo"), &[("x-tenant", "a")]).await.unwrap();
        assert!(asked.answer.starts_with("GET /hello\n"), "{asked:?}");
        assert!(asked.answer.ends_with("\n\nhello,echo"), "{asked:?}");
        for line in ["host: localhost", "id: orders", "x-tenant: a"] {
            assert!(asked.answer.contains(&format!("\n{line}\n")), "{line}: {asked:?}");
        }
        assert_eq!(asked.content_type, "text/plain");
        let told: Vec<_> = asked.headers.get_all("x-app").iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(told, ["first", "second"]);

        let post = with_verb(Verb::Post, "/orders/7", "x=1&y=2", "{}");
        let asked = c.invoke("orders", post).await.unwrap();
        assert!(asked.answer.starts_with("POST /orders/7?x=1&y=2\n"), "{asked:?}");
        assert!(asked.answer.contains("content-type: application/json\n"), "{asked:?}");
        for (verb, name) in [(Verb::Put, "PUT"), (Verb::Delete, "DELETE"), (Verb::Patch, "PATCH")] {
            let asked = c.invoke("orders", with_verb(verb, "x", "", "")).await.unwrap();
            assert!(asked.answer.starts_with(&format!("{name} /x\n")), "{asked:?}");
        }
        assert_eq!(c.invoke("orders", message("status/204", "")).await.unwrap().answer, "");
    });
    let metrics = http::get(program.admin(), "/metrics").body;
    let series =
        "outrigger_block_calls_total{block=\"invoke\",component=\"orders\",op=\"call\",outcome=\"ok\"}";
    assert!(metrics.contains(series), "{metrics}");
}

#[test]
fn each_failure_has_its_code_and_tells_what_the_app_said() {
    let app = Application::echo();
    let folder = Folder::with(&config("orders", app.port(), "protocol: http"));
    let program = folder.run();
    run(&program, async |c| {
        for code in [404, 500, 301] {
            let status = c.invoke("orders", message(&format!("status/{code}"), "")).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert_eq!(status.message(), format!("app 'orders' answered {code}: the app's reason"));
            assert_eq!(status.metadata().get("http-status").unwrap(), &code.to_string());
            assert_eq!(status.metadata().get("x-app").unwrap(), "why");
            assert_eq!(status.metadata().get("x-outrigger-reason").unwrap(), "http_status");
        }
        let mut quickest = Duration::MAX;
        for _ in 0..3 {
            let started = Instant::now();
            let limit = [("rpc_request_timeout", "200")];
            let slow = c.invoke_with("orders", message("slow", ""), &limit).await;
            refused(slow, Code::DeadlineExceeded, "");
            quickest = quickest.min(started.elapsed());
        }
        assert!(quickest < Duration::from_secs(3), "{quickest:?}");
        let wrong = [("rpc_request_timeout", "soon")];
        refused(
            c.invoke_with("orders", message("x", ""), &wrong).await,
            Code::InvalidArgument,
            "rpc_request_timeout",
        );
        refused(c.invoke("orders", message("large", "")).await, Code::Internal, "4 MiB");
        refused(c.invoke("order", message("x", "")).await, Code::NotFound, "did you mean 'orders'?");
        refused(c.invoke("", message("x", "")).await, Code::InvalidArgument, "id");
        refused(c.invoke("orders", message("a b", "")).await, Code::InvalidArgument, "message.method");
        refused(c.invoke("orders", with_verb(Verb::Trace, "x", "", "")).await, Code::InvalidArgument, "verb");
        let nothing = proto::InvokeServiceRequest { id: "orders".into(), ..Default::default() };
        refused(c.runtime.invoke_service(nothing).await, Code::InvalidArgument, "message is missing");
    });
    drop(app);
    run(&program, async |c| {
        refused(c.invoke("orders", message("x", "")).await, Code::Unavailable, "not reached");
    });
}

#[test]
fn without_limits_told_a_silent_app_has_three_seconds() {
    let app = Application::echo();
    let folder = Folder::with(&config("orders", app.port(), "protocol: http"));
    run(&folder.run(), async |c| {
        let started = Instant::now();
        refused(c.invoke("orders", message("slow", "")).await, Code::DeadlineExceeded, "");
        assert!((2..10).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    });
}

#[test]
fn apps_are_named_by_configuration_and_a_star_stands_for_the_rest() {
    let (named, rest) = (Application::echo(), Application::echo());
    let folder = Folder::with(&format!(
        "apps:\n  shop.example: {{ addresses: ['{}'] }}\n  '*': {{ addresses: ['{}'] }}\n",
        named.address, rest.address
    ));
    let mut program = folder.run();
    run(&program, async |c| {
        let asked = c.invoke("shop.example", message("x", "")).await.unwrap();
        assert!(asked.answer.contains("id: shop.example\n"), "{asked:?}");
        // As Layotto's channel: whoever is behind it looks at the header.
        let asked = c.invoke("HelloService:1.0", message("x", "")).await.unwrap();
        assert!(asked.answer.contains("id: HelloService:1.0\n"), "{asked:?}");
    });
    drop(rest);
    run(&program, async |c| {
        c.invoke("shop.example", message("x", "")).await.unwrap();
        refused(c.invoke("HelloService:1.0", message("x", "")).await, Code::Unavailable, "");
    });
    folder.configure(&format!("apps: {{ shop: {{ addresses: ['{}'] }} }}\n", named.address));
    program.wait_for("configuration reloaded");
    run(&program, async |c| {
        c.invoke("shop", message("x", "")).await.unwrap();
        refused(c.invoke("shop.example", message("x", "")).await, Code::NotFound, "not under 'apps'");
    });
}

#[test]
fn sidecars_of_one_host_find_each_other_without_configuration() {
    let laptop = Folder::empty();
    let app = Application::echo();
    let orders = beside(Folder::with(&config("orders", app.port(), "protocol: http")), &laptop);
    let shop = beside(Folder::with("app: { id: shop }\ncomponents: {}\n"), &laptop);
    let mut orders_program = orders.run();
    let shop_program = shop.run();
    let ask = |id: &str| run(&shop_program, async |c| c.invoke(id, message("hello", "from shop")).await);
    let found = eventually("orders is found", || ask("orders").ok());
    assert!(found.answer.starts_with("GET /hello\n") && found.answer.ends_with("from shop"), "{found:?}");
    for line in ["dapr-caller-app-id: shop", "id: orders", "host: localhost"] {
        assert!(found.answer.contains(&format!("{line}\n")), "{line}: {found:?}");
    }
    assert!(
        !found.answer.contains("outrigger-passed-on") && !found.answer.contains("dapr-app-id:"),
        "{found:?}"
    );
    refused(ask("nobody"), Code::NotFound, "no application 'nobody'");

    // One that ends takes itself back; one that is killed is known to be dead.
    orders_program.stop();
    eventually("orders is gone", || ask("orders").err().filter(|status| status.code() == Code::NotFound));
    let again = orders.run();
    eventually("orders is back", || ask("orders").ok());
    drop(again);
    eventually("orders is known to be dead", || ask("orders").err().filter(|s| s.code() == Code::NotFound));
}

#[test]
fn one_that_does_not_announce_itself_is_reached_by_its_address() {
    let laptop = Folder::empty();
    let app = Application::echo();
    let more = "protocol: http, announce: false";
    let orders_config = config("orders", app.port(), more);
    let orders = beside(Folder::empty().arguments(&["--set", "api.token=hunter2"]), &laptop);
    let orders = {
        orders.write("orders.yaml", &orders_config);
        let file = orders.path("orders.yaml").display().to_string();
        orders.arguments(&["-c", &file])
    };
    let orders_program = orders.run();
    let shop = |token: &str| {
        let address = orders_program.api();
        let config = format!(
            "app: {{ id: shop }}\napps: {{ orders: {{ addresses: ['{address}'], via: sidecar }} }}\n"
        );
        let folder = beside(Folder::with(&config), &laptop);
        if token.is_empty() { folder } else { folder.env("OUTRIGGER__API__TOKEN", token) }
    };
    let ask = |program: &Program, token: &'static str| {
        run(program, async |c| c.invoke_with("orders", message("x", ""), &[("dapr-api-token", token)]).await)
    };
    let with_token = shop("hunter2");
    let asked = ask(&with_token.run(), "hunter2").unwrap();
    assert!(!asked.answer.contains("hunter2"), "the token is not the application's: {asked:?}");
    let without = shop("");
    let program = without.run();
    refused(ask(&program, "none"), Code::Unavailable, "401");
    // Found by nobody who is not told.
    let other = beside(Folder::with("app: { id: other }\n"), &laptop);
    refused(
        run(&other.run(), async |c| c.invoke("orders", message("x", "")).await),
        Code::NotFound,
        "no application 'orders'",
    );
}

#[test]
fn sidecars_present_a_token_of_the_list_wherever_it_is_kept() {
    let app = Application::echo();
    let kept: [&[&str]; 3] = [
        &["--set", "api.tokens.main.value=hunter2"],
        &["--set", "api.tokens.main.env=API_TOKEN"],
        &[
            "--set",
            "api.tokens.main.secretRef.store=vault",
            "--set",
            "api.tokens.main.secretRef.key=API_TOKEN",
        ],
    ];
    for arguments in kept {
        let laptop = Folder::empty();
        let sidecar = |app: &str| {
            let vault = "components: { vault: { type: secretstores.local.env } }";
            let folder = Folder::with(&format!("app: {{ {app} }}\n{vault}\n")).arguments(arguments);
            beside(folder.env("API_TOKEN", "hunter2"), &laptop)
        };
        let (orders, shop) = (sidecar(&format!("id: orders, port: {}", app.port())), sidecar("id: shop"));
        let (_orders, shop) = (orders.run(), shop.run());
        let ask = |token| {
            let token = [("dapr-api-token", token)];
            run(&shop, async |c| c.invoke_with("orders", message("x", ""), &token).await)
        };
        let asked = eventually("orders lets the shop's sidecar in", || ask("hunter2").ok());
        assert!(!asked.answer.contains("hunter2"), "the token is not the application's: {asked:?}");
        assert_eq!(ask("wrong").unwrap_err().code(), Code::Unauthenticated);
    }
}

#[test]
fn a_table_of_hosts_that_cannot_be_read_leaves_what_the_configuration_names() {
    let rest = Application::echo();
    let folder = Folder::with(&format!("apps: {{ '*': {{ addresses: ['{}'] }} }}\n", rest.address));
    std::fs::create_dir_all(folder.path("data/outrigger")).unwrap();
    folder.write("data/outrigger/outrigger.db", &"no database at all ".repeat(100));
    let mut program = folder.run();
    run(&program, async |c| {
        let asked = c.invoke("HelloService:1.0", message("x", "")).await.unwrap();
        assert!(asked.answer.contains("id: HelloService:1.0\n"), "{asked:?}");
    });
    folder.configure("apps: {}\n");
    program.wait_for("configuration reloaded");
    run(&program, async |c| {
        let asked = c.invoke("HelloService:1.0", message("x", "")).await;
        refused(asked, Code::FailedPrecondition, "not an SQLite database");
    });
}

#[test]
fn who_may_call_what_is_decided_beside_the_app() {
    let laptop = Folder::empty();
    let app = Application::echo();
    let callers = "protocol: http, callers: { shop: ['/orders/*'], admin: [] }";
    let orders = beside(Folder::with(&config("orders", app.port(), callers)), &laptop);
    let orders_program = orders.run();
    let ask = |id: &str, path: &str| {
        let folder = beside(Folder::with(&format!("app: {{ id: {id} }}\n")), &laptop);
        let program = folder.run();
        eventually("orders is found", || {
            let asked = run(&program, async |c| c.invoke("orders", message(path, "")).await);
            Some(asked).filter(|asked| asked.as_ref().err().is_none_or(|s| s.code() != Code::NotFound))
        })
    };
    ask("shop", "orders/7").unwrap();
    ask("admin", "anything").unwrap();
    for (id, path) in [("shop", "admin"), ("shop", "orders/%2e%2e/admin"), ("stranger", "orders/7")] {
        let status = ask(id, path).unwrap_err();
        assert!(
            status.message().contains("403") || status.code() == Code::PermissionDenied,
            "{id} {path}: {status}"
        );
    }
    drop(orders_program);
}

/// One HTTP/1.1 connection on which everything is written and read by hand.
struct Connection(TcpStream);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut byte = [0; 1024];
            let read = self.0.read(&mut byte).unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&byte[..read]);
        }
        String::from_utf8(seen).unwrap()
    }
}

#[test]
fn any_http_request_is_passed_through_as_it_is() {
    let laptop = Folder::empty();
    let app = Application::echo();
    let orders = beside(Folder::with(&config("orders", app.port(), "protocol: http")), &laptop);
    let _orders = orders.run();
    let shop = beside(Folder::with("app: { id: shop }\n"), &laptop);
    let program = shop.run();
    let to = |id: &'static str| [("dapr-app-id", id), ("x-tenant", "a")];
    let ask = || http::send(program.api(), "PUT", "/a/b%20c?x=1", &to("orders"), "body");
    let answer = eventually("orders is found", || Some(ask()).filter(|answer| answer.status == 200));
    assert!(
        answer.body.starts_with("PUT /a/b%20c?x=1\n") && answer.body.ends_with("body"),
        "{}",
        answer.body
    );
    assert!(answer.body.contains("x-tenant: a\n") && answer.header("x-app").is_some());
    let answer = http::send(program.api(), "GET", "/status/404", &to("orders"), "");
    assert_eq!((answer.status, answer.body.as_str()), (404, "the app's reason"), "any status is an answer");
    let answer = http::send(program.api(), "GET", "/x", &to("nobody"), "");
    assert_eq!((answer.status, answer.header("x-outrigger-reason")), (404, Some("not_configured")));

    // Neither side waits for the end of the other.
    let mut connection = Connection::open(program.api());
    connection.say(
        "POST /parts HTTP/1.1\r\nhost: localhost\r\ndapr-app-id: orders\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    connection.say("5\r\nfirst\r\n");
    assert!(connection.read_until("first").contains("200"));
    connection.say("6\r\nsecond\r\n");
    connection.read_until("second");
    connection.say("0\r\n\r\n");
    connection.read_until("0\r\n\r\n");
}

#[test]
fn grpc_calls_are_passed_through_to_apps_that_speak_it() {
    let port = reserved().port();
    let laptop = Folder::empty();
    let orders = beside(Folder::with(&config("orders", port, "protocol: grpc, probe: false")), &laptop);
    let orders_program = orders.run();
    let shop = beside(Folder::with("app: { id: shop }\n"), &laptop);
    let shop_program = shop.run();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let app = App::new().topic("bus", "orders", |_| async { Outcome::Done });
    let app = runtime.spawn(app.serve(([127, 0, 0, 1], port).into()));
    let topics = |program: &Program, id: &'static str| {
        run(program, async |_| {
            let channel = Endpoint::from_shared(format!("http://{}", program.api())).unwrap().connect_lazy();
            let mut request = Request::new(());
            request.metadata_mut().insert("dapr-app-id", id.parse().unwrap());
            let answer = AppCallbackClient::new(channel).list_topic_subscriptions(request).await;
            answer.map(|answer| {
                answer.into_inner().subscriptions.into_iter().map(|s| s.topic).collect::<Vec<_>>()
            })
        })
    };
    for program in [&orders_program, &shop_program] {
        let found = eventually("the app is called", || topics(program, "orders").ok());
        assert_eq!(found, ["orders"]);
    }
    refused(topics(&shop_program, "nobody"), Code::NotFound, "no application 'nobody'");
    run(&orders_program, async |c| {
        refused(c.invoke("orders", message("x", "")).await, Code::Unimplemented, "speaks gRPC");
    });
    app.abort();
}

#[test]
fn mistakes_about_apps_are_told_at_their_place() {
    let folder = Folder::empty();
    folder.write(
        "f.yaml",
        "apps:\n  a: { addresses: [] }\n  b: { addresses: ['127.0.0.1:0'], via: sidecar }\n",
    );
    let file = folder.path("f.yaml").display().to_string();
    let output = folder.command(&["check", &file]).output().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    for place in ["f.yaml:2:8: apps.a.addresses: ", "f.yaml:3:8: apps.b.addresses: "] {
        assert!(complaints.contains(place), "{complaints}");
    }
}
