//! Operations of other systems.

use crate::Result;
use crate::bindgen::imports::outrigger::functions::bindings as wit;

pub use wit::Response;

/// Has a component carry out one of its operations.
pub fn invoke(
    component: &str,
    operation: &str,
    data: &[u8],
    metadata: &[(String, String)],
) -> Result<Response> {
    wit::invoke(component, operation, data, metadata)
}
