//! From the key a caller uses to the key that is stored.

use outrigger_component_api::{ComponentSpec, Error, Key, Result};

/// Stands between prefix and key, and may therefore be part of neither.
const SEPARATOR: &str = "||";

/// What a component puts before its keys (`keyPrefix`), so that applications can share one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeyPrefix {
    /// `none`: the key as it is.
    #[default]
    None,
    /// `name`: the component's name.
    Name,
    /// `appid`: the calling application; nothing for one without an id.
    AppId,
    /// Anything else: this text.
    Fixed(Box<str>),
}

impl KeyPrefix {
    /// Reads a `keyPrefix` setting. Case does not count, also in a text of one's own: existing fleets have stored
    /// their keys that way.
    pub fn parse(setting: &str) -> Result<Self> {
        let setting = setting.to_lowercase();
        if setting.contains(SEPARATOR) {
            return Err(Error::invalid(format!("keyPrefix '{setting}' must not contain '{SEPARATOR}'")));
        }
        Ok(match setting.as_str() {
            "" | "none" => Self::None,
            "name" => Self::Name,
            "appid" => Self::AppId,
            _ => Self::Fixed(setting.into()),
        })
    }

    /// Takes the setting out of a component's settings, whose backend would not know it. Absent is `none`.
    pub fn take(spec: &mut ComponentSpec) -> Result<Self> {
        match spec.take("keyPrefix") {
            None => Ok(Self::None),
            Some(serde_json::Value::String(setting)) => Self::parse(&setting),
            Some(other) => Err(Error::invalid(format!("keyPrefix must be a text, not {other}"))),
        }
    }

    /// The key as stored. Empty keys and keys with the separator are
    /// [`InvalidArgument`](outrigger_component_api::ErrorKind::InvalidArgument).
    pub(super) fn apply(&self, component: &str, app_id: &str, key: &str) -> Result<Key> {
        if key.is_empty() {
            return Err(Error::invalid("key is empty"));
        }
        if key.contains(SEPARATOR) {
            return Err(Error::invalid(format!("key '{key}' must not contain '{SEPARATOR}'")));
        }
        let prefix = match self {
            Self::None => "",
            Self::Name => component,
            Self::AppId => app_id,
            Self::Fixed(text) => text,
        };
        if prefix.is_empty() {
            return Key::new(key.to_owned());
        }
        let mut stored = String::with_capacity(prefix.len() + SEPARATOR.len() + key.len());
        stored.push_str(prefix);
        stored.push_str(SEPARATOR);
        stored.push_str(key);
        Key::new(stored)
    }
}

#[cfg(test)]
mod tests {
    use outrigger_component_api::ErrorKind;

    use super::*;

    #[test]
    fn stored_keys_are_those_of_existing_fleets() {
        let check = |setting, app, expected: &str| {
            let key = KeyPrefix::parse(setting).unwrap().apply("store1", app, "cart").unwrap();
            assert_eq!(key.as_bytes(), expected.as_bytes(), "{setting}");
        };
        check("none", "orders", "cart");
        check("", "orders", "cart");
        check("name", "orders", "store1||cart");
        check("appid", "orders", "orders||cart");
        check("AppId", "orders", "orders||cart");
        check("appid", "", "cart");
        check("Shared", "orders", "shared||cart");
    }

    #[test]
    fn the_setting_is_taken_out_whatever_its_case() {
        let mut spec = ComponentSpec::default();
        spec.settings.insert("keyprefix".to_owned(), "name".into());
        assert_eq!(KeyPrefix::take(&mut spec).unwrap(), KeyPrefix::Name);
        assert_eq!(KeyPrefix::take(&mut spec).unwrap(), KeyPrefix::None);
        spec.settings.insert("keyPrefix".to_owned(), 7.into());
        assert!(KeyPrefix::take(&mut spec).unwrap_err().message().contains("keyPrefix"));
    }

    #[test]
    fn the_separator_is_refused_on_both_sides() {
        let refused = |error: Error, names: &str| {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(names), "{error}");
        };
        refused(KeyPrefix::parse("a||b").unwrap_err(), "keyPrefix");
        for key in ["a||b", "||", "a|||", ""] {
            for prefix in [KeyPrefix::None, KeyPrefix::Name] {
                refused(prefix.apply("store1", "orders", key).unwrap_err(), "key");
            }
        }
        assert!(KeyPrefix::None.apply("store1", "orders", "a|b").is_ok());
    }
}
