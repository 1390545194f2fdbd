//! Secrets from a JSON file, read again when the file changes.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::ErrorKind as IoKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use outrigger_component_api::{
    Backend, BuildContext, Component, Error, ErrorKind, Result, SecretOptions, SecretStore, SecretValues,
    async_trait,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::flatten;

type Secrets = BTreeMap<String, SecretValues>;

/// Registers [`FileSecrets`] as `secretstores.local.file`.
pub struct FileSecretsBackend;

/// Settings of `secretstores.local.file`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FileSecretsConfig {
    /// The JSON file, an object at its top; relative to the directory the sidecar was started in.
    pub secrets_file: PathBuf,
    /// What joins the levels of nested names. Default: `:`.
    #[serde(default = "colon")]
    pub nested_separator: String,
    /// Whether each top-level name is one secret of several values, instead of each leaf being a secret.
    /// Default: false.
    #[serde(default)]
    pub multi_valued: bool,
}

fn colon() -> String {
    ":".to_owned()
}

#[async_trait]
impl Backend for FileSecretsBackend {
    const TYPE: &'static str = "secretstores.local.file";
    const ALIASES: &'static [&'static str] = &["local.file"];
    const ABOUT: &'static str = "Secrets from a JSON file.";
    const EXAMPLE: &'static [(&'static str, &'static str)] = &[("secretsFile", "secrets.json")];
    type Config = FileSecretsConfig;
    type Block = dyn SecretStore;

    fn files(config: &FileSecretsConfig) -> Vec<PathBuf> {
        vec![config.secrets_file.clone()]
    }

    async fn build(config: FileSecretsConfig, _: &BuildContext) -> Result<Arc<dyn SecretStore>> {
        Ok(Arc::new(FileSecrets::open(config)?))
    }
}

/// A file of secrets and what it last said.
pub struct FileSecrets {
    config: FileSecretsConfig,
    read: Mutex<(Stamp, Arc<Secrets>)>,
}

/// Tells one writing of the file from the next: editors rename over it, mounted secrets swap a link.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self { modified: metadata.modified().ok(), length: metadata.len(), inode }
    }
}

impl FileSecrets {
    /// Reads the file for the first time; one that is missing or malformed is a mistake in the configuration.
    pub fn open(config: FileSecretsConfig) -> Result<Self> {
        if config.nested_separator.is_empty() {
            return Err(Error::invalid("nestedSeparator is empty; leave it out for the default `:`"));
        }
        let stamp = stamp(&config)?;
        let secrets = load(&config)?;
        Ok(Self { config, read: Mutex::new((stamp, Arc::new(secrets))) })
    }

    /// What the file says now. A stat per call, a read only after a change: small local files, so neither is worth a
    /// hop to another thread.
    fn current(&self) -> Result<Arc<Secrets>> {
        let stamp = stamp(&self.config)?;
        let mut read = self.read.lock();
        if read.0 != stamp {
            *read = (stamp, Arc::new(load(&self.config)?));
        }
        Ok(Arc::clone(&read.1))
    }
}

fn stamp(config: &FileSecretsConfig) -> Result<Stamp> {
    fs::metadata(&config.secrets_file)
        .map(|metadata| Stamp::of(&metadata))
        .map_err(|error| unreadable(config, error))
}

fn load(config: &FileSecretsConfig) -> Result<Secrets> {
    let text = fs::read(&config.secrets_file).map_err(|error| unreadable(config, error))?;
    let file = serde_json::from_slice(&text).map_err(|error| {
        // serde's message may quote the offending value, which may be a secret: only the place is shown.
        let place = format!("{}:{}", error.line(), error.column());
        Error::invalid("secretsFile is not a JSON object")
            .with("file", config.secrets_file.display())
            .with("at", place)
    })?;
    flatten::secrets(file, &config.nested_separator, config.multi_valued)
}

fn unreadable(config: &FileSecretsConfig, error: std::io::Error) -> Error {
    let (kind, message) = match error.kind() {
        IoKind::NotFound => (ErrorKind::InvalidArgument, "secretsFile does not exist"),
        IoKind::PermissionDenied => (ErrorKind::InvalidArgument, "secretsFile may not be read by this user"),
        _ => (ErrorKind::Unavailable, "secretsFile cannot be read"),
    };
    Error::new(kind, message).with("file", config.secrets_file.display()).with_source(error)
}

#[async_trait]
impl Component for FileSecrets {
    async fn ping(&self) -> Result<()> {
        self.current().map(drop)
    }
}

#[async_trait]
impl SecretStore for FileSecrets {
    async fn get(&self, name: &str, _: SecretOptions) -> Result<SecretValues> {
        let secrets = self.current()?;
        let found = secrets.get(name).cloned();
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the file has no such secret").with("secret", name)
        })
    }

    async fn bulk(&self, _: SecretOptions) -> Result<Secrets> {
        Ok(self.current()?.as_ref().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(text: &str) -> (Result<FileSecrets>, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let secrets_file = directory.path().join("secrets.json");
        fs::write(&secrets_file, text).expect("written");
        let config = FileSecretsConfig { secrets_file, nested_separator: colon(), multi_valued: false };
        (FileSecrets::open(config), directory)
    }

    #[tokio::test]
    async fn a_change_of_the_file_is_seen() {
        let (store, _directory) = store(r#"{"a": "old"}"#);
        let store = store.expect("opens");
        // Renamed into place, as editors and mounted secrets do: the same length and perhaps the same instant.
        let next = store.config.secrets_file.with_extension("next");
        fs::write(&next, r#"{"a": "new"}"#).expect("written");
        fs::rename(&next, &store.config.secrets_file).expect("renamed");
        let values = store.get("a", SecretOptions::default()).await.expect("reads");
        assert_eq!(values.get("a").map(|value| value.expose().as_str()), Some("new"));
        fs::remove_file(&store.config.secrets_file).expect("removed");
        store.ping().await.expect_err("the probe looks at the file");
    }

    #[test]
    fn a_malformed_file_is_refused_without_quoting_it() {
        let (store, _directory) = store("{\"a\": \"hunter2\",\n \"b\" hunter2}");
        let error = store.err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("at=2:6"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let config = FileSecretsConfig {
            secrets_file: "/nowhere/s.json".into(),
            nested_separator: colon(),
            multi_valued: false,
        };
        let error = FileSecrets::open(config).err().expect("refused").to_string();
        assert_eq!(error, "secretsFile does not exist (file=/nowhere/s.json)");
    }
}
