//! Paths a route asks for, and the index that finds the first of many without trying them all.

use std::cmp::Reverse;
use std::fmt;

use regex::{Regex, RegexBuilder};

use super::hash::Map;
use super::probe;
use crate::path::{PathMode, canonical};

/// Longest regular expression taken from the configuration, in bytes.
pub(crate) const MAX_PATTERN: usize = 1024;
/// Largest compiled program, and largest cache of its lazy automaton, in bytes.
pub(crate) const MAX_PROGRAM: usize = 1 << 20;

#[derive(Debug, Clone)]
pub(crate) enum PathPattern {
    Exact(Box<str>),
    /// Anchored at both ends; the source is what precedence looks at.
    Regex {
        regex: Regex,
        source: Box<str>,
    },
    Template(Template),
    /// Without trailing slash, so empty for `/`.
    Prefix(Box<str>),
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Template {
    segments: Box<[Segment]>,
    /// Ends in `*`: whatever follows the slash after the segments.
    rest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    Literal(Box<str>),
    /// One segment that is not empty.
    Blank,
}

/// Why a path in the configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("`{0}` does not start with a slash")]
    NotAbsolute(String),
    #[error("`{0}` can never match: requests are matched in canonical form, here `{1}`")]
    NotCanonical(String, String),
    #[error("`{0}` is not a path: {1}")]
    NotAPath(String, crate::path::PathProblem),
    #[error("not a usable regular expression: {0}")]
    Regex(String),
    #[error("the regular expression has {0} bytes, the most is {MAX_PATTERN}")]
    TooLong(usize),
    #[error("`{0}`: `*` can only be the last segment; write `{{name}}` for one segment in the middle")]
    StarInside(String),
    #[error("`{0}`: a blank is a whole segment, `{{name}}`")]
    BadBlank(String),
    #[error("`{0}` names `{{{1}}}` twice")]
    BlankTwice(String, String),
}

impl PathPattern {
    pub(crate) fn exact(text: &str) -> Result<Self, PatternError> {
        literal(text).map(|path| Self::Exact(path.into()))
    }

    pub(crate) fn prefix(text: &str) -> Result<Self, PatternError> {
        literal(text).map(|path| Self::Prefix(path.strip_suffix('/').unwrap_or(path).into()))
    }

    pub(crate) fn regex(source: &str) -> Result<Self, PatternError> {
        let regex = |anchored: &str| {
            RegexBuilder::new(anchored).size_limit(MAX_PROGRAM).dfa_size_limit(MAX_PROGRAM).build()
        };
        let regex = anchored(source, regex)?;
        Ok(Self::Regex { regex, source: source.into() })
    }

    /// Reads `/users/{id}/*`.
    pub(crate) fn template(text: &str) -> Result<Self, PatternError> {
        let whole = text.strip_prefix('/').ok_or_else(|| PatternError::NotAbsolute(text.to_owned()))?;
        let (body, rest) = match whole.strip_suffix('*') {
            Some("") => (None, true),
            Some(body) => {
                (Some(body.strip_suffix('/').ok_or_else(|| PatternError::BadBlank(text.to_owned()))?), true)
            }
            None => (Some(whole), false),
        };
        let mut names: Vec<&str> = Vec::new();
        let mut segments = Vec::new();
        for part in body.into_iter().flat_map(|body| body.split('/')) {
            let Some(name) = blank(text, part)? else {
                segments.push(Segment::Literal(part.into()));
                continue;
            };
            if names.contains(&name) {
                return Err(PatternError::BlankTwice(text.to_owned(), name.to_owned()));
            }
            names.push(name);
            segments.push(Segment::Blank);
        }
        // The literal parts must be canonical, too; blanks are stood in for by a letter.
        let sample: String =
            segments.iter().flat_map(|segment| ["/", segment.literal().unwrap_or("x")]).collect();
        literal(if sample.is_empty() { "/" } else { &sample })?;
        Ok(Self::Template(Template { segments: segments.into(), rest }))
    }

    /// Any method of a gRPC service, one method of any service, or one method of one service.
    pub(crate) fn grpc(service: Option<&str>, method: Option<&str>) -> Result<Self, PatternError> {
        match (service, method) {
            (Some(service), Some(method)) => Self::exact(&format!("/{service}/{method}")),
            (Some(service), None) => Self::template(&format!("/{service}/{{method}}")),
            (None, Some(method)) => Self::template(&format!("/{{service}}/{method}")),
            (None, None) => Self::template("/{service}/{method}"),
        }
    }

    /// Whether the path can make a difference: an escaped slash in it is then ambiguous.
    pub(crate) fn looks_at_path(&self) -> bool {
        !matches!(self, Self::Any) && !matches!(self, Self::Prefix(prefix) if prefix.is_empty())
    }

    pub(crate) fn prefix_segments(&self) -> Option<usize> {
        match self {
            Self::Prefix(prefix) => Some(prefix.matches('/').count()),
            _ => None,
        }
    }

    /// Sorts before what it takes precedence over.
    pub(super) fn precedence(&self) -> (u8, Reverse<usize>, bool) {
        match self {
            Self::Exact(path) => (0, Reverse(path.len()), false),
            Self::Regex { source, .. } => (1, Reverse(source.len()), false),
            Self::Template(template) => (2, Reverse(template.literals()), false),
            Self::Prefix(prefix) => (2, Reverse(prefix.len().max(1)), true),
            Self::Any => (3, Reverse(0), false),
        }
    }
}

/// Equal text means that the same paths match.
impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "exact {path}"),
            Self::Regex { source, .. } => write!(f, "regex {source}"),
            Self::Template(template) => {
                f.write_str("template ")?;
                for segment in &template.segments {
                    write!(f, "/{}", segment.literal().unwrap_or("{}"))?;
                }
                f.write_str(if template.rest { "/*" } else { "" })
            }
            Self::Prefix(prefix) => write!(f, "prefix {prefix}/"),
            Self::Any => f.write_str("any path"),
        }
    }
}

impl Template {
    /// Characters that are given, slashes included.
    fn literals(&self) -> usize {
        let segment = |segment: &Segment| 1 + segment.literal().map_or(0, str::len);
        self.segments.iter().map(segment).sum::<usize>() + usize::from(self.rest)
    }
}

impl Segment {
    fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Blank => None,
        }
    }
}

/// Compiles `source` so that it has to match the whole text.
pub(crate) fn anchored<R>(
    source: &str,
    build: impl Fn(&str) -> Result<R, regex::Error>,
) -> Result<R, PatternError> {
    if source.len() > MAX_PATTERN {
        return Err(PatternError::TooLong(source.len()));
    }
    // On its own first: `a)(b` must not become valid by being wrapped.
    build(source)
        .and_then(|_| build(&format!("^(?:{source})$")))
        .map_err(|error| PatternError::Regex(explain(error)))
}

/// The last line of the parser's picture is the reason.
fn explain(error: regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("it compiles to more than {limit} bytes"),
        other => {
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim();
            reason.strip_prefix("error: ").unwrap_or(reason).to_owned()
        }
    }
}

fn literal(text: &str) -> Result<&str, PatternError> {
    if !text.starts_with('/') {
        return Err(PatternError::NotAbsolute(text.to_owned()));
    }
    let path = canonical(text.as_bytes(), PathMode::Normalise)
        .map_err(|problem| PatternError::NotAPath(text.to_owned(), problem))?;
    match path.matched == text {
        true => Ok(text),
        false => Err(PatternError::NotCanonical(text.to_owned(), path.matched.into_owned())),
    }
}

/// `{name}` yields the name, a plain segment nothing.
fn blank<'a>(template: &str, part: &'a str) -> Result<Option<&'a str>, PatternError> {
    if part.contains('*') {
        return Err(PatternError::StarInside(template.to_owned()));
    }
    let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match name {
        Some(name) if is_name(name) => Ok(Some(name)),
        None if !part.contains(['{', '}']) => Ok(None),
        _ => Err(PatternError::BadBlank(template.to_owned())),
    }
}

/// Finds the lowest rank among the patterns that match a path. Ranks are positions in order of precedence.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    exact: Map<Box<str>, Vec<usize>>,
    regexes: Vec<(Regex, Vec<usize>)>,
    /// Prefixes and templates by segment; the first node is the root.
    nodes: Vec<Node>,
    any: Vec<usize>,
}

/// All lists of ranks are ascending.
#[derive(Debug, Default)]
struct Node {
    literal: Map<Box<str>, usize>,
    blank: Option<usize>,
    /// Prefixes that end here: match whatever follows.
    prefix: Vec<usize>,
    /// Templates that end here: the path must, too.
    end: Vec<usize>,
    /// Templates with `/*` after this: a slash must follow.
    rest: Vec<usize>,
}

impl PathIndex {
    /// `patterns` in order of precedence.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = &'a PathPattern>) -> Self {
        let mut index = Self { nodes: vec![Node::default()], ..Self::default() };
        let mut regexes: Map<&str, usize> = Map::default();
        for (rank, pattern) in patterns.enumerate() {
            match pattern {
                PathPattern::Exact(path) => index.exact.entry(path.clone()).or_default().push(rank),
                PathPattern::Regex { regex, source } => {
                    let slot = *regexes.entry(source).or_insert(index.regexes.len());
                    match index.regexes.get_mut(slot) {
                        Some((_, ranks)) => ranks.push(rank),
                        None => index.regexes.push((regex.clone(), vec![rank])),
                    }
                }
                PathPattern::Prefix(prefix) => {
                    let segments = prefix.split('/').skip(1).map(|text| Segment::Literal(text.into()));
                    index.leaf(segments, |leaf| leaf.prefix.push(rank));
                }
                PathPattern::Template(template) => index.leaf(template.segments.iter().cloned(), |leaf| {
                    if template.rest { leaf.rest.push(rank) } else { leaf.end.push(rank) }
                }),
                PathPattern::Any => index.any.push(rank),
            }
        }
        index
    }

    /// The lowest rank whose pattern matches `path` and that `accepts`.
    pub(super) fn first(&self, path: &str, accepts: impl Fn(usize) -> bool) -> Option<usize> {
        probe::step();
        let mut best = Best { rank: None, accepts };
        if let Some(ranks) = self.exact.get(path) {
            best.offer(ranks);
        }
        for (regex, ranks) in &self.regexes {
            // Sorted by their first rank: nothing from here on can do better than what was found.
            if ranks.first().is_none_or(|first| !best.could_be(*first)) {
                break;
            }
            probe::step();
            if regex.is_match(path) {
                best.offer(ranks);
            }
        }
        // Classes of patterns rank one below the other.
        if best.rank.is_none()
            && let Some(rest) = path.strip_prefix('/')
        {
            self.walk(0, Some(rest), &mut best);
        }
        if best.rank.is_none() {
            best.offer(&self.any);
        }
        best.rank
    }

    /// Offers every list that `rest`, what is left of the path after this node, makes reachable. `None` is the end of
    /// the path, `Some("")` a final slash.
    fn walk<A: Fn(usize) -> bool>(&self, node: usize, rest: Option<&str>, best: &mut Best<A>) {
        probe::step();
        let Some(node) = self.nodes.get(node) else { return };
        match rest {
            None => best.offer(&node.end),
            Some(rest) => {
                let (segment, deeper) = match rest.split_once('/') {
                    Some((segment, deeper)) => (segment, Some(deeper)),
                    None => (rest, None),
                };
                // The longest match usually wins, so look there first: less is left to compare afterwards.
                if let Some(child) = node.literal.get(segment) {
                    self.walk(*child, deeper, best);
                }
                if let Some(child) = node.blank.filter(|_| !segment.is_empty()) {
                    self.walk(child, deeper, best);
                }
                best.offer(&node.rest);
            }
        }
        best.offer(&node.prefix);
    }

    fn leaf(&mut self, segments: impl Iterator<Item = Segment>, add: impl FnOnce(&mut Node)) {
        let mut at = 0;
        for segment in segments {
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            at = match segment {
                Segment::Literal(text) => *node.literal.entry(text).or_insert(fresh),
                Segment::Blank => *node.blank.get_or_insert(fresh),
            };
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        if let Some(leaf) = self.nodes.get_mut(at) {
            add(leaf);
        }
    }
}

/// The lowest rank accepted so far.
struct Best<A> {
    rank: Option<usize>,
    accepts: A,
}

impl<A: Fn(usize) -> bool> Best<A> {
    fn could_be(&self, rank: usize) -> bool {
        self.rank.is_none_or(|best| rank < best)
    }

    fn offer(&mut self, ranks: &[usize]) {
        let better =
            ranks.iter().take_while(|rank| self.could_be(**rank)).find(|rank| (self.accepts)(**rank));
        self.rank = better.copied().or(self.rank);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_explained() {
        let check = |pattern: Result<PathPattern, PatternError>, hint: &str| {
            let error = pattern.unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        };
        check(PathPattern::exact("a"), "start with a slash");
        check(PathPattern::exact(""), "start with a slash");
        check(PathPattern::exact("/a//b"), "here `/a/b`");
        check(PathPattern::exact("/%7Ea"), "here `/~a`");
        check(PathPattern::prefix("/a/../b"), "here `/b`");
        check(PathPattern::exact("/a?b"), "percent-encoded");
        check(PathPattern::exact("/a%2"), "percent escape");
        check(PathPattern::regex("/a("), "unclosed group");
        check(PathPattern::regex("a)(b"), "unopened group");
        check(PathPattern::regex("(?=x)"), "look-around");
        check(PathPattern::regex(r"(\w{100}){100}"), "more than 1048576 bytes");
        check(PathPattern::regex(&"a".repeat(1025)), "1025 bytes");
        check(PathPattern::template("/a/*/b"), "last segment");
        check(PathPattern::template("/a*"), "whole segment");
        check(PathPattern::template("/a/x{id}"), "whole segment");
        check(PathPattern::template("/a/{}"), "whole segment");
        check(PathPattern::template("/{id}/{id}"), "twice");
        check(PathPattern::template("/a//{id}"), "here `/a/x`");
    }

    #[test]
    fn each_kind_matches_what_it_says() {
        let check = |pattern: &PathPattern, yes: &[&str], no: &[&str]| {
            let index = PathIndex::new([pattern].into_iter());
            for (path, expected) in yes.iter().map(|p| (p, Some(0))).chain(no.iter().map(|p| (p, None))) {
                assert_eq!(index.first(path, |_| true), expected, "{pattern}: {path}");
            }
        };
        check(&PathPattern::exact("/a").unwrap(), &["/a"], &["/a/", "/", "/ab"]);
        check(&PathPattern::prefix("/a").unwrap(), &["/a", "/a/", "/a/b/c"], &["/", "/ab", "*"]);
        check(&PathPattern::prefix("/a/").unwrap(), &["/a", "/a/", "/a/b/c"], &["/", "/ab"]);
        check(&PathPattern::prefix("/").unwrap(), &["/", "/a", "/a/b"], &["*", ""]);
        check(&PathPattern::regex("/v[0-9]+").unwrap(), &["/v1", "/v22"], &["/v", "/v1/", "x/v1"]);
        check(&PathPattern::regex("/a|/b").unwrap(), &["/a", "/b"], &["/a/b", "/ab"]);
        check(&PathPattern::template("/u/{id}").unwrap(), &["/u/1"], &["/u/", "/u", "/u/1/", "/u/1/x"]);
        check(&PathPattern::template("/u/{id}/*").unwrap(), &["/u/1/", "/u/1/x/y"], &["/u/1", "/u//x"]);
        check(&PathPattern::template("/*").unwrap(), &["/", "/a/b"], &["*"]);
        check(&PathPattern::template("/a/").unwrap(), &["/a/"], &["/a"]);
        check(&PathPattern::grpc(Some("s.S"), Some("M")).unwrap(), &["/s.S/M"], &["/s.S/N", "/s.S"]);
        check(&PathPattern::grpc(Some("s.S"), None).unwrap(), &["/s.S/M"], &["/s.S", "/s.S/M/x", "/t/M"]);
        check(&PathPattern::grpc(None, Some("M")).unwrap(), &["/s.S/M"], &["/s.S/N"]);
        check(&PathPattern::Any, &["/", "*", ""], &[]);
    }
}
