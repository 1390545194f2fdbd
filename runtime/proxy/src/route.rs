//! Which route a request takes: pure functions over the request head and a table compiled from the configuration.
//!
//! Every (host, match) pair of every route is an [`Entry`]. Precedence is a total order over the entries of a host, worked
//! out once when the table is built, so the answer is by definition *the first entry in that order that matches*; the
//! indexes below only find it without asking all of them. The order is that of the Kubernetes Gateway API:
//! exact host, longest wildcard host, any host; then within a host exact path, regular expression, prefix or template
//! by literal characters, any path; then method, header count, query count, order in the configuration.
//!
//! Cost: one hash look-up for the host (one more per label when there are wildcard hosts), one for an exact path, one
//! per path segment for prefixes and templates. Regular expressions of the host are tried only when no exact path took
//! the request; entries that share host and path are tried one after the other.

mod conditions;
mod hash;
mod host;
mod path;

use outrigger_http::RequestHead;

pub(crate) use conditions::{Conditions, FieldTest};
pub(crate) use host::HostPattern;
pub(crate) use path::PathPattern;

use hash::Map;
use path::PathIndex;

/// One host and one match of one route.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) host: HostPattern,
    pub(crate) path: PathPattern,
    pub(crate) conditions: Conditions,
    /// Index of the route; smaller wins when all else is equal.
    pub(crate) route: usize,
}

/// The answer of [`pick`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Index of the route.
    pub(crate) route: usize,
    /// Number of path segments the `prefix` of the match consumed, for prefix rewrites.
    pub(crate) prefix_segments: Option<usize>,
}

/// All entries of one listener, indexed.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: Map<Box<str>, HostTable>,
    /// By what follows `*.`.
    wildcard: Map<Box<str>, HostTable>,
    any: HostTable,
}

/// Picks the route for `head`, whose canonical path is `path`.
pub(crate) fn pick(table: &Table, head: &RequestHead, path: &str) -> Option<Choice> {
    table.hosts(head.authority.host()).find_map(|host| host.pick(head, path))
}

impl Table {
    pub(crate) fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut by_host: Map<HostPattern, Vec<Entry>> = Map::default();
        for entry in entries {
            by_host.entry(entry.host.clone()).or_default().push(entry);
        }
        let mut table = Self::default();
        for (host, entries) in by_host {
            let compiled = HostTable::new(entries);
            match host {
                HostPattern::Exact(name) => drop(table.exact.insert(name, compiled)),
                HostPattern::Below(name) => drop(table.wildcard.insert(name, compiled)),
                HostPattern::Any => table.any = compiled,
            }
        }
        table
    }

    /// Whether the path can change the answer for `host`: an escaped slash in it is then ambiguous.
    pub(crate) fn looks_at_paths(&self, host: &str) -> bool {
        self.hosts(host).any(|table| table.looks_at_paths)
    }

    /// The tables that apply to `host`, most specific first.
    fn hosts<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a HostTable> {
        probe::step();
        let exact = self.exact.get(host);
        let parents =
            std::iter::successors(Some(host), |rest| rest.split_once('.').map(|(_, parent)| parent));
        let looked_up = if self.wildcard.is_empty() { 0 } else { usize::MAX };
        let wildcard = parents.skip(1).take(looked_up).filter_map(|parent| {
            probe::step();
            self.wildcard.get(parent)
        });
        exact.into_iter().chain(wildcard).chain([&self.any])
    }
}

/// The entries of one host in order of precedence; a position in that order is a *rank*.
#[derive(Debug, Default)]
struct HostTable {
    entries: Box<[Entry]>,
    paths: PathIndex,
    looks_at_paths: bool,
}

impl HostTable {
    fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by_cached_key(Entry::precedence);
        let looks_at_paths = entries.iter().any(|entry| entry.path.looks_at_path());
        let paths = PathIndex::new(entries.iter().map(|entry| &entry.path));
        Self { entries: entries.into(), paths, looks_at_paths }
    }

    fn pick(&self, head: &RequestHead, path: &str) -> Option<Choice> {
        let accepts = |rank: usize| {
            probe::step();
            self.entries.get(rank).is_some_and(|entry| entry.conditions.accept(head))
        };
        let entry = self.entries.get(self.paths.first(path, accepts)?)?;
        Some(Choice { route: entry.route, prefix_segments: entry.path.prefix_segments() })
    }
}

impl Entry {
    /// Sorts before what it takes precedence over, among entries of one host.
    fn precedence(&self) -> impl Ord + use<> {
        let conditions = &self.conditions;
        let path = self.path.precedence();
        (
            path,
            std::cmp::Reverse((conditions.has_method(), conditions.headers(), conditions.query())),
            self.route,
        )
    }
}

/// Counts look-ups and comparisons in tests; nothing at all otherwise.
mod probe {
    #[cfg(not(test))]
    pub(super) fn step() {}

    #[cfg(test)]
    thread_local!(static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

    #[cfg(test)]
    pub(super) fn step() {
        STEPS.set(STEPS.get() + 1);
    }

    #[cfg(test)]
    pub(super) fn count(run: impl FnOnce()) -> usize {
        STEPS.set(0);
        run();
        STEPS.get()
    }
}

#[cfg(test)]
mod tests;
