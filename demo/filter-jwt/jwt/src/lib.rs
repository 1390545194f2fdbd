//! Lets in who carries a token that is signed, meant for us, valid now, and not revoked. What it says about them goes on
//! as headers, in place of whatever the client claimed itself.

mod token;

use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use serde::Deserialize;
use token::Claims;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::<Plugin>::default());
}}

/// Headers that begin with this are ours to write.
const PREFIX: &str = "x-claim-";

/// How long a request waits for the word of whoever gave the token out.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default, Deserialize)]
struct Settings {
    /// What tokens are signed with.
    secret: String,
    /// Whom they must be meant for.
    audience: String,
    /// The cluster that knows which have been revoked (RFC 7662).
    introspection: String,
    /// The claims that are passed on.
    claims: Vec<String>,
}

impl Settings {
    fn read(configuration: &[u8]) -> Result<Self, String> {
        let settings: Self = serde_json::from_slice(configuration).map_err(|error| error.to_string())?;
        let Self { secret, audience, introspection, .. } = &settings;
        // What is signed with an empty secret anybody can sign.
        for (name, value) in [("secret", secret), ("audience", audience), ("introspection", introspection)] {
            if value.is_empty() {
                return Err(format!("`{name}` is empty"));
            }
        }
        Ok(settings)
    }
}

#[derive(Default)]
struct Plugin {
    settings: Rc<Settings>,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        match Settings::read(&configuration) {
            Ok(settings) => self.settings = Rc::new(settings),
            Err(error) => {
                let _ = hostcalls::log(LogLevel::Error, &format!("the configuration: {error}"));
                return false;
            }
        }
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Jwt { settings: Rc::clone(&self.settings), claims: None }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Jwt {
    settings: Rc<Settings>,
    /// Of a token that is good as far as one can see from here.
    claims: Option<Claims>,
}

#[derive(Deserialize)]
struct Introspection {
    active: bool,
}

impl HttpContext for Jwt {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        // Headers are asked for as bytes: whoever sends one that is no text must not stop the filter with it.
        let Some(credentials) = self.get_http_request_header_bytes("authorization") else {
            return self.answer(401, "Bearer", "there is no token");
        };
        let Some(token) = bearer(&credentials) else {
            return self.refuse("it is not a token");
        };
        let Settings { secret, audience, .. } = &*self.settings;
        match token::check(token, secret, audience, self.get_current_time()) {
            Ok(claims) => self.claims = Some(claims),
            Err(why) => return self.refuse(why),
        }
        self.ask(token)
    }
}

impl Context for Jwt {
    fn on_http_call_response(&mut self, _: u32, _: usize, size: usize, _: usize) {
        // Only then it is the word of whoever was asked (RFC 7662, section 2.2).
        if self.get_http_call_response_header_bytes(":status").as_deref() != Some(b"200") {
            self.unknown();
            return;
        }
        let body = self.get_http_call_response_body(0, size).unwrap_or_default();
        match serde_json::from_slice(&body) {
            Ok(Introspection { active: true }) => self.let_in(),
            Ok(Introspection { active: false }) => drop(self.refuse("it was revoked")),
            Err(_) => drop(self.unknown()),
        }
    }
}

impl Jwt {
    /// The request waits for what comes back.
    fn ask(&self, token: &str) -> Action {
        let headers = vec![
            (":method", "POST"),
            (":path", "/introspect"),
            (":authority", "tokens.example"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        // Nothing in a token needs escaping in a form.
        let form = format!("token={token}");
        let cluster = &self.settings.introspection;
        match self.dispatch_http_call(cluster, headers, Some(form.as_bytes()), vec![], PATIENCE) {
            Ok(_) => Action::Pause,
            Err(_) => self.unknown(),
        }
    }

    fn let_in(&self) {
        // Every header that looks like one of ours is forged. The token stays here: the application needs no password.
        for (name, _) in self.get_http_request_headers_bytes() {
            if name.starts_with(PREFIX) || name == "authorization" {
                self.set_http_request_header(&name, None);
            }
        }
        for (name, value) in self.claims() {
            self.set_http_request_header(&format!("{PREFIX}{name}"), Some(value));
        }
        self.resume_http_request();
    }

    /// Those that are passed on.
    fn claims(&self) -> impl Iterator<Item = (&str, &str)> {
        let claims = self.claims.as_ref();
        self.settings.claims.iter().filter_map(move |name| Some((name.as_str(), claims?.text(name)?)))
    }

    fn refuse(&self, why: &str) -> Action {
        let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{why}\"");
        self.answer(401, &challenge, why)
    }

    /// Without an answer nobody is let in: a revoked token is as good as none.
    fn unknown(&self) -> Action {
        self.answer(503, "Bearer", "nobody can say whether it was revoked")
    }

    fn answer(&self, status: u32, challenge: &str, why: &str) -> Action {
        let headers = vec![("www-authenticate", challenge), ("content-type", "text/plain")];
        self.send_http_response(status, headers, Some(format!("{why}\n").as_bytes()));
        Action::Pause
    }
}

fn bearer(credentials: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(credentials).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
