//! Both local secret stores keep the promises of a secret store.

use std::fs;
use std::sync::Arc;

use outrigger_component_api::SecretStore;
use outrigger_local::{EnvSecrets, FileSecrets, FileSecretsConfig};
use outrigger_testkit::{Subject, secrets::KNOWN};

fn from_environment() -> Arc<dyn SecretStore> {
    let variables = KNOWN.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Arc::new(EnvSecrets::new(variables, ""))
}

fn from_file() -> Subject<dyn SecretStore> {
    let directory = tempfile::tempdir().expect("a directory");
    let secrets_file = directory.path().join("secrets.json");
    let file: serde_json::Map<_, _> =
        KNOWN.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect();
    fs::write(&secrets_file, serde_json::to_vec(&file).expect("serializes")).expect("written");
    let config = FileSecretsConfig { secrets_file, nested_separator: ":".to_owned(), multi_valued: false };
    let store: Arc<dyn SecretStore> = Arc::new(FileSecrets::open(config).expect("opens"));
    Subject::new(store).keeping(directory)
}

mod environment {
    outrigger_testkit::secret_suite!(super::from_environment());
}

mod file {
    outrigger_testkit::secret_suite!(super::from_file());
}
