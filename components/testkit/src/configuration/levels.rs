//! Applications, groups and labels.

use outrigger_component_api::{ConfigurationItem as Item, ErrorKind, Selector};

use super::fixture::*;

/// The same item on several levels: application, group, label.
fn place(app: &str, group: &str, label: &str, key: &str) -> (Selector, Item) {
    let selector = Selector { group: group.to_owned(), label: label.to_owned(), ..of(app, &[key]) };
    let item = Item { group: group.to_owned(), label: label.to_owned(), ..item(key, "") };
    (selector, item)
}

async fn kept_apart(store: &Store, places: &[(Selector, Item)]) {
    for (at, (selector, item)) in places.iter().enumerate() {
        let item = Item { content: at.to_string(), ..item.clone() };
        store.save(&selector.app_id, vec![item]).await.expect("saved");
    }
    for (at, (selector, item)) in places.iter().enumerate() {
        let found = get(store, selector).await;
        assert_eq!(found.iter().map(|item| item.content.clone()).collect::<Vec<_>>(), [at.to_string()]);
        let named = |asked: &str, found: &str| asked.is_empty() || asked == found;
        let there = found.first().expect("found");
        assert!(named(&item.group, &there.group) && named(&item.label, &there.label), "{there:?}");
    }
    let Some(((first, _), others)) = places.split_first() else { return };
    store.delete(first).await.expect("deleted");
    assert_eq!(get(store, first).await, []);
    for (selector, _) in others {
        assert_eq!(get(store, selector).await.len(), 1, "{selector:?} went with {first:?}");
    }
}

pub async fn levels_keep_apart_or_are_refused(store: Store) {
    if !is_writable(&store).await {
        return;
    }
    let [key] = keys(["level"]);
    let (one, two) = (app(), app());
    if store.capabilities().levels {
        let places = [(&one, "", ""), (&two, "", ""), (&one, "g", ""), (&one, "", "l"), (&one, "g", "l")];
        let places = places.map(|(app, group, label)| place(app, group, label, &key));
        return kept_apart(&store, &places).await;
    }
    for (group, label) in [("g", ""), ("", "l")] {
        let (selector, item) = place(&one, group, label, &key);
        refused(store.save(&one, vec![item]).await, &[ErrorKind::InvalidArgument]);
        refused(store.get(&selector).await, &[ErrorKind::InvalidArgument]);
        refused(store.delete(&selector).await, &[ErrorKind::InvalidArgument]);
    }
    assert_eq!(content(&store, &one, &key).await, None);
}

/// However a store puts the levels together, different ones stay different.
pub async fn levels_do_not_run_together(store: Store) {
    if !(is_writable(&store).await && store.capabilities().levels) {
        return;
    }
    let app = app();
    for between in ["/", "||", ":", "@$"] {
        let joined = |a: &str, b: &str| format!("{a}{between}{b}");
        let places = [
            place(&app, "b", "c", "d"),
            place(&app, &joined("b", "c"), "c", "d"),
            place(&app, "b", &joined("c", "d"), "d"),
            place(&app, "b", "c", &joined("c", "d")),
            place(&joined(&app, "b"), "c", "c", "d"),
        ];
        kept_apart(&store, &places).await;
    }
}
