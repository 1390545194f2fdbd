//! What most of these filters share: a plugin that keeps its configuration and makes a filter for each request.

pub mod layotto;

use std::marker::PhantomData;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Bytes, ContextType};

/// A filter that needs nothing of its plugin but the configuration.
pub trait Filter: HttpContext + 'static {
    /// One for each request.
    fn new(configuration: &str) -> Self
    where
        Self: Sized;
}

/// The plugin of such a filter, for `proxy_wasm::set_root_context`.
pub fn plugin<F: Filter>(_: u32) -> Box<dyn RootContext> {
    Box::new(Plugin::<F> { configuration: String::new(), filter: PhantomData })
}

struct Plugin<F> {
    configuration: String,
    filter: PhantomData<F>,
}

impl<F: Filter> Context for Plugin<F> {}

impl<F: Filter> RootContext for Plugin<F> {
    fn on_configure(&mut self, _: usize) -> bool {
        self.configuration = text(self.get_plugin_configuration());
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(F::new(&self.configuration)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Bytes of the host as text; nothing is the empty text.
pub fn text(bytes: Option<Bytes>) -> String {
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}
