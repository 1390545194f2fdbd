//! Lifecycle: new settings for one component while it runs, without a configuration file.

use outrigger_component_api::{Error, ErrorKind, Result, Settings, nearest};

use crate::Blocks;
use crate::caller::Caller;

/// The sections of a configuration in which Layotto knows components, in its words. Those of the first can change
/// while they run.
const KINDS: [&str; 11] = [
    "hellos",
    "config_store",
    "rpcs",
    "pub_subs",
    "state",
    "file",
    "oss",
    "lock",
    "sequencer",
    "secret_store",
    "bindings",
];

impl Blocks {
    /// Gives a component settings in place of the ones it has, all of them. Those under way finish with the old ones.
    pub async fn apply(&self, caller: &Caller<'_>, kind: &str, name: &str, settings: Settings) -> Result<()> {
        if kind == "hellos" {
            return self.hello.apply(caller, name, settings).await;
        }
        let message = if KINDS.contains(&kind) || kind.starts_with("custom_component.") {
            format!(
                "component '{name}' of kind {kind} cannot take new settings while it runs: change the configuration \
                 file, it is reloaded"
            )
        } else {
            let guess = nearest(kind, KINDS).map(|kind| format!("; did you mean {kind}?"));
            format!("there is no kind '{kind}' of components{}", guess.unwrap_or_default())
        };
        Err(Error::new(ErrorKind::NotConfigured, message))
    }
}
