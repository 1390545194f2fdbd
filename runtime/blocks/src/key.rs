//! From the key a caller uses to the key that is stored.

use outrigger_component_api::{ComponentSpec, Error, Key, Result};

/// Stands between prefix and key, and may therefore be part of neither.
const SEPARATOR: &str = "||";
/// What the setting is called.
pub(crate) const SETTING: &str = "keyPrefix";

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
    /// Reads a `keyPrefix` setting that is not empty. Case does not count, also in a text of one's own: existing fleets have stored
    /// their keys that way.
    pub fn parse(setting: &str) -> Result<Self> {
        let setting = setting.to_lowercase();
        if setting.contains(SEPARATOR) {
            return Err(Error::invalid(format!("keyPrefix '{setting}' must not contain '{SEPARATOR}'")));
        }
        Ok(match setting.as_str() {
            "none" => Self::None,
            "name" => Self::Name,
            "appid" => Self::AppId,
            _ => Self::Fixed(setting.into()),
        })
    }

    /// Takes the setting out of a component's settings, whose backend would not know it. Absent or empty is the
    /// block's default.
    pub fn take(spec: &mut ComponentSpec, default: Self) -> Result<Self> {
        let prefix = match spec.take(SETTING) {
            None => Ok(default),
            Some(serde_json::Value::String(setting)) if setting.is_empty() => Ok(default),
            Some(serde_json::Value::String(setting)) => Self::parse(&setting),
            Some(other) => Err(Error::invalid(format!("{SETTING} must be a text, not {other}"))),
        };
        prefix.map_err(|error| error.with("setting", SETTING))
    }

    /// The key as stored, in front of it the name space of the block, if it has one. Empty keys and keys with the
    /// separator are [`InvalidArgument`](outrigger_component_api::ErrorKind::InvalidArgument); `field` is what the
    /// caller calls the key.
    pub(crate) fn apply(
        &self,
        space: &str,
        component: &str,
        app_id: &str,
        field: &str,
        key: &str,
    ) -> Result<Key> {
        if key.is_empty() {
            return Err(Error::invalid(format!("{field} is empty")));
        }
        if key.contains(SEPARATOR) {
            return Err(Error::invalid(format!("{field} '{key}' must not contain '{SEPARATOR}'")));
        }
        let prefix = match self {
            Self::None => "",
            Self::Name => component,
            Self::AppId => app_id,
            Self::Fixed(text) => text,
        };
        let separator = if prefix.is_empty() { "" } else { SEPARATOR };
        Key::new([space, prefix, separator, key].concat())
    }
}

#[cfg(test)]
mod tests {
    use outrigger_component_api::ErrorKind;

    use super::*;

    #[test]
    fn stored_keys_are_those_of_existing_fleets() {
        let check = |setting, app, expected: &str| {
            let key = KeyPrefix::parse(setting).unwrap().apply("", "store1", app, "key", "cart").unwrap();
            assert_eq!(key.as_bytes(), expected.as_bytes(), "{setting}");
            let key =
                KeyPrefix::parse(setting).unwrap().apply("lock|||", "store1", app, "key", "cart").unwrap();
            assert_eq!(key.to_string(), format!("lock|||{expected}"), "{setting}");
        };
        check("none", "orders", "cart");
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
        assert_eq!(KeyPrefix::take(&mut spec, KeyPrefix::None).unwrap(), KeyPrefix::Name);
        assert_eq!(KeyPrefix::take(&mut spec, KeyPrefix::None).unwrap(), KeyPrefix::None);
        assert_eq!(KeyPrefix::take(&mut spec, KeyPrefix::AppId).unwrap(), KeyPrefix::AppId);
        spec.settings.insert("keyPrefix".to_owned(), "".into());
        assert_eq!(KeyPrefix::take(&mut spec, KeyPrefix::AppId).unwrap(), KeyPrefix::AppId);
        spec.settings.insert("keyPrefix".to_owned(), 7.into());
        assert!(KeyPrefix::take(&mut spec, KeyPrefix::None).unwrap_err().message().contains("keyPrefix"));
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
                refused(prefix.apply("", "store1", "orders", "key", key).unwrap_err(), "key");
            }
        }
        assert!(KeyPrefix::None.apply("", "store1", "orders", "key", "a|b").is_ok());
    }
}
