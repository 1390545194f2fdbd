//! Which backends this program was built with.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use schemars::Schema;

use crate::{
    AppRegistry, Backend, BuildContext, Component, ComponentSpec, ConfigurationStore, Error, ErrorKind,
    FileStore, Greeter, HttpClients, InputBinding, LockStore, OutputBinding, PubSub, Result, SecretStore,
    Sequencer, Settings, StateStore, nearest, settings,
};

/// Names the blocks once: what a component can provide, and its trait.
macro_rules! blocks {
    ($($kind:ident $trait:ident $name:literal $register:ident $doc:literal)*) => {
        /// The blocks a component can provide.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum BlockKind {
            $($kind,)*
        }

        impl BlockKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The block's name in metrics, the actuator and messages.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }

        /// A built component, by the block it provides.
        #[derive(Clone)]
        pub enum Built {
            $($kind(Arc<dyn $trait>),)*
        }

        impl Built {
            pub fn kind(&self) -> BlockKind {
                match self {
                    $(Self::$kind(_) => BlockKind::$kind,)*
                }
            }

            /// The component whatever its block: what the actuator probes.
            pub fn component(&self) -> Arc<dyn Component> {
                match self {
                    $(Self::$kind(component) => Arc::clone(component) as _,)*
                }
            }
        }

        impl Registry {
            $(
                #[doc = $doc]
                pub fn $register<B: Backend<Block = dyn $trait>>(&mut self) {
                    self.add::<B>(BlockKind::$kind, |settings, context| {
                        Box::pin(async move {
                            Ok(Built::$kind(B::build(settings::parse(settings)?, context).await?))
                        })
                    });
                }
            )*
        }
    };
}

blocks! {
    State StateStore "state" state "Registers a state store."
    PubSub PubSub "pubsub" pubsub "Registers a broker."
    Configuration ConfigurationStore "configuration" configuration "Registers a configuration store."
    Lock LockStore "lock" lock "Registers a lock store."
    Sequencer Sequencer "sequencer" sequencer "Registers a sequencer."
    Secrets SecretStore "secrets" secrets "Registers a secret store."
    OutputBinding OutputBinding "bindings" output_binding "Registers an output binding."
    InputBinding InputBinding "input_bindings" input_binding "Registers an input binding."
    File FileStore "file" file "Registers a file store."
    Hello Greeter "hello" hello "Registers a greeter."
    AppRegistry AppRegistry "registry" app_registry "Registers a registry of applications."
}

/// From component type to the backend that provides it. Filled by one visible list at start; nothing registers itself.
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
    http: Option<Arc<dyn HttpClients>>,
}

/// One backend as documentation and `outrigger components` show it.
#[derive(Clone, Copy, Debug)]
pub struct TypeInfo {
    /// The component type.
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub about: &'static str,
    pub kind: BlockKind,
    /// The settings of an example, as text.
    pub example: &'static [(&'static str, &'static str)],
    /// The JSON schema of its settings.
    pub schema: fn() -> Schema,
}

#[derive(Clone, Copy)]
enum Entry {
    Present(Factory),
    /// Known, but this binary was built without the feature.
    Without(&'static str),
}

#[derive(Clone, Copy)]
struct Factory {
    info: TypeInfo,
    check: fn(Settings) -> Result<()>,
    files: fn(Settings) -> Result<Vec<PathBuf>>,
    build: for<'a> fn(Settings, &'a BuildContext) -> Building<'a>,
}

type Building<'a> = Pin<Box<dyn Future<Output = Result<Built>> + Send + 'a>>;

impl Registry {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets components send HTTP requests.
    pub fn carry_http(&mut self, clients: Arc<dyn HttpClients>) {
        self.http = Some(clients);
    }

    /// Registers the fact that a backend exists but was left out, so that using it says why instead of "unknown".
    pub fn without(&mut self, name: &'static str, feature: &'static str) {
        self.entries.insert(name, Entry::Without(feature));
    }

    fn add<B: Backend>(
        &mut self,
        kind: BlockKind,
        build: for<'a> fn(Settings, &'a BuildContext) -> Building<'a>,
    ) {
        let info = TypeInfo {
            name: B::TYPE,
            aliases: B::ALIASES,
            about: B::ABOUT,
            kind,
            example: B::EXAMPLE,
            schema: || schemars::schema_for!(B::Config),
        };
        let check = |settings| settings::parse::<B::Config>(settings).map(drop);
        let files = |settings| settings::parse::<B::Config>(settings).map(|config| B::files(&config));
        for name in std::iter::once(&B::TYPE).chain(B::ALIASES) {
            let previous = self.entries.insert(name, Entry::Present(Factory { info, check, files, build }));
            debug_assert!(previous.is_none(), "{name} is registered twice");
        }
    }

    /// Every backend present, by type name.
    pub fn types(&self) -> impl Iterator<Item = &TypeInfo> {
        self.entries.iter().filter_map(|(name, entry)| match entry {
            Entry::Present(factory) if *name == factory.info.name => Some(&factory.info),
            Entry::Present(_) | Entry::Without(_) => None,
        })
    }

    /// Type names known but not built in, with the feature each needs.
    pub fn left_out(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.entries.iter().filter_map(|(name, entry)| match entry {
            Entry::Without(feature) => Some((*name, *feature)),
            Entry::Present(_) => None,
        })
    }

    /// The backend behind a type name or alias. An unknown name is
    /// [`NotConfigured`](crate::ErrorKind::NotConfigured), with the nearest name and the list of what exists.
    pub fn find(&self, r#type: &str) -> Result<&TypeInfo> {
        self.factory(r#type).map(|factory| &factory.info)
    }

    /// Reads the settings without building anything. Block settings must have been taken out.
    pub fn check(&self, spec: &ComponentSpec) -> Result<()> {
        (self.factory(&spec.r#type)?.check)(spec.settings.clone())
            .map_err(|error| error.with("component", &spec.name))
    }

    /// The files a component looks at again when they change. Block settings must have been taken out.
    pub fn files(&self, spec: &ComponentSpec) -> Result<Vec<PathBuf>> {
        (self.factory(&spec.r#type)?.files)(spec.settings.clone())
            .map_err(|error| error.with("component", &spec.name))
    }

    /// Builds a component. Block settings must have been taken out.
    pub async fn build(&self, spec: &ComponentSpec, app_id: &str) -> Result<Built> {
        let factory = self.factory(&spec.r#type)?;
        let (component, app_id, http) = (spec.name.clone(), app_id.to_owned(), self.http.clone());
        let context = BuildContext { component, app_id, http };
        (factory.build)(spec.settings.clone(), &context)
            .await
            .map_err(|error| error.with("component", &spec.name))
    }

    fn factory(&self, wanted: &str) -> Result<&Factory> {
        match self.entries.get(wanted) {
            Some(Entry::Present(factory)) => Ok(factory),
            Some(Entry::Without(feature)) => {
                let message = format!(
                    "component type {wanted} exists, but this binary was built without the `{feature}` feature"
                );
                Err(Error::new(ErrorKind::NotConfigured, message))
            }
            None => Err(self.unknown(wanted)),
        }
    }

    fn unknown(&self, wanted: &str) -> Error {
        let guess = nearest(wanted, self.entries.keys().copied());
        let guess = guess.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        let known: Vec<&str> = self.types().map(|info| info.name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::new(
            ErrorKind::NotConfigured,
            format!("unknown component type {wanted}{guess} (there are: {known})"),
        )
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::{SecretOptions, SecretValues, async_trait};

    struct Fixed;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct FixedConfig {
        /// What it holds.
        value: String,
    }

    struct FixedStore(String);

    #[async_trait]
    impl Backend for Fixed {
        const TYPE: &'static str = "secretstores.fixed";
        const ALIASES: &'static [&'static str] = &["fixed"];
        const ABOUT: &'static str = "One value for every name.";
        type Config = FixedConfig;
        type Block = dyn SecretStore;

        async fn build(config: FixedConfig, _: &BuildContext) -> Result<Arc<dyn SecretStore>> {
            Ok(Arc::new(FixedStore(config.value)))
        }
    }

    #[async_trait]
    impl Component for FixedStore {
        async fn ping(&self) -> Result<()> {
            Ok(())
        }
    }

    #[async_trait]
    impl SecretStore for FixedStore {
        async fn get(&self, name: &str, _: SecretOptions) -> Result<SecretValues> {
            Ok(SecretValues::from([(name.to_owned(), self.0.clone().into())]))
        }
    }

    fn registry() -> Registry {
        let mut registry = Registry::new();
        registry.secrets::<Fixed>();
        registry.without("state.redis", "redis");
        registry
    }

    fn spec(r#type: &str, setting: &str) -> ComponentSpec {
        let mut spec =
            ComponentSpec { name: "vault".to_owned(), r#type: r#type.to_owned(), ..ComponentSpec::default() };
        spec.settings.insert(setting.to_owned(), 42.into());
        spec
    }

    #[tokio::test]
    async fn builds_by_type_and_by_alias() {
        for name in ["secretstores.fixed", "fixed"] {
            let built = registry().build(&spec(name, "value"), "app").await.expect("builds");
            built.component().ping().await.expect("alive");
            let Built::Secrets(store) = built else { panic!("not a secret store") };
            let secret = store.get("a", SecretOptions::default()).await.expect("reads");
            assert_eq!(secret.get("a").map(|value| value.expose().as_str()), Some("42"));
        }
    }

    #[test]
    fn what_is_missing_is_explained() {
        let check = |r#type, setting, expected: &str| {
            let error = registry().check(&spec(r#type, setting)).expect_err("refused");
            assert_eq!(error.to_string(), expected);
        };
        check(
            "secretstore.fixed",
            "value",
            "unknown component type secretstore.fixed; did you mean secretstores.fixed? (there are: secretstores.fixed)",
        );
        check(
            "bindings.kafka",
            "value",
            "unknown component type bindings.kafka (there are: secretstores.fixed)",
        );
        check(
            "state.redis",
            "value",
            "component type state.redis exists, but this binary was built without the `redis` feature",
        );
        check("fixed", "vaule", "unknown field `vaule`, expected `value` (setting=vaule, component=vault)");
    }

    #[test]
    fn the_list_shows_each_backend_once() {
        let registry = registry();
        assert_eq!(registry.types().map(|info| info.name).collect::<Vec<_>>(), ["secretstores.fixed"]);
        assert_eq!(registry.left_out().collect::<Vec<_>>(), [("state.redis", "redis")]);
        let info = registry.find("fixed").expect("known");
        assert_eq!((info.kind, info.aliases), (BlockKind::Secrets, &["fixed"][..]));
        assert!((info.schema)().get("properties").is_some());
    }
}
