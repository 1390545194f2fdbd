//! Who holds a resource, one caller at a time.

use std::time::Duration;

use outrigger_component_api::{Held, Key};

use super::fixture::*;
use crate::{unique_key, unique_name};

pub async fn ping_succeeds(store: Store) {
    store.ping().await.expect("the probe of a working store");
}

pub async fn free_resource_is_got(store: Store) {
    assert!(take(&store, &unique_key("free"), "a", LONG).await.is_some());
}

pub async fn held_resource_is_refused_to_everybody(store: Store) {
    let resource = unique_key("held");
    assert!(take(&store, &resource, "a", LONG).await.is_some());
    assert_eq!(take(&store, &resource, "b", LONG).await, None, "another owner");
    assert_eq!(take(&store, &resource, "a", LONG).await, None, "the same owner");
}

pub async fn similar_resources_are_apart(store: Store) {
    let name = unique_name("similar");
    let mut similar = vec!["", "x", "/", "/x", " ", "*", ":", "\u{e4}", "X"];
    if is_taken(&store, &Key::new(format!("{name}||")).expect("not empty")).await {
        similar.push("||");
    }
    for suffix in similar.iter().copied().filter(|suffix| *suffix != "||") {
        let resource = Key::new(format!("{name}{suffix}")).expect("not empty");
        assert!(take(&store, &resource, "a", LONG).await.is_some(), "{suffix:?}");
    }
    let plain = Key::new(name.clone()).expect("not empty");
    assert_eq!(unlock(&store, &plain, "a").await, Held::Yes);
    for suffix in similar.into_iter().skip(1) {
        let resource = Key::new(format!("{name}{suffix}")).expect("not empty");
        assert_eq!(take(&store, &resource, "b", LONG).await, None, "{suffix:?} was freed with its prefix");
    }
}

pub async fn owners_are_compared_exactly(store: Store) {
    let resource = unique_key("owners");
    assert!(take(&store, &resource, "Owner", LONG).await.is_some());
    for other in ["owner", "Owner ", "Owne", "Owner\0", "*", "' OR 1=1 --", "Öwner"] {
        assert_eq!(unlock(&store, &resource, other).await, Held::Other, "{other:?}");
    }
    assert_eq!(unlock(&store, &resource, "Owner").await, Held::Yes);
    for odd in ["ä||ö", " ", "0", "a:b/c"] {
        assert!(take(&store, &resource, odd, LONG).await.is_some(), "{odd:?}");
        assert_eq!(unlock(&store, &resource, odd).await, Held::Yes, "{odd:?}");
    }
}

pub async fn unlock_frees(store: Store) {
    let resource = unique_key("unlock");
    for owner in ["a", "b", "a"] {
        assert!(take(&store, &resource, owner, LONG).await.is_some(), "{owner}");
        assert_eq!(unlock(&store, &resource, owner).await, Held::Yes, "{owner}");
        assert_eq!(unlock(&store, &resource, owner).await, Held::Nobody, "{owner} again");
    }
}

pub async fn unlock_by_another_owner_is_refused(store: Store) {
    let resource = unique_key("other");
    assert!(take(&store, &resource, "a", LONG).await.is_some());
    assert_eq!(unlock(&store, &resource, "b").await, Held::Other);
    assert_eq!(take(&store, &resource, "b", LONG).await, None, "it is still held");
    assert_eq!(unlock(&store, &resource, "a").await, Held::Yes);
}

pub async fn unlock_of_a_free_resource_finds_nobody(store: Store) {
    assert_eq!(unlock(&store, &unique_key("never"), "a").await, Held::Nobody);
}

pub async fn keep_alive_by_another_owner_is_refused(store: Store) {
    let resource = unique_key("alive-other");
    assert!(take(&store, &resource, "a", LONG).await.is_some());
    assert_eq!(keep_alive(&store, &resource, "b", LONG).await, Held::Other);
    assert_eq!(unlock(&store, &resource, "a").await, Held::Yes, "it is still the first owner's");
}

pub async fn keep_alive_of_a_free_resource_finds_nobody(store: Store) {
    let resource = unique_key("alive-never");
    assert_eq!(keep_alive(&store, &resource, "a", LONG).await, Held::Nobody);
    assert!(take(&store, &resource, "b", LONG).await.is_some(), "keeping alive takes nothing");
}

/// The wire counts seconds in 31 bits.
pub async fn longest_lease_is_accepted(store: Store) {
    let (resource, ttl) = (unique_key("longest"), Duration::from_secs(i32::MAX.unsigned_abs().into()));
    assert!(take(&store, &resource, "a", ttl).await.is_some());
    assert_eq!(take(&store, &resource, "b", ttl).await, None);
    assert_eq!(keep_alive(&store, &resource, "a", ttl).await, Held::Yes);
    assert_eq!(unlock(&store, &resource, "a").await, Held::Yes);
}
