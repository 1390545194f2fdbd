//! `wasm/wit` and `wasm/guest`, which a function in Rust gets beside its source.

/// Files by their paths below a folder of `wasm`.
macro_rules! files {
    ($folder:literal: $($file:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!("../../../../../../wasm/", $folder, "/", $file)))),+]
    };
}

pub(super) const WIT: &[(&str, &str)] = files!("wit":
    "binding.wit",
    "blocks.wit",
    "event.wit",
    "http.wit",
    "invoke.wit",
    "schedule.wit",
    "types.wit",
    "worlds.wit",
);

pub(super) const GUEST: &[(&str, &str)] = files!("guest":
    "Cargo.toml",
    "src/bindgen.rs",
    "src/binding.rs",
    "src/bindings.rs",
    "src/configuration.rs",
    "src/error.rs",
    "src/event.rs",
    "src/export.rs",
    "src/http.rs",
    "src/invocation.rs",
    "src/invoke.rs",
    "src/lib.rs",
    "src/lock.rs",
    "src/log.rs",
    "src/metadata.rs",
    "src/metrics.rs",
    "src/pubsub.rs",
    "src/schedule.rs",
    "src/secrets.rs",
    "src/sequencer.rs",
    "src/state.rs",
    "src/state/json.rs",
);

/// What a function in JavaScript gets.
pub(super) const OUTRIGGER_JS: &str = include_str!("../../../../../../wasm/guest/js/outrigger.js");

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources(folder: &Path, extension: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(sources(&path, extension));
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
        found
    }

    fn check(folder: &str, below: &str, extension: &str, embedded: &[(&str, &str)]) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wasm").join(folder);
        for file in sources(&folder.join(below), extension) {
            let name = file.strip_prefix(&folder).unwrap().to_str().unwrap();
            assert!(embedded.iter().any(|(found, _)| *found == name), "{name} is not embedded");
        }
    }

    #[test]
    fn no_source_is_left_out() {
        check("wit", "", "wit", WIT);
        check("guest", "src", "rs", GUEST);
    }
}
