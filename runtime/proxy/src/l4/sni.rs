//! Where a TLS connection wants to go, read from the one message that is not encrypted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrigger_net::detect::{self, Protocol};
use tokio::io::AsyncRead;

use crate::route::HostPattern;

/// Server names to what answers them: exact, then the longest wildcard, then the default.
#[derive(Debug)]
pub(crate) struct SniMap<T = outrigger_cluster::Cluster> {
    exact: HashMap<Box<str>, Arc<T>>,
    /// By what follows `*.`.
    below: HashMap<Box<str>, Arc<T>>,
    default: Option<Arc<T>>,
}

impl<T> SniMap<T> {
    pub(crate) fn new(
        names: impl IntoIterator<Item = (HostPattern, Arc<T>)>,
        default: Option<Arc<T>>,
    ) -> Self {
        let mut map = Self { exact: HashMap::new(), below: HashMap::new(), default };
        for (pattern, target) in names {
            match pattern {
                HostPattern::Exact(name) => drop(map.exact.insert(name, target)),
                HostPattern::Below(name) => drop(map.below.insert(name, target)),
                HostPattern::Any => map.default = Some(target),
            }
        }
        map
    }

    pub(crate) fn find(&self, name: Option<&str>) -> Option<&Arc<T>> {
        let parent = |name: &'_ str| name.find('.').map(|dot| dot + 1);
        let below = |name: &str| {
            let mut rest = name;
            while let Some(next) = parent(rest).and_then(|at| rest.get(at..)) {
                if let Some(target) = self.below.get(next) {
                    return Some(target);
                }
                rest = next;
            }
            None
        };
        name.and_then(|name| self.exact.get(name).or_else(|| below(name))).or(self.default.as_ref())
    }
}

/// The server name of the ClientHello, and every byte read to get it. No name when there is no hello, or none in time:
/// the default, if there is one, sees what was sent.
pub(crate) async fn read_name<S>(stream: &mut S, timeout: Duration) -> (Option<Box<str>>, Bytes)
where
    S: AsyncRead + Unpin,
{
    match detect::detect(stream, timeout).await {
        Ok((Protocol::Tls(hello), prefix)) => (hello.sni, prefix),
        Ok((_, prefix)) => (None, prefix),
        // Whoever carries the connection on meets the same error.
        Err(_) => (None, Bytes::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_name_wins() {
        let names = [("a.example", 'a'), ("*.example", 'w'), ("*.b.example", 'b')];
        let names = names.map(|(host, target)| (HostPattern::parse(host).unwrap(), Arc::new(target)));
        let with_default = SniMap::new(names.clone(), Some(Arc::new('d')));
        let without = SniMap::new(names, None);
        let check = |name: Option<&str>, expected: Option<char>| {
            assert_eq!(without.find(name).map(|target| **target), expected, "{name:?}");
            assert_eq!(with_default.find(name).map(|target| **target), expected.or(Some('d')), "{name:?}");
        };
        check(Some("a.example"), Some('a'));
        check(Some("x.example"), Some('w'));
        check(Some("x.a.example"), Some('w'));
        check(Some("x.b.example"), Some('b'));
        check(Some("y.x.b.example"), Some('b'));
        check(Some("b.example"), Some('w'));
        check(Some("example"), None);
        check(Some("other"), None);
        check(None, None);
    }
}
