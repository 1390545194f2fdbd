//! Lets in who carries a valid token (JWT, HS256, not expired, not revoked). The configuration is
//! `CLUSTER SECRET`: whom to ask about revoked tokens, and what they are signed with.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use outrigger_filters::Filter;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use serde::Deserialize;
use sha2::Sha256;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(outrigger_filters::plugin::<Jwt>);
}}

struct Jwt {
    cluster: String,
    secret: String,
    subject: String,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    jti: String,
}

impl Filter for Jwt {
    fn new(configuration: &str) -> Self {
        let (cluster, secret) = configuration.split_once(' ').unwrap_or_default();
        Self { cluster: cluster.to_owned(), secret: secret.to_owned(), subject: String::new() }
    }
}

/// The claims of a token that is signed with `secret` and holds at `now`, in seconds; or what is wrong with it.
fn check(token: &str, secret: &[u8], now: u64) -> Result<Claims, &'static str> {
    let mut parts = token.splitn(3, '.');
    let (Some(head), Some(claims), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("not a token");
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64");
    let declared: Head = serde_json::from_slice(&decode(head)?).map_err(|_| "not a token")?;
    if declared.alg != "HS256" {
        return Err("signed in another way");
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| "no secret")?;
    mac.update(head.as_bytes());
    mac.update(b".");
    mac.update(claims.as_bytes());
    mac.verify_slice(&decode(signature)?).map_err(|_| "wrong signature")?;
    let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| "not a token")?;
    if claims.exp > now { Ok(claims) } else { Err("expired") }
}

impl Jwt {
    fn refuse(&self, why: &str) -> Action {
        let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{why}\"");
        self.send_http_response(401, vec![("www-authenticate", &challenge)], Some(why.as_bytes()));
        Action::Pause
    }
}

impl HttpContext for Jwt {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let header = self.get_http_request_header("authorization").unwrap_or_default();
        let Some(token) = header.strip_prefix("Bearer ") else { return self.refuse("no token") };
        let now = self.get_current_time().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = match check(token, self.secret.as_bytes(), now) {
            Ok(claims) => claims,
            Err(why) => return self.refuse(why),
        };
        self.subject = claims.sub;
        let path = format!("/revoked/{}", claims.jti);
        let question = vec![(":method", "GET"), (":path", path.as_str()), (":authority", "tokens.example")];
        match self.dispatch_http_call(&self.cluster, question, None, vec![], Duration::from_secs(10)) {
            Ok(_) => Action::Pause,
            Err(_) => self.refuse("nobody to ask"),
        }
    }
}

impl Context for Jwt {
    fn on_http_call_response(&mut self, _: u32, headers: usize, _: usize, _: usize) {
        let status = if headers == 0 { None } else { self.get_http_call_response_header(":status") };
        match status.as_deref() {
            Some("404") => {
                self.set_http_request_header("x-subject", Some(&self.subject));
                self.remove_http_request_header("authorization");
                self.resume_http_request();
            }
            Some("200") => drop(self.refuse("revoked")),
            _ => drop(self.refuse("no answer about it")),
        }
    }
}
