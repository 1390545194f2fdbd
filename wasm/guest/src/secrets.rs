//! Secrets.

use crate::bindgen::imports::outrigger::functions::secrets as wit;
use crate::{Code, Error, Result, value};

/// A secret of one value.
pub fn get(store: &str, name: &str) -> Result<String> {
    let values = get_all(store, name)?;
    let found = value(&values, name).map(str::to_owned);
    found.ok_or_else(|| {
        let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!("the secret `{name}` of `{store}` has values of its own: {}", names.join(", "));
        Error { code: Code::FailedPrecondition, message }
    })
}

/// A secret's values by name; a secret of one value has it under its own name.
pub fn get_all(store: &str, name: &str) -> Result<Vec<(String, String)>> {
    wit::get(store, name)
}
