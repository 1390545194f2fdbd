//! The URL of a server, as far as a binding needs to know it.

use outrigger_component_api::{Error, HttpServer, Result};

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) server: HttpServer,
    /// Without a slash at its end.
    pub(crate) path: String,
    /// Without its question mark.
    pub(crate) query: String,
}

impl Url {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("url {why}")).with("setting", "url");
        let (tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(wrong("begins with neither http:// nor https://")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(wrong("has a password in it: send it as metadata, taken from a secret store"));
        }
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("has characters that a URL writes as %.."));
        }
        let (host, port) = split(authority).ok_or_else(|| wrong("has a port that is not a number"))?;
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        let server = HttpServer { tls, host: host.to_owned(), port, ca: None };
        Ok(Self { server, path: path.trim_end_matches('/').to_owned(), query: query.to_owned() })
    }

    /// The target of a request to something below it.
    pub(crate) fn target(&self, below: &str) -> String {
        let (below, asked) = below.split_once('?').unwrap_or((below, ""));
        let below = below.trim_start_matches('/');
        let slash = if below.is_empty() && !self.path.is_empty() { "" } else { "/" };
        let queries = [self.query.as_str(), asked].into_iter().filter(|query| !query.is_empty());
        let query = queries.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{slash}{below}{mark}{query}", self.path)
    }
}

fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    match port {
        None => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port > 0)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        let check = |url: &str, server: (bool, &str, u16), below: &str, target: &str| {
            let parsed = Url::parse(url).expect(url);
            let found = (parsed.server.tls, parsed.server.host.as_str(), parsed.server.port);
            assert_eq!((found, parsed.target(below).as_str()), (server, target), "{url} {below}");
        };
        check("http://a", (false, "a", 80), "", "/");
        check("http://a/", (false, "a", 80), "x", "/x");
        check("https://a.example/api/?k=1#f", (true, "a.example", 443), "/x?y=2", "/api/x?k=1&y=2");
        check("http://127.0.0.1:8080/api", (false, "127.0.0.1", 8080), "", "/api");
        check("http://[::1]:8080", (false, "::1", 8080), "/x", "/x");
    }

    #[test]
    fn what_is_no_url_says_why() {
        for (url, words) in [
            ("ftp://a", "neither"),
            ("a:80", "neither"),
            ("http://", "no host"),
            ("http://a:b", "port"),
            ("http://a:0", "port"),
            ("http://u:p@a/", "password"),
            ("http://a/b c", "characters"),
            ("http://a/\r\nx: y", "characters"),
        ] {
            let error = Url::parse(url).expect_err(url).to_string();
            assert!(error.contains(words) && error.contains("setting=url"), "{error}");
        }
    }
}
