use std::sync::Arc;

use outrigger_component_api::{Component, ComponentSpec, ErrorKind, SecretStore, Settings, async_trait};
use outrigger_telemetry::Metrics;
use serde_json::json;

use super::*;
use crate::{Member, Meter, Policy};

/// Two secrets; it cannot list them unless told that it can.
struct Vault {
    lists: bool,
}

#[async_trait]
impl Component for Vault {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl SecretStore for Vault {
    async fn get(&self, name: &str, options: SecretOptions) -> Result<SecretValues> {
        match name {
            "db" | "mail" => {
                let value =
                    format!("{name}{}", options.metadata.get("version_id").map_or("", String::as_str));
                Ok(SecretValues::from([(name.to_owned(), value.into())]))
            }
            _ => Err(Error::new(ErrorKind::NotFound, "no such secret")),
        }
    }

    async fn bulk(&self, options: SecretOptions) -> Result<BTreeMap<String, SecretValues>> {
        if !self.lists {
            return Err(Error::unsupported("listing secrets"));
        }
        let mut all = BTreeMap::new();
        for name in ["db", "mail"] {
            all.insert(name.to_owned(), self.get(name, options.clone()).await?);
        }
        Ok(all)
    }
}

fn secrets(lists: bool, settings: serde_json::Value) -> Secrets {
    let settings: Settings = settings.as_object().expect("an object").clone();
    let scopes = vec!["orders".to_owned()];
    let mut spec = ComponentSpec { name: "vault".to_owned(), settings, scopes, ..ComponentSpec::default() };
    let member = SecretComponent::from_spec(&mut spec, Policy::default(), &Meter::new(&Metrics::new()));
    let member = member.expect("fits");
    assert!(spec.settings.is_empty(), "the backend would not know {:?}", spec.settings);
    member.slot().ready(Arc::new(Vault { lists }));
    let secrets = Secrets::default();
    secrets.stores.replace([Arc::new(member)]);
    secrets
}

fn orders() -> Caller<'static> {
    Caller::new("orders")
}

#[tokio::test]
async fn a_secret_is_read_with_what_the_caller_sent_along() {
    let secrets = secrets(true, json!({}));
    let options = SecretOptions { metadata: [("version_id".to_owned(), "7".to_owned())].into() };
    let values = secrets.get(&orders(), "vault", "db", options).await.expect("reads");
    assert_eq!(values["db"].expose(), "db7");
    assert!(!format!("{values:?}").contains("db7"));
}

#[tokio::test]
async fn what_is_closed_is_neither_read_nor_listed() {
    let secrets = secrets(true, json!({"deniedSecrets": ["db", "ghost"]}));
    for name in ["db", "ghost"] {
        let refused = secrets.get(&orders(), "vault", name, SecretOptions::default()).await;
        assert_eq!(refused.expect_err("closed").kind(), ErrorKind::PermissionDenied, "{name}");
    }
    let all = secrets.bulk(&orders(), "vault", SecretOptions::default()).await.expect("lists");
    assert_eq!(all.keys().collect::<Vec<_>>(), ["mail"]);
}

#[tokio::test]
async fn each_mistake_has_its_kind() {
    let secrets = secrets(false, json!({}));
    let check = async |caller: &Caller<'_>, store: &str, name: &str, expected: ErrorKind| {
        let error = secrets.get(caller, store, name, SecretOptions::default()).await.expect_err("refused");
        assert_eq!(error.kind(), expected, "{error}");
    };
    check(&orders(), "valut", "db", ErrorKind::NotConfigured).await;
    check(&orders(), "vault", "", ErrorKind::InvalidArgument).await;
    check(&orders(), "vault", "ghost", ErrorKind::NotFound).await;
    check(&Caller::new("stranger"), "vault", "db", ErrorKind::PermissionDenied).await;
    let bulk = secrets.bulk(&orders(), "vault", SecretOptions::default()).await;
    assert_eq!(bulk.expect_err("cannot list").kind(), ErrorKind::Unsupported);
    let nothing = Secrets::default().get(&orders(), "vault", "db", SecretOptions::default()).await;
    assert_eq!(nothing.expect_err("none").kind(), ErrorKind::FailedPrecondition);
}
