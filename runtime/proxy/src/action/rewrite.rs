//! Changes to the request line: another host, another path.

use bytes::Bytes;
use http::header::HOST;
use outrigger_http::{Authority, InvalidPath, RequestHead};

use crate::route::Choice;

/// What the backend sees instead of the client's request line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rewrite {
    pub(crate) host: Option<Authority>,
    pub(crate) path: PathChange,
}

#[derive(Debug, Clone, Default)]
pub(crate) enum PathChange {
    #[default]
    Keep,
    Whole(Box<str>),
    /// In place of the matched prefix; without final slash.
    Prefix(Box<str>),
}

/// `host` or `host:port` in canonical form.
pub(crate) fn authority(text: &str) -> Option<Authority> {
    Authority::parse(Bytes::copy_from_slice(text.as_bytes())).ok()
}

impl Rewrite {
    /// # Errors
    /// When the new path is none; the parts were checked, so this is a client's path we should have refused.
    pub(crate) fn apply(&self, head: &mut RequestHead, choice: Choice) -> Result<(), InvalidPath> {
        if let Some(host) = &self.host {
            head.authority = host.clone();
            if head.headers.contains(&HOST) {
                // A canonical authority holds nothing a header value may not.
                let _ = head.headers.set(&HOST, host.as_str());
            }
        }
        if matches!(self.path, PathChange::Keep) {
            return Ok(());
        }
        match self.path.apply(head.path(), choice) {
            Some(path) => head.set_path(&path),
            None => Ok(()),
        }
    }
}

impl PathChange {
    /// The new path; `None` when it stays.
    pub(crate) fn apply(&self, path: &str, choice: Choice) -> Option<String> {
        match self {
            Self::Keep => None,
            Self::Whole(new) => Some(new.to_string()),
            Self::Prefix(new) => {
                // Counted in segments, as the client may have spelt the prefix with escapes.
                let rest = after_segments(path, choice.prefix_segments.unwrap_or_default());
                let whole = format!("{new}{rest}");
                Some(if whole.is_empty() { "/".to_owned() } else { whole })
            }
        }
    }
}

/// What follows the first `count` segments, from its slash on.
fn after_segments(path: &str, count: usize) -> &str {
    let end = path.match_indices('/').nth(count).map_or(path.len(), |(at, _)| at);
    path.get(end..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_replaced_by_segments() {
        let check = |change: &PathChange, segments: usize, path: &str, expected: &str| {
            let choice = Choice { route: 0, prefix_segments: Some(segments) };
            assert_eq!(change.apply(path, choice).as_deref(), Some(expected), "{path}");
        };
        let api = PathChange::Prefix("/api".into());
        check(&api, 1, "/v1/a/b", "/api/a/b");
        check(&api, 1, "/v1", "/api");
        check(&api, 1, "/v1/", "/api/");
        check(&api, 1, "/%76%31/a%20b", "/api/a%20b");
        check(&api, 0, "/a", "/api/a");
        check(&api, 0, "/", "/api/");
        let root = PathChange::Prefix("".into());
        check(&root, 1, "/v1/a", "/a");
        check(&root, 1, "/v1", "/");
        check(&root, 2, "/v1/a", "/");
        check(&root, 0, "/", "/");
    }

    #[test]
    fn host_and_path_change_and_the_query_stays() {
        let mut head = RequestHead::new(http::Method::GET, authority("a.example:80").unwrap(), "/x?q=1");
        head.headers.set(&HOST, "a.example:80").unwrap();
        let rewrite = Rewrite { host: authority("B.example"), path: PathChange::Whole("/y".into()) };
        rewrite.apply(&mut head, Choice { route: 0, prefix_segments: None }).unwrap();
        assert_eq!((head.authority(), head.path_and_query()), ("b.example", "/y?q=1"));
        assert_eq!(head.headers.get(&HOST), Some(&b"b.example"[..]));
    }
}
