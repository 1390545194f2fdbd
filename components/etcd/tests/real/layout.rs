//! What lies in the cluster, as another client finds it: existing fleets share it.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Client, GetOptions, PutOptions};
use outrigger_component_api::{
    ConfigurationItem as Item, ConfigurationStore as _, Held, Key, LockStore as _, NextOptions, Selector,
    Sequencer as _, SetOptions, StateStore as _,
};
use outrigger_etcd::{EtcdConfig, EtcdConfiguration, EtcdLock, EtcdSequencer, EtcdState};

use crate::server::Server;
use crate::verdict::recovers;

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

/// All keys, and their values.
async fn all(client: &mut Client) -> BTreeMap<String, String> {
    let all = client.get("", Some(GetOptions::new().with_all_keys())).await.expect("read");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    all.kvs().iter().map(|pair| (text(pair.key()), text(pair.value()))).collect()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn keys_and_values_are_those_of_existing_fleets() {
    let Some(server) = Server::started() else { return };
    let state = EtcdState::new(&server.config()).expect("valid");
    recovers(async || state.set(&key("app||cart"), "value".into(), SetOptions::default()).await)
        .await
        .expect("up");
    let prefixed = EtcdConfig { key_prefix_path: Some("/lock".to_owned()), ..server.config() };
    let lock = EtcdLock::new(&prefixed).expect("valid");
    lock.try_lock(&key("lock|||app||order"), "me", Duration::from_secs(60))
        .await
        .expect("got")
        .expect("free");
    let sequencer = EtcdSequencer::new(&server.config()).expect("valid");
    sequencer.next(&key("sequencer|||app||id"), NextOptions::default()).await.expect("a number");
    let configuration = EtcdConfiguration::new(&server.config()).expect("valid");
    let item = Item { key: "k".to_owned(), content: "c".to_owned(), ..Item::default() };
    configuration.save("app", vec![item.clone()]).await.expect("saved");

    let mut client = server.client().await;
    let expected = pairs([
        ("/layotto/app||cart", "value"),
        ("/lock/lock|||app||order", "me"),
        ("/layotto/sequencer|||app||id", ""),
        ("/app/default/default/k", "c"),
    ]);
    assert_eq!(all(&mut client).await, expected);

    let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    configuration.save("app", vec![Item { tags: tags.clone(), ..item }]).await.expect("saved");
    assert_eq!(all(&mut client).await["/app/default/default/k\0tags"], r#"{"a":"b"}"#);
    // Another client knows nothing of tags: they are not those of what it writes.
    let selector = Selector { app_id: "app".to_owned(), ..Selector::default() };
    assert_eq!(configuration.get(&selector).await.expect("read")[0].tags, tags);
    client.put("/app/default/default/k", "theirs", None).await.expect("written");
    let read = configuration.get(&selector).await.expect("read");
    assert_eq!((read.len(), read[0].content.as_str(), read[0].tags.len()), (1, "theirs", 0));
    // Deleting is exact, and takes the tags along.
    client.put("/app/default/default/key", "longer", None).await.expect("written");
    configuration.delete(&Selector { keys: vec!["k".to_owned()], ..selector }).await.expect("deleted");
    let left: Vec<String> =
        all(&mut client).await.into_keys().filter(|key| key.starts_with("/app/")).collect();
    assert_eq!(left, ["/app/default/default/key"]);
}

#[tokio::test]
async fn locks_and_numbers_of_layotto_are_respected() {
    let Some(server) = Server::started() else { return };
    let lock = EtcdLock::new(&server.config()).expect("valid");
    recovers(async || lock.unlock(&key("r"), "me").await).await.expect("up");
    let mut client = server.client().await;
    let lease = client.lease_grant(60, None).await.expect("granted").id();
    client.put("/layotto/r", "theirs", Some(PutOptions::new().with_lease(lease))).await.expect("written");
    assert_eq!(lock.try_lock(&key("r"), "me", Duration::from_secs(5)).await.expect("answered"), None);
    assert_eq!(lock.unlock(&key("r"), "me").await.expect("answered"), Held::Other);
    assert_eq!(lock.unlock(&key("r"), "theirs").await.expect("answered"), Held::Yes);

    let sequencer = EtcdSequencer::new(&server.config()).expect("valid");
    for _ in 0..3 {
        client.put("/layotto/s", "", None).await.expect("counted");
    }
    assert_eq!(sequencer.next(&key("s"), NextOptions::default()).await.expect("a number"), 4);
    client.put("/layotto/s", "", None).await.expect("counted");
    assert_eq!(sequencer.next(&key("s"), NextOptions::default()).await.expect("a number"), 6);
}

#[tokio::test]
async fn no_lease_is_left_behind() {
    let Some(server) = Server::started() else { return };
    let lock = EtcdLock::new(&server.config()).expect("valid");
    let (hour, resource) = (Duration::from_secs(3600), key("r"));
    recovers(async || lock.unlock(&resource, "me").await).await.expect("up");
    lock.try_lock(&resource, "me", hour).await.expect("answered").expect("free");
    for owner in ["me", "other"] {
        assert_eq!(lock.try_lock(&resource, owner, hour).await.expect("answered"), None);
    }
    assert_eq!(lock.keep_alive(&resource, "me", hour).await.expect("answered"), Held::Yes);
    let mut client = server.client().await;
    assert_eq!(client.leases().await.expect("listed").leases().len(), 1, "that of the holder");
    assert_eq!(lock.unlock(&resource, "me").await.expect("answered"), Held::Yes);
    assert_eq!(client.leases().await.expect("listed").leases().len(), 0);
}
