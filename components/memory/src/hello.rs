//! A greeting kept in memory, which can be changed while it runs.

use std::sync::Arc;

use outrigger_component_api::{
    Backend, BuildContext, Component, Greeter, Result, Settings, async_trait, parse_settings,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

/// Registers [`HelloWorld`] as `hello.helloworld`.
pub struct HelloWorldBackend;

/// Settings of `hello.helloworld`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HelloWorldConfig {
    /// What it says. Default: `greeting`.
    pub hello: String,
}

impl Default for HelloWorldConfig {
    fn default() -> Self {
        Self { hello: "greeting".to_owned() }
    }
}

#[async_trait]
impl Backend for HelloWorldBackend {
    const TYPE: &'static str = "hello.helloworld";
    const ALIASES: &'static [&'static str] = &["helloworld"];
    const ABOUT: &'static str = "A greeting, to see that calls arrive.";
    type Config = HelloWorldConfig;
    type Block = dyn Greeter;

    async fn build(config: HelloWorldConfig, _: &BuildContext) -> Result<Arc<dyn Greeter>> {
        Ok(Arc::new(HelloWorld::new(config)))
    }
}

/// Greets everybody alike.
pub struct HelloWorld(Mutex<HelloWorldConfig>);

impl HelloWorld {
    /// With this greeting.
    pub fn new(config: HelloWorldConfig) -> Self {
        Self(Mutex::new(config))
    }
}

#[async_trait]
impl Component for HelloWorld {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, settings: Settings) -> Result<()> {
        let config = parse_settings(settings)?;
        *self.0.lock() = config;
        Ok(())
    }
}

#[async_trait]
impl Greeter for HelloWorld {
    async fn greet(&self, name: &str) -> Result<String> {
        let config = self.0.lock();
        Ok(if name.is_empty() { config.hello.clone() } else { format!("{}, {name}", config.hello) })
    }
}

#[cfg(test)]
mod tests {
    use outrigger_component_api::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_greeting_is_changed_whole_or_not_at_all() {
        let hello = HelloWorld::new(HelloWorldConfig::default());
        let says = async |name| hello.greet(name).await.expect("greets");
        assert_eq!((says("").await, says("eva").await), ("greeting".to_owned(), "greeting, eva".to_owned()));
        let settings = |name: &str| Settings::from_iter([(name.to_owned(), "goodbye".into())]);
        let refused = hello.apply(settings("helo")).await.expect_err("no such setting");
        assert_eq!(
            (refused.kind(), says("eva").await),
            (ErrorKind::InvalidArgument, "greeting, eva".to_owned())
        );
        hello.apply(settings("hello")).await.expect("fits");
        assert_eq!(says("eva").await, "goodbye, eva");
    }
}
