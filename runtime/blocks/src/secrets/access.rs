//! Which secrets of a store the application may read.

use outrigger_component_api::{ComponentSpec, Error, ErrorKind, Result};
use serde_json::Value;

/// The access rules of one store. A name that is denied stays denied, whatever else is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretAccess {
    /// Where a name is on neither list: may it be read? Names not allowed are closed once any is allowed.
    deny_by_default: bool,
    allowed: Vec<String>,
    denied: Vec<String>,
}

impl SecretAccess {
    /// Takes `defaultAccess`, `allowedSecrets` and `deniedSecrets` out of a component's settings, whose backend would
    /// not know them. The error names the setting.
    pub fn take(spec: &mut ComponentSpec) -> Result<Self> {
        Ok(Self {
            deny_by_default: denies(spec.take("defaultAccess"))
                .map_err(|error| error.with("setting", "defaultAccess"))?,
            allowed: names(spec, "allowedSecrets")?,
            denied: names(spec, "deniedSecrets")?,
        })
    }

    /// Whether the secret may be read.
    pub fn allows(&self, name: &str) -> bool {
        let among = |names: &[String]| names.iter().any(|listed| listed == name);
        if among(&self.denied) {
            return false;
        }
        if self.allowed.is_empty() { !self.deny_by_default } else { among(&self.allowed) }
    }

    /// [`PermissionDenied`](ErrorKind::PermissionDenied) unless [`SecretAccess::allows`].
    pub(super) fn check(&self, store: &str, name: &str) -> Result<()> {
        if self.allows(name) {
            return Ok(());
        }
        let message = format!("secret '{name}' of store '{store}' is not open to the application");
        Err(Error::new(ErrorKind::PermissionDenied, message))
    }
}

fn denies(setting: Option<Value>) -> Result<bool> {
    match setting.as_ref().map(Value::as_str) {
        None => Ok(false),
        Some(Some(word)) if word.eq_ignore_ascii_case("allow") => Ok(false),
        Some(Some(word)) if word.eq_ignore_ascii_case("deny") => Ok(true),
        Some(_) => Err(Error::invalid("defaultAccess is one of allow and deny")),
    }
}

/// A list of names, or one text with commas, which is all that some formats can write.
fn names(spec: &mut ComponentSpec, setting: &'static str) -> Result<Vec<String>> {
    let wrong =
        || Error::invalid(format!("{setting} is a list of names of secrets")).with("setting", setting);
    match spec.take(setting) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(names)) => {
            Ok(names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
        }
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn access(settings: Value) -> Result<SecretAccess> {
        let settings = settings.as_object().expect("an object").clone();
        SecretAccess::take(&mut ComponentSpec { settings, ..ComponentSpec::default() })
    }

    #[test]
    fn denied_beats_allowed_and_allowed_closes_the_rest() {
        let check = |settings: Value, open: [bool; 3]| {
            let access = access(settings.clone()).expect("reads");
            assert_eq!(["a", "b", "c"].map(|name| access.allows(name)), open, "{settings}");
        };
        check(json!({}), [true, true, true]);
        check(json!({"defaultAccess": "Deny"}), [false, false, false]);
        check(json!({"defaultAccess": "deny", "allowedSecrets": ["a"]}), [true, false, false]);
        check(json!({"defaultAccess": "allow", "allowedSecrets": ["a"]}), [true, false, false]);
        check(json!({"deniedSecrets": "a, b"}), [false, false, true]);
        check(json!({"allowedSecrets": "a,b", "deniedSecrets": ["b"]}), [true, false, false]);
    }

    #[test]
    fn a_wrong_rule_is_named() {
        let check = |settings: Value, expected: &str| {
            assert_eq!(access(settings).expect_err("refused").to_string(), expected);
        };
        check(
            json!({"defaultAccess": "maybe"}),
            "defaultAccess is one of allow and deny (setting=defaultAccess)",
        );
        check(
            json!({"deniedSecrets": [1]}),
            "deniedSecrets is a list of names of secrets (setting=deniedSecrets)",
        );
        check(
            json!({"allowedSecrets": {}}),
            "allowedSecrets is a list of names of secrets (setting=allowedSecrets)",
        );
    }
}
