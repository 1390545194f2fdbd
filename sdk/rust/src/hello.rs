//! Hello: the smallest call there is.

use outrigger_proto::layotto as proto;

use crate::{Client, Result};

impl Client {
    /// The greeting of the `hello` component of this name, for `name` where it is not empty.
    pub async fn say_hello(&self, component: impl Into<String>, name: impl Into<String>) -> Result<String> {
        let request =
            proto::SayHelloRequest { service_name: component.into(), name: name.into(), data: None };
        Ok(self.runtime().say_hello(self.request(request)).await?.into_inner().hello)
    }
}
