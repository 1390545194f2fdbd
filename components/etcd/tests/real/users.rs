//! A cluster that asks who is there.

use etcd_client::{Client, Permission, PermissionType};
use outrigger_component_api::{Component as _, ErrorKind, Key, Secret, SetOptions, StateStore as _};
use outrigger_etcd::{EtcdConfig, EtcdState};

use crate::server::Server;
use crate::verdict::recovers;

/// A server with a root, and a user `app` who may only use keys under `/app/`.
async fn guarded() -> Option<(Server, Client)> {
    let server = Server::started()?;
    let probe = EtcdState::new(&server.config()).expect("valid");
    recovers(async || probe.ping().await).await.expect("up");
    let mut client = server.client().await;
    client.user_add("root", "root", None).await.expect("added");
    client.user_grant_role("root", "root").await.expect("granted");
    client.user_add("app", "secret", None).await.expect("added");
    client.role_add("app").await.expect("added");
    let keys = Permission::new(PermissionType::Readwrite, "/app/").with_prefix();
    client.role_grant_permission("app", keys).await.expect("granted");
    client.user_grant_role("app", "app").await.expect("granted");
    client.auth_enable().await.expect("enabled");
    client.update_user(Some(("root".to_owned(), "root".to_owned()))).await.expect("root");
    Some((server, client))
}

fn store(server: &Server, user: (&str, &str), prefix: &str) -> EtcdState {
    let config = EtcdConfig {
        username: user.0.to_owned(),
        password: Secret::new(user.1.to_owned()),
        key_prefix_path: Some(prefix.to_owned()),
        ..server.config()
    };
    EtcdState::new(&config).expect("valid")
}

async fn write(store: &EtcdState) -> Result<(), ErrorKind> {
    let key = Key::new("k").expect("not empty");
    store.set(&key, "v".into(), SetOptions::default()).await.map(drop).map_err(|error| error.kind())
}

#[tokio::test]
async fn users_are_let_in_refused_and_confined() {
    let Some((server, mut root)) = guarded().await else { return };
    assert_eq!(write(&store(&server, ("app", "secret"), "/app")).await, Ok(()));
    assert_eq!(write(&store(&server, ("app", "secret"), "/other")).await, Err(ErrorKind::PermissionDenied));
    assert_eq!(write(&store(&server, ("nobody", "x"), "/app")).await, Err(ErrorKind::Unauthenticated));
    let nameless = EtcdState::new(&server.config()).expect("valid");
    assert_eq!(write(&nameless).await, Err(ErrorKind::Unauthenticated));
    // A password that is put right at the server needs nothing here.
    let wrong = store(&server, ("app", "changed"), "/app");
    assert_eq!(write(&wrong).await, Err(ErrorKind::Unauthenticated));
    let error = wrong.ping().await.expect_err("refused");
    assert!(!format!("{error} {error:?}").contains("changed"), "a password is not told: {error:?}");
    root.user_change_password("app", "changed").await.expect("changed");
    let key = Key::new("k").expect("not empty");
    recovers(async || wrong.set(&key, "v".into(), SetOptions::default()).await)
        .await
        .expect("the password fits now");
}

#[tokio::test]
async fn a_server_that_forgot_who_we_are_is_told_again() {
    let Some((mut server, _)) = guarded().await else { return };
    let store = store(&server, ("app", "secret"), "/app");
    assert_eq!(write(&store).await, Ok(()));
    // Tokens live in its memory.
    server.kill();
    server.start();
    let key = Key::new("k").expect("not empty");
    recovers(async || store.set(&key, "v".into(), SetOptions::default()).await).await.expect("known again");
}
