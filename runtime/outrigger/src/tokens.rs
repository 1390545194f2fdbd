//! The tokens callers may present: several while they are being changed, each from where secrets are kept.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use outrigger_api::access::Token;
use outrigger_component_api::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    components::backing::Backing,
    config::{Config, Loaded, Problem},
    secrets::SecretRef,
};

/// Between two questions to a store that does not tell.
const RETRY: Duration = Duration::from_secs(1);

/// One token. Exactly one of its places is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// The token itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Secret>,
    /// The environment variable that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The file that holds it; white space around it is not part of it. Read at start and at every reload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The secret store that has it. Until it is known there, nobody is let in with it.
    #[serde(rename = "secretRef", skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// Who asks for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Api,
    Admin,
}

/// A token that a secret store keeps: whose it is, and its name.
pub struct Kept {
    pub door: Door,
    pub name: String,
    pub reference: SecretRef,
}

/// What each door takes. `None`: it asks for nothing.
#[derive(Clone, Default)]
pub struct Keys {
    pub api: Option<Vec<Token>>,
    pub admin: Option<Vec<Token>>,
    /// The API's tokens that are known, by name; the one without a name comes first.
    shared: BTreeMap<String, Secret>,
}

impl Keys {
    /// Nobody is let in: what holds until the configuration has been read.
    pub fn none_known() -> Self {
        Self { api: Some(Vec::new()), admin: Some(Vec::new()), ..Self::default() }
    }

    /// A token more. An empty one is not known yet.
    pub fn add(&mut self, door: Door, name: &str, token: &str) {
        let tokens = match door {
            Door::Api => &mut self.api,
            Door::Admin => &mut self.admin,
        };
        tokens.get_or_insert_default().extend(Token::new(token));
        if door == Door::Api && !token.is_empty() {
            self.shared.insert(name.to_owned(), token.to_owned().into());
        }
    }

    /// What we present to other sidecars, which share their tokens with us: the first that is known.
    pub fn to_present(&self) -> Option<&Secret> {
        self.shared.values().next()
    }
}

/// Reads what can be read at once, and names what a secret store has to tell.
pub fn read(
    loaded: &Loaded,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Keys, Vec<Kept>), Vec<Problem>> {
    let Config { api, admin, .. } = &loaded.config;
    let (mut keys, mut later, mut problems) = (Keys::default(), Vec::new(), Vec::new());
    let doors =
        [(Door::Api, "api", &api.token, &api.tokens), (Door::Admin, "admin", &admin.token, &admin.tokens)];
    for (door, section, token, tokens) in doors {
        // An empty one asks for nothing: so a later layer can take it away.
        if let Some(token) = token.as_ref().filter(|token| !token.expose().is_empty()) {
            keys.add(door, "", token.expose());
        }
        for (name, config) in tokens {
            if let Some(reference) = &config.secret_ref {
                keys.add(door, name, "");
                later.push(Kept { door, name: name.clone(), reference: reference.clone() });
                continue;
            }
            match config.read(env) {
                Ok(token) => keys.add(door, name, &token),
                Err(message) => problems.push(loaded.problem(&format!("{section}.tokens.{name}"), message)),
            }
        }
    }
    if problems.is_empty() { Ok((keys, later)) } else { Err(problems) }
}

/// The files that hold tokens.
pub fn files(config: &Config) -> impl Iterator<Item = PathBuf> {
    let tokens = config.api.tokens.values().chain(config.admin.tokens.values());
    tokens.filter_map(|token| token.file.clone())
}

/// Waits for a store and asks it, again and again until it tells.
pub async fn fetch(store: Arc<Backing>, reference: SecretRef) -> String {
    let mut told = false;
    loop {
        let failure = match store.secret(&reference).await {
            Ok(token) if !token.is_empty() => return token,
            Ok(_) => "the token is empty".to_owned(),
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut told, true) {
            let SecretRef { store, key, .. } = &reference;
            tracing::warn!(store, key, failure, "a token is not known: it lets nobody in");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The token to tell the application: the first that can be read.
pub fn for_app(config: &Config, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let own = config.api.token.as_ref().map(|token| token.expose().clone());
    // An empty one is none: a later layer may take a token away.
    let own = own.filter(|token| !token.is_empty());
    own.or_else(|| config.api.tokens.values().find_map(|token| token.read(env).ok()))
}

/// What is wrong with how tokens are given, as paths and messages.
pub fn check(section: &str, tokens: &BTreeMap<String, TokenConfig>) -> Vec<(String, String)> {
    let wrong = |(name, token): (&String, &TokenConfig)| {
        let TokenConfig { value, env, file, secret_ref } = token;
        let given = [value.is_some(), env.is_some(), file.is_some(), secret_ref.is_some()];
        let message = "give one of value, env, file and secretRef".to_owned();
        (given.iter().filter(|given| **given).count() != 1)
            .then(|| (format!("{section}.tokens.{name}"), message))
    };
    tokens.iter().filter_map(wrong).collect()
}

impl TokenConfig {
    fn read(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        let token = match (&self.value, &self.env, &self.file) {
            (Some(value), ..) => value.expose().clone(),
            (_, Some(name), _) => {
                env(name).ok_or_else(|| format!("the environment variable {name} is not set"))?
            }
            (_, _, Some(path)) => std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
            _ => return Err("it is kept in a secret store".to_owned()),
        };
        let token = token.trim();
        if token.is_empty() { Err("the token is empty".to_owned()) } else { Ok(token.to_owned()) }
    }
}
