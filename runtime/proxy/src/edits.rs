//! Header changes a route makes, checked once and applied per message.

use std::str::FromStr;

use http::{HeaderName, HeaderValue};
use outrigger_http::{Headers, Problem};

use crate::config::HeaderEdits;

/// Removals, then replacements, then additions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edits {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
}

/// Fields that frame the message or steer it; the proxy owns them.
const RESERVED: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
];

impl Edits {
    /// What cannot work in `config`.
    pub(crate) fn problems(config: &HeaderEdits) -> Vec<Problem> {
        let removed = config.remove.iter().enumerate().filter_map(|(index, text)| {
            name(text).err().map(|message| Problem::new(format!("remove.{index}"), message))
        });
        let written =
            [("set", &config.set), ("add", &config.add)].into_iter().flat_map(|(section, fields)| {
                fields.iter().filter_map(move |(text, value)| {
                    let wrong = name(text).err().or_else(|| self::value(value).err());
                    wrong.map(|message| Problem::new(format!("{section}.{text}"), message))
                })
            });
        removed.chain(written).collect()
    }

    /// Compiles what [`problems`](Self::problems) found nothing wrong with.
    pub(crate) fn new(config: &HeaderEdits) -> Self {
        let fields = |fields: &std::collections::BTreeMap<String, String>| {
            fields
                .iter()
                .filter_map(|(text, value)| Some((name(text).ok()?, self::value(value).ok()?)))
                .collect()
        };
        let remove = config.remove.iter().filter_map(|text| name(text).ok()).collect();
        Self { remove, set: fields(&config.set), add: fields(&config.add) }
    }

    pub(crate) fn apply(&self, headers: &mut Headers) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.set_value(name, value);
        }
        for (name, value) in &self.add {
            headers.append_value(name, value);
        }
    }
}

/// A header name an operator may change.
pub(crate) fn name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_str(text).map_err(|_| format!("`{text}` is not a header name"))?;
    match RESERVED.contains(&name.as_str()) {
        true if name == "host" => Err("`host` is changed with `rewrite.host`".to_owned()),
        true => Err(format!("`{name}` belongs to the framing of the message and cannot be changed")),
        false => Ok(name),
    }
}

pub(crate) fn value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text)
        .map_err(|_| "a header value may hold only visible ASCII, space and tab".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderEdits {
        let fields =
            |fields: &[(&str, &str)]| fields.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        HeaderEdits {
            remove: remove.iter().map(|n| n.to_string()).collect(),
            set: fields(set),
            add: fields(add),
        }
    }

    #[test]
    fn edits_apply_in_order() {
        let config = config(&["a", "b"], &[("b", "new"), ("c", "set")], &[("c", "added"), ("d", "1")]);
        assert_eq!(Edits::problems(&config), []);
        let mut headers = Headers::new();
        for (name, value) in [("A", "1"), ("b", "old"), ("c", "x"), ("c", "y"), ("e", "kept")] {
            headers.append(&name.parse().unwrap(), value).unwrap();
        }
        Edits::new(&config).apply(&mut headers);
        let map = headers.into_map();
        let all = |name: &str| map.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("a"), [""; 0]);
        assert_eq!(all("b"), ["new"]);
        assert_eq!(all("c"), ["set", "added"]);
        assert_eq!(all("d"), ["1"]);
        assert_eq!(all("e"), ["kept"]);
    }

    #[test]
    fn framing_is_not_for_operators() {
        let check = |config: HeaderEdits, path: &str, hint: &str| {
            let problems = Edits::problems(&config);
            assert!(
                problems.len() == 1 && problems[0].path == path && problems[0].message.contains(hint),
                "{problems:?}"
            );
        };
        check(config(&["Host"], &[], &[]), "remove.0", "rewrite.host");
        check(config(&[], &[("Content-Length", "0")], &[]), "set.Content-Length", "framing");
        check(config(&[], &[], &[("a b", "0")]), "add.a b", "not a header name");
        check(config(&[], &[("a", "x\r\ny: z")], &[]), "set.a", "visible ASCII");
    }
}
