//! What a component imports against what it is granted.

use outrigger_blocks::Result;
use outrigger_blocks::function::Grants;
use wasmtime::component::Component;

use crate::imports::section;

/// # Errors
/// [`PermissionDenied`](outrigger_blocks::ErrorKind::PermissionDenied) for an interface that nothing is granted of.
pub(crate) fn imports(component: &Component, grants: &Grants) -> Result<()> {
    for (import, _) in component.component_type().imports(component.engine()) {
        let interface = import.split('@').next().unwrap_or(import);
        if let Some(section) = section(interface) {
            grants.import(section, interface)?;
        }
    }
    Ok(())
}
