//! Numbers under keys, counted on by many at once: read, and written only over what was read.

use std::time::{Duration, SystemTime};

use outrigger_component_api::{Concurrency, Entry, Error, ErrorKind, GetOptions, Result, SetOptions};

use super::{State, Write};
use crate::caller::Caller;

/// How often the others may be first.
const ATTEMPTS: u32 = 100;
/// The longest pause before the next attempt: those who collide spread out.
const PAUSE: Duration = Duration::from_millis(5);

impl State {
    /// Adds to the number under a key and returns the sum. It is stored in decimal, as text; none at all is 0. When the
    /// value is to be gone stays as it is.
    ///
    /// # Errors
    /// [`FailedPrecondition`](ErrorKind::FailedPrecondition) for a value that is no number, or a sum that is none of 64
    /// bits; [`Conflict`](ErrorKind::Conflict) where others were first all the time.
    pub async fn increment(&self, caller: &Caller<'_>, store: &str, key: &str, by: i64) -> Result<i64> {
        for _ in 0..ATTEMPTS {
            let entry = self.get(caller, store, key, GetOptions::default()).await?;
            let sum = number(entry.as_ref())?.checked_add(by);
            let sum = sum.ok_or_else(|| unfit("the sum is not a number of 64 bits"))?;
            let write = Write {
                key: key.to_owned(),
                value: sum.to_string().into(),
                options: over(entry.as_ref(), SystemTime::now()),
            };
            match self.set(caller, store, write).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    tokio::time::sleep(PAUSE.mul_f32(fastrand::f32())).await;
                }
                done => return done.map(|_| sum),
            }
        }
        Err(Error::conflict("others wrote each time").with("attempts", ATTEMPTS))
    }
}

fn number(entry: Option<&Entry>) -> Result<i64> {
    let Some(entry) = entry else { return Ok(0) };
    let number = std::str::from_utf8(&entry.value).ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| unfit("the value is not a number"))
}

/// Only over this version, or where there is still none.
fn over(entry: Option<&Entry>, now: SystemTime) -> SetOptions {
    let left =
        |expires: SystemTime| expires.duration_since(now).unwrap_or_default().max(Duration::from_secs(1));
    SetOptions {
        if_match: entry.map(|entry| entry.etag.clone()),
        concurrency: Concurrency::FirstWrite,
        ttl: entry.and_then(|entry| entry.expires).map(left),
        ..SetOptions::default()
    }
}

fn unfit(message: &'static str) -> Error {
    Error::new(ErrorKind::FailedPrecondition, message)
}
