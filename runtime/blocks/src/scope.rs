//! Which applications may use a component.

use outrigger_component_api::{Error, ErrorKind, Result};

/// The applications a component is open to; an empty list is open to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// Open to these applications only, or to all when there are none.
    pub fn new(apps: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(apps.into_iter().map(Into::into).collect())
    }

    /// Whether this application is among them.
    pub fn allow(&self, app_id: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|app| app == app_id)
    }

    /// [`PermissionDenied`](ErrorKind::PermissionDenied) unless [`Scopes::allow`].
    pub(crate) fn check(&self, component: &str, app_id: &str) -> Result<()> {
        if self.allow(app_id) {
            return Ok(());
        }
        let message = match app_id {
            "" => format!(
                "component '{component}' is open to some apps only, and this one has no id: set app.id"
            ),
            app => format!(
                "component '{component}' is not open to app '{app}': add it to the component's scopes"
            ),
        };
        Err(Error::new(ErrorKind::PermissionDenied, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_open_to_all() {
        let check = |scopes: &[&str], app: &str, allowed: bool| {
            let scopes = Scopes::new(scopes.iter().copied());
            assert_eq!(scopes.allow(app), allowed, "{scopes:?} {app}");
            let kind = scopes.check("cart", app).err().map(|error| error.kind());
            assert_eq!(kind, (!allowed).then_some(ErrorKind::PermissionDenied));
        };
        check(&[], "orders", true);
        check(&[], "", true);
        check(&["orders", "cart"], "cart", true);
        check(&["orders"], "Orders", false);
        check(&["orders"], "", false);
    }
}
