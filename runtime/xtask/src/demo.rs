//! `cargo xtask demo NAME`: the stories of `demo/`. Starts what a story needs and the sidecar on its configuration, and
//! stays; the suite `demos` runs each story's client as well, on free ports, and looks at what it prints.

mod guests;
mod play;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cases::Cases;
use crate::process::wait_until;
use crate::tools::{self, Need, Tools};
use crate::wasm::Kind;
use crate::wasm::functions::Language;
use crate::workspace::{Profile, output, root};
use guests::Guest;
use play::{Backend, Play, Ports, Programs};

/// One folder of `demo/`.
struct Story {
    name: &'static str,
    /// Of `configs/layotto`; empty where the story has a configuration of its own.
    config: &'static str,
    /// A function in a folder of the story that is called as it is; the sidecar finds it in the folder it watches.
    function: Option<(Language, &'static str)>,
    /// Filters and functions in Rust: each is a crate in a folder of the story.
    guests: &'static [Guest],
    /// A file of a guest in whose place there is one that does nothing, for the clients to notice.
    planted: Option<(Kind, &'static str)>,
    servers: &'static [Backend],
    /// An example of the SDK that runs beside the sidecar, and its arguments.
    app: &'static [&'static str],
    clients: &'static [Client],
    /// What a path of the story's own listener answers in the end.
    seen: Option<(&'static str, &'static str)>,
}

/// A client, and what it must print.
enum Client {
    /// An example of the SDK and its arguments.
    Example(&'static [&'static str], &'static [&'static str]),
    /// A Java program on the published SDK.
    Java(&'static str, &'static [&'static str]),
    /// A Python program that needs no packages.
    Python(&'static str, &'static [&'static str]),
    /// A path of the admin listener.
    Get(&'static str, &'static [&'static str]),
    /// A path of the story's own listener.
    Ask(&'static str, &'static [&'static str]),
}

impl Client {
    fn language(&self) -> &'static str {
        match self {
            Self::Example(..) => "Rust",
            Self::Java(..) => "Java",
            Self::Python(..) => "Python",
            Self::Get(..) | Self::Ask(..) => "curl",
        }
    }

    /// How it is called, and what it must print.
    fn command(&self, story: &Story, programs: &Programs, play: &Play) -> (Command, &'static [&'static str]) {
        let mut command = Command::new("timeout");
        command
            .arg("180")
            .env("OUTRIGGER_GRPC_ENDPOINT", &play.endpoint)
            .env("runtime_GRPC_PORT", play.port("34904"))
            .env("APP_PORT", play.port("9999"))
            .env("TOKENS_PORT", play.port("9998"))
            .env("WEB_PORT", play.port("8080"))
            .env("ADMIN_PORT", play.port("34999"))
            .env("DEMO_FOLDER", &play.folder)
            // Quicker than for people.
            .env("BETWEEN", "1.5");
        let expected = match self {
            Self::Example(arguments, expected) => {
                command.args(programs.example(arguments));
                expected
            }
            Self::Java(file, expected) => {
                command.args(["java", "-cp", &tools::class_path()]);
                command.arg(root().join("demo").join(story.name).join(file));
                expected
            }
            Self::Python(file, expected) => {
                command.arg(tools::python("python")).arg(root().join("demo").join(story.name).join(file));
                expected
            }
            Self::Get(path, expected) => {
                // What is asked how it is may not be ready yet, and says so with 503.
                command.args(["curl", "-sS", "--retry", "20", "--retry-delay", "1"]);
                command.arg(format!("http://127.0.0.1:{}{path}", play.port("34999")));
                expected
            }
            Self::Ask(path, expected) => {
                command.args(["curl", "-sS"]).arg(format!("http://127.0.0.1:{}{path}", play.port("8080")));
                expected
            }
        };
        (command, expected)
    }
}

const REDIS: Backend = Backend::Redis { port: "6380", password: "" };

const STORIES: &[Story] = &[
    story(
        "hello",
        "standalone",
        &[],
        &[Client::Example(&["hello", "quick_start_demo", "eva"], &["greeting, eva"])],
    ),
    story("uds", "uds", &[], &[Client::Example(&["hello", "helloworld", "eva"], &["greeting, eva"])]),
    story(
        "lifecycle",
        "standalone",
        &[],
        &[Client::Example(&["lifecycle", "quick_start_demo"], &["greeting, eva", "goodbye, eva"])],
    ),
    story(
        "state",
        "redis",
        &[REDIS],
        &[
            Client::Example(
                &["state", "state_demo"],
                &["two apples", "a stale etag is refused", "today only"],
            ),
            Client::Java("JavaState.java", &["read: two apples", "moved: two apples", "left behind: "]),
        ],
    ),
    Story {
        app: &["app", "pub_subs_demo"],
        ..story(
            "pubsub",
            "standalone",
            &[],
            &[Client::Example(&["publish", "pub_subs_demo"], &["published apples", "published plums"])],
        )
    },
    story(
        "lock",
        "standalone",
        &[],
        &[Client::Example(&["lock", "lock_demo", "state_demo"], &["a second holder: false", "was refused"])],
    ),
    story(
        "sequencer",
        "etcd",
        &[Backend::Etcd],
        &[Client::Example(&["sequencer", "sequencer_demo"], &["order 5"])],
    ),
    story(
        "secret-ref",
        "ref",
        &[Backend::Redis { port: "6380", password: "redis123" }, Backend::Etcd],
        &[Client::Example(&["sequencer", "redis"], &["order 5"])],
    ),
    story(
        "configuration",
        "etcd",
        &[Backend::Etcd],
        &[
            Client::Example(&["configuration", "config_demo"], &["now: ", "green"]),
            Client::Java("JavaConfiguration.java", &["read: blue", "left: 0"]),
        ],
    ),
    story(
        "secrets",
        "standalone",
        &[],
        &[Client::Example(&["secrets", "secret_demo", "db-user-pass:password"], &["8 characters"])],
    ),
    story(
        "files",
        "standalone",
        &[],
        &[Client::Example(&["files", "file_demo"], &["120000 bytes came back"])],
    ),
    story("cron", "cron", &[], &[Client::Example(&["schedule", "tick", "2"], &["tick 1 at", "tick 2 at"])]),
    story(
        "actuator",
        "standalone",
        &[],
        &[Client::Get("/actuator/health/readiness", &["\"status\":\"UP\"", "components"])],
    ),
    Story {
        function: Some((Language::JavaScript, "visits")),
        ..story("function-state", "", &[], &[Client::Ask("/garden", &["/garden was visited 1 times"])])
    },
    Story {
        function: Some((Language::Python, "stock")),
        seen: Some(("/plums", "plums: 1 so far")),
        ..story("function-topic", "", &[], &[Client::Example(&["publish"], &["published plums"])])
    },
    FILTER_JWT,
    HOT_SWAP,
];

const FILTER_JWT: Story = Story {
    guests: &[Guest { kind: Kind::Filter, name: "jwt", features: &[] }],
    ..story("filter-jwt", "", &[], &[Client::Python("visitors.py", &["everything went as it should"])])
};

const HOT_SWAP: Story = Story {
    guests: &[
        Guest { kind: Kind::Function, name: "answer", features: &["v2"] },
        Guest { kind: Kind::Filter, name: "stamp", features: &["v2"] },
    ],
    ..story("hot-swap", "", &[], &[Client::Python("swap.py", &["none failed, each was counted once"])])
};

/// What their clients say when a guest does nothing.
const PLANTED: [(Story, &str); 3] = [
    (Story { planted: Some((Kind::Filter, "jwt.wasm")), ..FILTER_JWT }, "WRONG no token: 200 welcome"),
    (
        Story { planted: Some((Kind::Function, "answer-v2.wasm")), ..HOT_SWAP },
        "requests failed, the first with 200 ''",
    ),
    (Story { planted: Some((Kind::Filter, "stamp-v2.wasm")), ..HOT_SWAP }, "stamped None and None"),
];

const fn story(
    name: &'static str,
    config: &'static str,
    servers: &'static [Backend],
    clients: &'static [Client],
) -> Story {
    Story { name, config, function: None, guests: &[], planted: None, servers, app: &[], clients, seen: None }
}

/// The stories there are.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    STORIES.iter().map(|story| story.name)
}

/// Plays a story on the ports its configuration names, until it is interrupted.
pub(crate) fn run(name: &str) -> Result<()> {
    let story = STORIES.iter().find(|story| story.name == name).context("there is no such story")?;
    let needs: Vec<Need> = story.servers.iter().map(|server| server.need()).collect();
    if let Some((language, _)) = story.function {
        language.toolchain()?;
    }
    if let Some(why) = Tools::install(&needs).lacks(&needs) {
        bail!("{why}");
    }
    let programs = Programs::build(Profile::Dev)?;
    let mut play = Play::start(story, &programs, Ports::Documented)?;
    println!("demo/{name}/README.md has the application's side; Ctrl-C ends this one");
    play.sidecar.wait_end(Duration::from_secs(24 * 60 * 60)).map(drop)
}

/// Every story on free ports, with its clients.
pub(crate) fn suite(cases: &mut Cases) -> Result<()> {
    let programs = Programs::build(Profile::Release)?;
    for story in STORIES {
        for client in story.clients {
            cases.case(&format!("demo/{} ({})", story.name, client.language()), || {
                tell(story, client, &programs)
            });
        }
    }
    cases.case("planted: a story whose client prints something else is noticed", || {
        let wrong = Client::Example(&["hello", "quick_start_demo", "eva"], &["greeting, adam"]);
        let story = STORIES.first().context("there are stories")?;
        let noticed =
            tell(story, &wrong, &programs).is_err_and(|why| why.to_string().contains("did not print"));
        ensure!(noticed, "it was not");
        Ok(())
    });
    for (story, told) in &PLANTED {
        let (_, file) = story.planted.unwrap_or((Kind::Filter, ""));
        cases.case(&format!("planted: demo/{}, where {file} does nothing", story.name), || {
            let client = story.clients.first().context("it has a client")?;
            match tell(story, client, &programs) {
                Ok(()) => bail!("its client did not notice"),
                Err(error) => ensure!(error.to_string().contains(told), "it said {error:#}"),
            }
            Ok(())
        });
    }
    Ok(())
}

/// Whether a folder of `demo/` has a configuration that names modules, which are there when it is played.
pub(crate) fn names_modules(folder: &Path) -> bool {
    STORIES.iter().any(|story| !story.guests.is_empty() && folder.ends_with(story.name))
}

fn tell(story: &Story, client: &Client, programs: &Programs) -> Result<()> {
    let play = Play::start(story, programs, Ports::Free)?;
    let (mut command, expected) = client.command(story, programs, &play);
    let printed = output(&mut command)?;
    let missing: Vec<_> = expected.iter().filter(|text| !printed.contains(**text)).collect();
    ensure!(missing.is_empty(), "it did not print {missing:?} but:\n{printed}");
    if let Some((path, text)) = story.seen {
        let (mut ask, _) = Client::Ask(path, &[]).command(story, programs, &play);
        wait_until(&format!("{path} answers `{text}`"), Duration::from_secs(60), || {
            output(&mut ask).is_ok_and(|printed| printed.contains(text))
        })?;
    }
    play.app.as_ref().map_or(Ok(()), |app| {
        wait_until("the application sees the events", Duration::from_secs(60), || {
            app.log_tail().contains("plums")
        })
        .map(drop)
    })
}
