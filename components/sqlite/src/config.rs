//! Settings, and where the file lies when they do not say.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_component_api::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of everything on SQLite.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SqliteConfig {
    /// The database file. Default: `outrigger/outrigger.db` in `$XDG_DATA_HOME`, or else in `~/.local/share`: one file
    /// for all apps of a user on this host.
    pub path: Option<PathBuf>,
    /// Whether an acknowledged write survives a power cut. `full` (the default) waits for the disk before answering;
    /// `off` does not, and a crash of the host may lose acknowledged writes or damage the file.
    pub synchronous: Synchronous,
    /// How long a write waits for other processes that write to the same file. Default: 2s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub busy_timeout: Duration,
    /// The most the database file may grow to, in bytes; writes that need more are refused. 0 is no cap.
    /// Default: 10 GiB.
    pub max_size_bytes: u64,
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// After it has reached the disk.
    #[default]
    Full,
    /// After it has reached the operating system.
    Off,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            path: None,
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(2),
            max_size_bytes: 10 << 30,
        }
    }
}

impl SqliteConfig {
    /// The file to open.
    pub(crate) fn file(&self) -> Result<PathBuf> {
        match &self.path {
            Some(path) if path.as_os_str() == ":memory:" => {
                Err(Error::invalid("path names no file; for a store in memory use the type state.in-memory"))
            }
            Some(path) if path.as_os_str().is_empty() => Err(Error::invalid("path is empty")),
            Some(path) => Ok(path.clone()),
            None => default_file(|name| std::env::var_os(name)),
        }
    }
}

/// The XDG base directory specification: an unset, empty or relative `XDG_DATA_HOME` counts as `~/.local/share`.
fn default_file(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let directory = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = directory("XDG_DATA_HOME").or_else(|| directory("HOME").map(|home| home.join(".local/share")));
    let data = data
        .ok_or_else(|| Error::invalid("there is no place for the store: set path, XDG_DATA_HOME or HOME"))?;
    Ok(data.join("outrigger/outrigger.db"))
}

#[cfg(test)]
mod tests {
    use outrigger_component_api::{Settings, parse_settings};

    use super::*;

    #[test]
    fn the_default_file_follows_the_base_directory_specification() {
        let check = |xdg: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            let variable = |name: &str| if name == "HOME" { home } else { xdg }.map(OsString::from);
            assert_eq!(default_file(variable).ok(), expected.map(PathBuf::from), "{xdg:?} {home:?}");
        };
        check(Some("/data"), Some("/home/me"), Some("/data/outrigger/outrigger.db"));
        check(Some(""), Some("/home/me"), Some("/home/me/.local/share/outrigger/outrigger.db"));
        check(Some("data"), Some("/home/me"), Some("/home/me/.local/share/outrigger/outrigger.db"));
        check(None, Some("/home/me"), Some("/home/me/.local/share/outrigger/outrigger.db"));
        check(None, None, None);
    }

    #[test]
    fn settings_read_as_documented() {
        let read = |json: serde_json::Value| {
            let settings: Settings = json.as_object().cloned().expect("an object");
            parse_settings::<SqliteConfig>(settings)
        };
        let strings = serde_json::json!({
            "path": "/tmp/x.db", "synchronous": "off", "busyTimeout": "250ms", "maxSizeBytes": "4096"
        });
        let expected = SqliteConfig {
            path: Some("/tmp/x.db".into()),
            synchronous: Synchronous::Off,
            busy_timeout: Duration::from_millis(250),
            max_size_bytes: 4096,
        };
        assert_eq!(read(strings).expect("reads"), expected);
        assert_eq!(read(serde_json::json!({})).expect("reads"), SqliteConfig::default());
        let error = read(serde_json::json!({"synchronous": "normal"})).expect_err("refused").to_string();
        assert_eq!(error, "unknown variant `normal`, expected `full` or `off` (setting=synchronous)");
    }

    #[test]
    fn a_path_that_is_no_file_is_refused() {
        for path in ["", ":memory:"] {
            let config = SqliteConfig { path: Some(path.into()), ..SqliteConfig::default() };
            config.file().expect_err("refused");
        }
    }
}
