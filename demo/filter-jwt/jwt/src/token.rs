//! What is in a token (JWT, RFC 7519), once it has been found to be good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::Sha256;

#[derive(Deserialize)]
struct Head {
    alg: String,
}

#[derive(Deserialize)]
pub struct Claims {
    exp: u64,
    #[serde(default)]
    nbf: u64,
    aud: Audience,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::One(only) => only == name,
            Self::Many(all) => all.iter().any(|one| one == name),
        }
    }
}

impl Claims {
    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.others.get(name)?.as_str()
    }

    fn hold(&self, audience: &str, now: SystemTime) -> Result<(), &'static str> {
        let at = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        if at(self.exp).is_some_and(|end| end <= now) {
            return Err("it has expired");
        }
        if at(self.nbf).is_none_or(|beginning| beginning > now) {
            return Err("it is not valid yet");
        }
        if !self.aud.contains(audience) {
            return Err("it is meant for somebody else");
        }
        // They go on as headers, where a line's end is the end of one.
        if self.others.values().filter_map(Value::as_str).any(|text| text.contains(char::is_control)) {
            return Err("a claim has control characters");
        }
        Ok(())
    }
}

/// The claims of a token that was signed with `secret` for `audience` and is valid now; or what is wrong with it. The
/// signature comes first: what an unsigned token says is nobody's word.
pub fn check(token: &str, secret: &str, audience: &str, now: SystemTime) -> Result<Claims, &'static str> {
    let (signed, signature) = token.rsplit_once('.').ok_or("it is not a token")?;
    let (head, claims) = signed.split_once('.').ok_or("it is not a token")?;
    // The token does not choose how it is checked: `none` is not the only algorithm that must not be believed.
    if json::<Head>(head)?.alg != "HS256" {
        return Err("it is not signed with HS256");
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key may have any length");
    mac.update(signed.as_bytes());
    mac.verify_slice(&bytes(signature)?).map_err(|_| "its signature is wrong")?;
    let claims: Claims = json(claims)?;
    claims.hold(audience, now).map(|()| claims)
}

fn json<T: DeserializeOwned>(part: &str) -> Result<T, &'static str> {
    serde_json::from_slice(&bytes(part)?).map_err(|_| "it is not a token")
}

fn bytes(part: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| "it is not a token")
}
