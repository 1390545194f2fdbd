//! Hello, the smallest call there is, and changing a component while the sidecar runs.

use outrigger_proto::layotto as proto;

use crate::{Client, Result};

impl Client {
    /// The greeting of the `hello` component of this name, for `name` where it is not empty.
    pub async fn say_hello(&self, component: impl Into<String>, name: impl Into<String>) -> Result<String> {
        let request =
            proto::SayHelloRequest { service_name: component.into(), name: name.into(), data: None };
        Ok(self.runtime().say_hello(self.request(request)).await?.into_inner().hello)
    }

    /// Gives a component new settings, all of them, while the sidecar runs. `kind` is the section of Layotto's
    /// configuration: `hellos`. A component that cannot change is
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub async fn apply_configuration<K: Into<String>, V: Into<String>>(
        &self,
        kind: impl Into<String>,
        name: impl Into<String>,
        settings: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        let metadata = settings.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let config = proto::ComponentConfig { kind: kind.into(), name: name.into(), metadata };
        let request = proto::DynamicConfiguration { component_config: Some(config) };
        self.lifecycle().apply_configuration(self.request(request)).await?;
        Ok(())
    }
}
