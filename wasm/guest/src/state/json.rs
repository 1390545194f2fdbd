//! Values kept as JSON.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use super::{Item, Options, Store};
use crate::{Code, Error, Result};

/// How often `update` starts again because somebody else wrote first.
const ATTEMPTS: usize = 32;

impl Store {
    /// A value kept as JSON.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.get(key)?.map(|item| self.read(key, &item)).transpose()
    }

    /// Keeps a value as JSON; the new etag.
    pub fn set_json(&self, key: &str, value: &impl Serialize) -> Result<String> {
        self.set(key, self.written(key, value)?)
    }

    /// Puts in place of a value, kept as JSON, what `change` makes of it, and starts again when somebody else wrote
    /// meanwhile; what was written.
    pub fn update<T>(&self, key: &str, mut change: impl FnMut(Option<T>) -> T) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
    {
        for _ in 0..ATTEMPTS {
            let found = self.get(key)?;
            let now = found.as_ref().map(|item| self.read(key, item)).transpose()?;
            let next = change(now);
            let if_match = found.map(|item| item.etag);
            let options = Options { first_write: if_match.is_none(), if_match, ..Options::default() };
            match self.set_with(key, self.written(key, &next)?, options) {
                Err(error) if error.code == Code::Conflict => {}
                outcome => return outcome.map(|_| next),
            }
        }
        let message = format!("`{key}` of `{}` was written by others {ATTEMPTS} times in a row", self.0);
        Err(Error { code: Code::Conflict, message })
    }

    fn read<T: DeserializeOwned>(&self, key: &str, item: &Item) -> Result<T> {
        serde_json::from_slice(&item.value).map_err(|error| {
            data_loss(format_args!("`{key}` of `{}` is not what was expected: {error}", self.0))
        })
    }

    fn written(&self, key: &str, value: &impl Serialize) -> Result<Vec<u8>> {
        serde_json::to_vec(value)
            .map_err(|error| data_loss(format_args!("`{key}` of `{}` is no JSON: {error}", self.0)))
    }
}

fn data_loss(what: fmt::Arguments<'_>) -> Error {
    Error { code: Code::DataLoss, message: what.to_string() }
}
