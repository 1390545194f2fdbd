//! What differs between Redis and etcd: their components, and how an operator changes a password.

use serde_json::{Value, json};

use super::stage::Block;
use crate::{http::send, servers::Server};

/// What the sidecar is told. Nothing it says may hold this.
pub(super) const PASSWORD: &str = "hunter2";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Backend {
    Redis,
    Etcd,
}

impl Backend {
    /// A server that asks for the password, and runs.
    pub(super) fn server(self) -> Option<Server> {
        match self {
            Self::Redis => {
                let mut server = Server::redis(&["--requirepass", PASSWORD])?;
                server.start();
                Some(server)
            }
            Self::Etcd => {
                let mut server = Server::etcd()?;
                server.start();
                turn_on_users(&server);
                Some(server)
            }
        }
    }

    /// The blocks it can serve.
    pub(super) fn blocks(self) -> &'static [Block] {
        use Block::{Configuration, Lock, PubSub, Sequencer, State};
        match self {
            Self::Redis => &[State, Lock, Sequencer, Configuration, PubSub],
            Self::Etcd => &[State, Lock, Sequencer, Configuration],
        }
    }

    /// How its components reach this address.
    pub(super) fn settings(self, address: &str) -> String {
        match self {
            Self::Redis => format!("redisHost: '{address}', redisPassword: {PASSWORD}"),
            Self::Etcd => format!("endpoints: '{address}', username: app, password: {PASSWORD}"),
        }
    }

    pub(super) fn technology(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Etcd => "etcd",
        }
    }

    /// Changes the sidecar's password, also for the connections it has.
    pub(super) fn change_password(self, server: &Server, old: &str, new: &str) {
        match self {
            Self::Redis => {
                let (login, change) = (format!("AUTH {old}"), format!("CONFIG SET requirepass {new}"));
                let kill = ["CLIENT KILL TYPE normal SKIPME yes", "CLIENT KILL TYPE pubsub"];
                let said = server.ask(&[&login, &change, kill[0], kill[1]]);
                assert!(said.starts_with("+OK\r\n+OK\r\n:"), "{said}");
            }
            Self::Etcd => {
                let login = call(server, "", "authenticate", json!({ "name": "root", "password": "root" }));
                let token = login["token"].as_str().unwrap();
                call(server, token, "user/changepw", json!({ "name": "app", "password": new }));
            }
        }
    }
}

/// Makes etcd ask who is there: `root`, and `app` as which the sidecar comes.
fn turn_on_users(server: &Server) {
    for (name, password) in [("root", "root"), ("app", PASSWORD)] {
        call(server, "", "user/add", json!({ "name": name, "password": password }));
        call(server, "", "user/grant", json!({ "user": name, "role": "root" }));
    }
    call(server, "", "enable", json!({}));
}

/// etcd's own gateway from HTTP.
fn call(server: &Server, token: &str, what: &str, body: Value) -> Value {
    let address = ([127, 0, 0, 1], server.port()).into();
    let headers: &[_] = if token.is_empty() { &[] } else { &[("authorization", token)] };
    let answer = send(address, "POST", &format!("/v3/auth/{what}"), headers, &body.to_string());
    assert_eq!(answer.status, 200, "{what}: {}", answer.body);
    answer.json()
}
