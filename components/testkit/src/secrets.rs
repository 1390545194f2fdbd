//! What every secret store promises, as named cases. The store under test holds exactly [`KNOWN`], or more.

use std::sync::Arc;

use outrigger_component_api::{ErrorKind, SecretOptions, SecretStore};

use crate::in_other_runtime;

/// The secrets a store must hold when it is given to the suite.
pub const KNOWN: [(&str, &str); 3] =
    [("SUITE_ONE", "first"), ("SUITE_TWO", "zwölf \"two\"\n"), ("SUITE_EMPTY", "")];

type Store = Arc<dyn SecretStore>;

/// One test per promise of [`SecretStore`], against the store the expression makes.
#[macro_export]
macro_rules! secret_suite {
    ($make:expr) => {
        $crate::cases! { $make, secrets, $crate::secrets::SecretStoreUnderTest;
            ping_succeeds
            known_secrets_are_read
            unknown_secret_is_not_found
            bulk_has_every_secret_or_is_refused
            values_do_not_show
            outlives_the_runtime_that_used_it_first
        }
    };
}

#[doc(hidden)]
pub use outrigger_component_api::SecretStore as SecretStoreUnderTest;

async fn known(store: &Store) {
    for (name, expected) in KNOWN {
        let values = store.get(name, SecretOptions::default()).await.expect("read");
        assert_eq!(values.len(), 1, "{name}");
        assert_eq!(values.get(name).map(|value| value.expose().as_str()), Some(expected), "{name}");
    }
}

pub async fn ping_succeeds(store: Store) {
    store.ping().await.expect("the probe of a working store");
}

pub async fn known_secrets_are_read(store: Store) {
    known(&store).await;
}

pub async fn unknown_secret_is_not_found(store: Store) {
    for name in ["SUITE_NEVER", "", "suite_one ", "SUITE_ONE\0", "../SUITE_ONE"] {
        let error = store.get(name, SecretOptions::default()).await.expect_err("must be refused");
        assert!(
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument),
            "{name:?}: {error}"
        );
    }
}

pub async fn bulk_has_every_secret_or_is_refused(store: Store) {
    match store.bulk(SecretOptions::default()).await {
        Ok(all) => {
            for (name, expected) in KNOWN {
                let value = all.get(name).and_then(|values| values.get(name));
                assert_eq!(value.map(|value| value.expose().as_str()), Some(expected), "{name}");
            }
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
    }
}

pub async fn values_do_not_show(store: Store) {
    let values = store.get("SUITE_ONE", SecretOptions::default()).await.expect("read");
    assert!(!format!("{values:?}").contains("first"));
}

pub async fn outlives_the_runtime_that_used_it_first(store: Store) {
    let other = Arc::clone(&store);
    in_other_runtime(async move { known(&other).await }).await;
    known(&store).await;
}
