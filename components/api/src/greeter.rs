//! The hello block: a greeting, to see that calls arrive.

use async_trait::async_trait;

use crate::{Component, Result};

/// Says hello.
#[async_trait]
pub trait Greeter: Component {
    /// The greeting, for `name` where it is not empty.
    async fn greet(&self, name: &str) -> Result<String>;
}
