//! What a component imports against what it is granted.

use outrigger_blocks::function::Grants;
use outrigger_blocks::{Error, ErrorKind, Result};
use wasmtime::component::Component;

use crate::imports::{Need, need};

/// # Errors
/// [`PermissionDenied`](ErrorKind::PermissionDenied) for an interface that nothing is granted of.
pub(crate) fn imports(component: &Component, grants: &Grants) -> Result<()> {
    for (import, _) in component.component_type().imports(component.engine()) {
        let interface = import.split('@').next().unwrap_or(import);
        if let Some(Need::Grant(section, of)) = need(interface)
            && of(grants).is_empty()
        {
            let message = format!("it imports {interface}, which needs `grants.{section}`");
            return Err(Error::new(ErrorKind::PermissionDenied, message));
        }
    }
    Ok(())
}
