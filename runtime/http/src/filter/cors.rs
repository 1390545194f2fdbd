//! Cross-origin requests: answers preflights, and tells browsers which origins may read a response.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chain::Passage;
use crate::config::Problem;
use crate::head::{RequestHead, ResponseHead};
use crate::message::Response;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CorsConfig {
    /// Origins as browsers send them (`https://app.example`), or `*` alone for any.
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    /// Request headers a script may set.
    pub headers: Vec<String>,
    /// Response headers a script may read.
    pub expose: Vec<String>,
    /// Whether cookies may come along; not together with `*`.
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_age: Duration,
}

impl Default for CorsConfig {
    fn default() -> Self {
        let methods = ["GET", "HEAD", "POST"].map(str::to_owned).to_vec();
        Self {
            origins: Vec::new(),
            methods,
            headers: Vec::new(),
            expose: Vec::new(),
            credentials: false,
            max_age: Duration::from_secs(600),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Cors {
    /// `None`: any.
    origins: Option<Vec<String>>,
    credentials: bool,
    expose: Option<HeaderValue>,
    /// Fields of the answer to a preflight.
    preflight: Vec<(HeaderName, HeaderValue)>,
}

impl Cors {
    pub(crate) fn compile(config: &CorsConfig) -> Result<Self, Problem> {
        let any = config.origins.iter().any(|origin| origin == "*");
        if config.origins.is_empty() || (any && config.origins.len() > 1) {
            return Err(Problem::new("origins", "must list origins, or * alone"));
        }
        if any && config.credentials {
            return Err(Problem::new(
                "credentials",
                "cannot be combined with the origin *: name the origins",
            ));
        }
        let joined = |items: &[String], path: &str| {
            HeaderValue::from_str(&items.join(", "))
                .map_err(|_| Problem::new(path, "may hold visible ASCII only"))
        };
        let mut preflight = vec![
            (ACCESS_CONTROL_ALLOW_METHODS, joined(&config.methods, "methods")?),
            (ACCESS_CONTROL_MAX_AGE, HeaderValue::from(config.max_age.as_secs())),
        ];
        if !config.headers.is_empty() {
            preflight.push((ACCESS_CONTROL_ALLOW_HEADERS, joined(&config.headers, "headers")?));
        }
        let expose = (!config.expose.is_empty()).then(|| joined(&config.expose, "expose")).transpose()?;
        Ok(Self {
            origins: (!any).then(|| config.origins.clone()),
            credentials: config.credentials,
            expose,
            preflight,
        })
    }

    pub(crate) fn request(&self, head: &RequestHead, passage: &mut Passage) -> Option<Response> {
        passage.origin =
            head.headers.get(&ORIGIN).filter(|origin| self.allows(origin)).map(Bytes::copy_from_slice);
        let preflight = head.method == Method::OPTIONS
            && head.headers.contains(&ORIGIN)
            && head.headers.contains(&ACCESS_CONTROL_REQUEST_METHOD);
        if !preflight {
            return None;
        }
        // An origin that is not allowed gets the same answer without the fields that would let it on.
        let mut response = ResponseHead::new(StatusCode::NO_CONTENT);
        if passage.origin.is_some() {
            for (name, value) in &self.preflight {
                response.headers.set_value(name, value);
            }
        }
        Some(Response::new(response, crate::Body::empty()))
    }

    pub(crate) fn response(&self, passage: &Passage, head: &mut ResponseHead) {
        // The upstream's own opinion would be a second, contradicting one.
        head.headers.remove(&ACCESS_CONTROL_ALLOW_ORIGIN);
        head.headers.remove(&ACCESS_CONTROL_ALLOW_CREDENTIALS);
        if self.origins.is_some() {
            head.headers.append_value(&VARY, &HeaderValue::from_static("origin"));
        }
        let Some(origin) = &passage.origin else { return };
        let allowed = if self.origins.is_none() { b"*" } else { origin.as_ref() };
        // It came as a header's value.
        let _ = head.headers.set(&ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            head.headers.set_static(&ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        if let Some(expose) = &self.expose {
            head.headers.set_value(&ACCESS_CONTROL_EXPOSE_HEADERS, expose);
        }
    }

    fn allows(&self, origin: &[u8]) -> bool {
        self.origins.as_ref().is_none_or(|origins| origins.iter().any(|allowed| allowed.as_bytes() == origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(
        cors: &Cors,
        method: Method,
        origin: &str,
        preflight: bool,
    ) -> (Option<Response>, ResponseHead) {
        let mut head = RequestHead::new(method, "a".parse().unwrap(), "/");
        head.headers.set(&ORIGIN, origin).unwrap();
        if preflight {
            head.headers.set(&ACCESS_CONTROL_REQUEST_METHOD, "PUT").unwrap();
        }
        let mut passage = Passage::default();
        let mut answer = cors.request(&head, &mut passage);
        let mut response =
            answer.as_mut().map_or_else(|| ResponseHead::new(StatusCode::OK), |answer| answer.head.clone());
        cors.response(&passage, &mut response);
        (answer, response)
    }

    #[test]
    fn named_origins() {
        let config = CorsConfig {
            origins: vec!["https://a".into()],
            credentials: true,
            expose: vec!["x-b".into()],
            ..CorsConfig::default()
        };
        let cors = Cors::compile(&config).unwrap();
        let (answer, head) = exchange(&cors, Method::GET, "https://a", false);
        assert!(answer.is_none());
        assert_eq!(head.headers.get(&ACCESS_CONTROL_ALLOW_ORIGIN), Some(b"https://a".as_slice()));
        assert_eq!(head.headers.get(&ACCESS_CONTROL_ALLOW_CREDENTIALS), Some(b"true".as_slice()));
        assert_eq!(head.headers.get(&ACCESS_CONTROL_EXPOSE_HEADERS), Some(b"x-b".as_slice()));
        let (answer, head) = exchange(&cors, Method::OPTIONS, "https://a", true);
        assert_eq!(answer.unwrap().head.status, StatusCode::NO_CONTENT);
        assert_eq!(head.headers.get(&ACCESS_CONTROL_ALLOW_METHODS), Some(b"GET, HEAD, POST".as_slice()));
        for origin in ["https://b", "https://a.evil", "null", "HTTPS://A"] {
            let (answer, head) = exchange(&cors, Method::OPTIONS, origin, true);
            assert!(answer.is_some() && !head.headers.contains(&ACCESS_CONTROL_ALLOW_ORIGIN), "{origin}");
            assert_eq!(head.headers.get(&VARY), Some(b"origin".as_slice()));
        }
    }

    #[test]
    fn a_preflight_is_told_methods_and_for_how_long() {
        let config = CorsConfig {
            origins: vec!["https://a".into()],
            methods: vec!["PUT".into(), "DELETE".into()],
            max_age: Duration::from_secs(5),
            ..CorsConfig::default()
        };
        let (_, head) = exchange(&Cors::compile(&config).unwrap(), Method::OPTIONS, "https://a", true);
        assert_eq!(head.headers.get(&ACCESS_CONTROL_ALLOW_METHODS), Some(b"PUT, DELETE".as_slice()));
        assert_eq!(head.headers.get(&ACCESS_CONTROL_MAX_AGE), Some(b"5".as_slice()));
    }

    #[test]
    fn any_origin() {
        let cors = Cors::compile(&CorsConfig { origins: vec!["*".into()], ..CorsConfig::default() }).unwrap();
        let (_, head) = exchange(&cors, Method::GET, "https://x", false);
        assert_eq!(head.headers.get(&ACCESS_CONTROL_ALLOW_ORIGIN), Some(b"*".as_slice()));
        assert!(
            exchange(&cors, Method::OPTIONS, "https://x", false).0.is_none(),
            "OPTIONS that is no preflight"
        );
    }
}
