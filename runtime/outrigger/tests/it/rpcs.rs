//! Every RPC of the Layotto dialect against every outcome that is documented for it, as one table. A cell that nothing
//! filled fails.

mod calls;

use std::{
    collections::BTreeMap,
    future::Future,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    pin::Pin,
};

use outrigger_proto::layotto as proto;
use prost::Message as _;
use tonic::{Code, Status};

use crate::{
    layotto::{Client, run},
    program::Folder,
};

use calls::*;

type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), Status>> + 'a>>;
type Call = for<'a> fn(&'a mut Client, &'a str) -> Answer<'a>;

/// One RPC: a call that is right, and one that is wrong in a way no component is needed for.
struct Rpc {
    name: &'static str,
    /// The component it is for; for `InvokeService` the application.
    component: &'static str,
    right: Call,
    wrong: Call,
    /// Common outcomes that are documented with another code here.
    otherwise: &'static [(&'static str, Code)],
    /// Outcomes that cannot be met.
    without: &'static [&'static str],
    /// What else is documented: the outcome, its code, and a call that meets it.
    more: &'static [(&'static str, Code, Call)],
}

impl Rpc {
    fn code(&self, outcome: &str, common: Code) -> Code {
        let otherwise = self.otherwise.iter().find(|(other, _)| *other == outcome);
        otherwise.map_or(common, |(_, code)| *code)
    }
}

/// What every RPC with a component is held to: the outcome, its code, and the configuration under which it is met.
const OUTCOMES: &[(&str, Code)] = &[
    ("success", Code::Ok),
    ("wrong request", Code::InvalidArgument),
    ("nothing configured", Code::FailedPrecondition),
    ("unknown component", Code::InvalidArgument),
    ("not open to this app", Code::PermissionDenied),
    ("component down", Code::Unavailable),
    ("no token", Code::Unauthenticated),
];

macro_rules! call {
    (|$client:ident, $at:ident| $body:expr) => {
        |$client: &mut Client, $at: &str| -> Answer<'_> {
            let $at = $at.to_owned();
            Box::pin(async move { $body })
        }
    };
}

const NOTHING: &[(&str, Code, Call)] = &[];

const RPCS: &[Rpc] = &[
    Rpc {
        name: "SayHello",
        component: "hello",
        right: call!(|c, at| hello(c, at).await),
        wrong: call!(|c, _at| hello(c, String::new()).await),
        otherwise: &[],
        without: &["component down"],
        more: NOTHING,
    },
    Rpc {
        name: "InvokeService",
        component: "echo",
        right: call!(|c, at| invoke(c, at, "hello").await),
        wrong: call!(|c, _at| invoke(c, String::new(), "hello").await),
        otherwise: &[],
        without: &["nothing configured", "unknown component", "not open to this app"],
        more: &[("unknown app", Code::NotFound, call!(|c, _at| invoke(c, "nobody".into(), "hello").await))],
    },
    Rpc {
        name: "GetConfiguration",
        component: "settings",
        right: call!(|c, store_name| {
            let request =
                proto::GetConfigurationRequest { store_name, app_id: "a".into(), ..Default::default() };
            c.runtime.get_configuration(request).await.map(drop)
        }),
        wrong: call!(|c, _at| c
            .runtime
            .get_configuration(proto::GetConfigurationRequest::default())
            .await
            .map(drop)),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "SaveConfiguration",
        component: "settings",
        right: call!(|c, at| save_configuration(c, at, "k").await),
        wrong: call!(|c, at| save_configuration(c, at, "").await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "DeleteConfiguration",
        component: "settings",
        right: call!(|c, store_name| {
            let (app_id, keys) = ("a".into(), vec!["k".into()]);
            let request =
                proto::DeleteConfigurationRequest { store_name, app_id, keys, ..Default::default() };
            c.runtime.delete_configuration(request).await.map(drop)
        }),
        wrong: call!(|c, _at| c
            .runtime
            .delete_configuration(proto::DeleteConfigurationRequest::default())
            .await
            .map(drop)),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "SubscribeConfiguration",
        component: "settings",
        right: call!(|c, at| watch(c, at, "a").await),
        wrong: call!(|c, _at| watch(c, String::new(), "a").await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "TryLock",
        component: "lock",
        right: call!(|c, at| try_lock(c, at, "owner").await),
        wrong: call!(|c, at| try_lock(c, at, "").await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "Unlock",
        component: "lock",
        right: call!(|c, at| unlock(c, at, "owner").await),
        wrong: call!(|c, at| unlock(c, at, "").await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "LockKeepAlive",
        component: "lock",
        right: call!(|c, at| keep_alive(c, at, 10).await),
        wrong: call!(|c, at| keep_alive(c, at, 0).await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "GetNextId",
        component: "ids",
        right: call!(|c, at| next_id(c, at, "k").await),
        wrong: call!(|c, at| next_id(c, at, "").await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "GetState",
        component: "state",
        right: call!(|c, at| get(c, at, "k").await),
        wrong: call!(|c, at| get(c, at, "a||b").await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "GetBulkState",
        component: "state",
        right: call!(|c, at| get_bulk(c, at, "k").await),
        wrong: call!(|c, at| get_bulk(c, at, "a||b").await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "SaveState",
        component: "state",
        right: call!(|c, at| save(c, at, item("k", "")).await),
        wrong: call!(|c, at| save(c, at, item("", "")).await),
        otherwise: &[],
        without: &[],
        more: &[("stale etag", Code::Aborted, call!(|c, at| save(c, at, item("gone", "7")).await))],
    },
    Rpc {
        name: "DeleteState",
        component: "state",
        right: call!(|c, at| delete(c, at, "k", "").await),
        wrong: call!(|c, at| delete(c, at, "", "").await),
        otherwise: &[],
        without: &[],
        more: &[("stale etag", Code::Aborted, call!(|c, at| delete(c, at, "gone", "7").await))],
    },
    Rpc {
        name: "DeleteBulkState",
        component: "state",
        right: call!(|c, at| delete_bulk(c, at, item("k", "")).await),
        wrong: call!(|c, at| delete_bulk(c, at, item("", "")).await),
        otherwise: &[],
        without: &[],
        more: &[("stale etag", Code::Aborted, call!(|c, at| delete_bulk(c, at, item("gone", "7")).await))],
    },
    Rpc {
        name: "ExecuteStateTransaction",
        component: "state",
        right: call!(|c, at| transact(c, at, "upsert", item("t", "")).await),
        wrong: call!(|c, at| transact(c, at, "upsert", item("", "")).await),
        otherwise: &[],
        without: &[],
        more: &[
            ("stale etag", Code::Aborted, call!(|c, at| transact(c, at, "upsert", item("gone", "7")).await)),
            (
                "unknown operation",
                Code::Unimplemented,
                call!(|c, at| transact(c, at, "increment", item("t", "")).await),
            ),
        ],
    },
    Rpc {
        name: "PublishEvent",
        component: "events",
        right: call!(|c, at| publish(c, at, "t").await),
        wrong: call!(|c, at| publish(c, at, "").await),
        otherwise: &[("nothing configured", Code::InvalidArgument)],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "SubscribeTopicEvents",
        component: "events",
        right: call!(|c, at| subscribe(c, at, "t").await),
        wrong: call!(|c, at| subscribe(c, at, "").await),
        otherwise: &[("nothing configured", Code::InvalidArgument)],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "GetFile",
        component: "files",
        right: call!(|c, at| get_file(c, at, "there").await),
        wrong: call!(|c, at| get_file(c, at, "../there").await),
        otherwise: &[],
        without: &[],
        more: &[("missing", Code::NotFound, call!(|c, at| get_file(c, at, "missing").await))],
    },
    Rpc {
        name: "PutFile",
        component: "files",
        right: call!(|c, at| put(c, at, "new").await),
        wrong: call!(|c, at| put(c, at, "../new").await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "ListFile",
        component: "files",
        right: call!(|c, at| list(c, at, "", 10).await),
        wrong: call!(|c, at| list(c, at, "..", 10).await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "DelFile",
        component: "files",
        right: call!(|c, at| del_file(c, at, "there").await),
        wrong: call!(|c, at| del_file(c, at, "../there").await),
        otherwise: &[],
        without: &[],
        more: &[("missing", Code::NotFound, call!(|c, at| del_file(c, at, "missing").await))],
    },
    Rpc {
        name: "GetFileMeta",
        component: "files",
        right: call!(|c, at| stat(c, at, "there").await),
        wrong: call!(|c, at| stat(c, at, "../there").await),
        otherwise: &[],
        without: &[],
        more: &[("missing", Code::NotFound, call!(|c, at| stat(c, at, "missing").await))],
    },
    Rpc {
        name: "InvokeBinding",
        component: "web",
        right: call!(|c, at| bind(c, at, "get").await),
        wrong: call!(|c, at| bind(c, at, "fly").await),
        otherwise: &[
            ("wrong request", Code::Internal),
            ("nothing configured", Code::Internal),
            ("unknown component", Code::Internal),
        ],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "GetSecret",
        component: "vault",
        right: call!(|c, at| secret(c, at, "db").await),
        wrong: call!(|c, at| secret(c, at, "").await),
        otherwise: &[],
        without: &[],
        more: &[
            ("missing", Code::NotFound, call!(|c, at| secret(c, at, "missing").await)),
            ("denied", Code::PermissionDenied, call!(|c, at| secret(c, at, "admin").await)),
        ],
    },
    Rpc {
        name: "GetBulkSecret",
        component: "vault",
        right: call!(|c, at| secrets(c, at).await),
        wrong: call!(|c, _at| secrets(c, String::new()).await),
        otherwise: &[],
        without: &[],
        more: NOTHING,
    },
    Rpc {
        name: "ApplyConfiguration",
        component: "hello",
        right: call!(|c, at| apply(c, "hellos", at).await),
        wrong: call!(|c, at| apply(c, "", at).await),
        // All of these are wrong requests here.
        otherwise: &[],
        without: &["nothing configured", "not open to this app", "component down"],
        more: &[(
            "cannot change",
            Code::InvalidArgument,
            call!(|c, _at| apply(c, "state", "state".into()).await),
        )],
    },
];

/// An HTTP server that says 200 and hangs up; it lives as long as the test program.
fn http() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = BufReader::new(&stream).lines().map_while(Result::ok);
            if head.any(|line| line.is_empty()) {
                let _client_gone =
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            }
        }
    });
    port
}

/// Every block, on components that work.
fn working(http: u16) -> String {
    format!(
        "app: {{ id: orders }}
apps: {{ echo: {{ addresses: ['127.0.0.1:{http}'] }} }}
components:
  hello: {{ type: hello.helloworld }}
  state: {{ type: state.in-memory }}
  lock: {{ type: lock.in-memory }}
  ids: {{ type: sequencer.in-memory }}
  settings: {{ type: configuration.in-memory }}
  events: {{ type: pubsub.in-memory }}
  files: {{ type: file.local, settings: {{ rootPath: files }} }}
  web: {{ type: bindings.http, settings: {{ url: 'http://127.0.0.1:{http}' }} }}
  vault: {{ type: secretstores.local.file, settings: {{ secretsFile: vault.json, deniedSecrets: [admin] }} }}
"
    )
}

/// The same, each on something that is not there: `gone` is a file where a folder should be, and nobody listens at
/// port 1.
const DOWN: &str = "
app: { id: orders }
apps: { echo: { addresses: ['127.0.0.1:1'] } }
components:
  state: { type: state.sqlite, settings: { path: gone/db } }
  lock: { type: lock.sqlite, settings: { path: gone/db } }
  ids: { type: sequencer.sqlite, settings: { path: gone/db } }
  settings: { type: configuration.sqlite, settings: { path: gone/db } }
  events: { type: pubsub.sqlite, settings: { path: gone/db } }
  files: { type: file.local, settings: { rootPath: gone/files } }
  web: { type: bindings.http, settings: { url: 'http://127.0.0.1:1' } }
  vault: { type: secretstores.local.file, settings: { secretsFile: missing.json } }
";

type Cells = BTreeMap<(&'static str, &'static str), Code>;

/// Fills cells under one configuration.
fn fill(config: &str, cells: &mut Cells, calls: &[(&'static Rpc, &'static str, Call, &str)]) {
    fill_in(&Folder::with(config), cells, calls);
}

fn fill_in(folder: &Folder, cells: &mut Cells, calls: &[(&'static Rpc, &'static str, Call, &str)]) {
    folder.write("gone", "in the way");
    folder.write("vault.json", r#"{ "db": "x", "admin": "y" }"#);
    std::fs::create_dir(folder.path("files")).unwrap();
    let program = folder.run();
    run(&program, async |client| {
        for (rpc, outcome, call, component) in calls {
            folder.write("files/there", "x");
            let within = tokio::time::timeout(crate::program::PATIENCE, call(client, component)).await;
            let answer = within.unwrap_or_else(|_| panic!("{} hangs: {outcome}", rpc.name));
            cells.insert((rpc.name, outcome), answer.map_or_else(|status| status.code(), |()| Code::Ok));
        }
    });
}

/// Every RPC that is documented to have this outcome, with its right call.
fn with(outcome: &'static str) -> Vec<(&'static Rpc, &'static str, Call, &'static str)> {
    let rpcs = RPCS.iter().filter(|rpc| !rpc.without.contains(&outcome));
    rpcs.map(|rpc| (rpc, outcome, rpc.right, rpc.component)).collect()
}

fn table() -> Cells {
    let working = working(http());
    let mut cells = Cells::new();
    fill(&working, &mut cells, &with("success"));
    let wrong = RPCS.iter().map(|rpc| (rpc, "wrong request", rpc.wrong, rpc.component)).collect::<Vec<_>>();
    fill(&working, &mut cells, &wrong);
    let unknown =
        with("unknown component").into_iter().map(|(rpc, outcome, call, _)| (rpc, outcome, call, "nowhere"));
    fill(&working, &mut cells, &unknown.collect::<Vec<_>>());
    let more = RPCS
        .iter()
        .flat_map(|rpc| rpc.more.iter().map(move |(outcome, _, call)| (rpc, *outcome, *call, rpc.component)));
    fill(&working, &mut cells, &more.collect::<Vec<_>>());
    fill("app: { id: orders }\ncomponents: {}\n", &mut cells, &with("nothing configured"));
    let scoped = working
        .replace(" }\n  ", ", scopes: [billing] }\n  ")
        .replace("[admin] } }", "[admin] }, scopes: [billing] }");
    fill(&scoped, &mut cells, &with("not open to this app"));
    fill(DOWN, &mut cells, &with("component down"));
    let folder = Folder::with(&working).arguments(&["--set", "api.token=s3cret"]);
    fill_in(&folder, &mut cells, &with("no token"));
    cells
}

/// What is documented and was not met, or was met otherwise.
fn differences(cells: &Cells) -> Vec<String> {
    let mut differences = Vec::new();
    let common = RPCS.iter().flat_map(|rpc| {
        OUTCOMES.iter().map(move |(outcome, code)| (rpc, *outcome, rpc.code(outcome, *code)))
    });
    let more =
        RPCS.iter().flat_map(|rpc| rpc.more.iter().map(move |(outcome, code, _)| (rpc, *outcome, *code)));
    for (rpc, outcome, expected) in
        common.filter(|(rpc, outcome, _)| !rpc.without.contains(outcome)).chain(more)
    {
        match cells.get(&(rpc.name, outcome)) {
            Some(code) if *code == expected => {}
            found => differences.push(format!("{} / {outcome}: {found:?} instead of {expected:?}", rpc.name)),
        }
    }
    differences
}

#[test]
fn every_rpc_meets_every_documented_outcome() {
    let mut cells = table();
    for ((rpc, outcome), code) in &cells {
        println!("{rpc:24} {outcome:22} {code:?}");
    }
    assert_eq!(differences(&cells), [""; 0]);
    // Planted: a cell nothing filled, and one with another code, are both noticed.
    cells.remove(&("GetState", "success"));
    cells.insert(("SaveState", "stale etag"), Code::Ok);
    assert_eq!(differences(&cells).len(), 2);
}

#[test]
fn the_table_has_every_rpc_there_is() {
    let set = prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = set.file.iter().flat_map(|file| &file.service);
    let ours = services.filter(|service| ["Runtime", "Lifecycle"].contains(&service.name()));
    let mut methods: Vec<_> =
        ours.flat_map(|service| &service.method).map(|method| method.name().to_owned()).collect();
    methods.sort();
    let mut rows: Vec<_> = RPCS.iter().map(|rpc| rpc.name.to_owned()).collect();
    rows.sort();
    assert_eq!(rows, methods);
}
