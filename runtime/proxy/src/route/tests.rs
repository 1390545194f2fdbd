//! The table against a list of cases, against a matcher that tries every entry, and against its own cost at scale.

use bytes::Bytes;
use http::{HeaderName, Method};
use outrigger_http::Authority;
use proptest::prelude::*;

use super::conditions::ValueTest;
use super::*;

fn host(text: &str) -> HostPattern {
    HostPattern::parse(text).unwrap()
}

fn request(method: Method, authority: &str, target: &str, headers: &[(&str, &str)]) -> RequestHead {
    let authority = Authority::parse(Bytes::copy_from_slice(authority.as_bytes())).unwrap();
    let mut head = RequestHead::new(method, authority, target.to_owned());
    for (name, value) in headers {
        head.headers.append(&name.parse::<HeaderName>().unwrap(), *value).unwrap();
    }
    head
}

fn is(value: &str) -> FieldTest {
    FieldTest { value: ValueTest::Exact(value.as_bytes().into()), invert: false }
}

fn entry(host_text: &str, path: PathPattern, conditions: Conditions, route: usize) -> Entry {
    Entry { host: host(host_text), path, conditions, route }
}

fn prefix(text: &str) -> PathPattern {
    PathPattern::prefix(text).unwrap()
}

#[test]
fn precedence_is_that_of_the_gateway_api() {
    let none = Conditions::default;
    let method = |method| Conditions { method: Some(method), ..none() };
    let header = |name: &str, value| {
        let name = name.parse::<HeaderName>().unwrap();
        Conditions { headers: [(name, is(value))].into(), ..none() }
    };
    let query = |name: &str, value| Conditions { query: [(name.into(), is(value))].into(), ..none() };
    let entries = [
        ("*", PathPattern::Any, none()),                                        // 0
        ("shop.example", prefix("/cart"), none()),                              // 1
        ("shop.example", prefix("/cart/items"), none()),                        // 2
        ("shop.example", PathPattern::exact("/cart").unwrap(), none()),         // 3
        ("*.example", prefix("/"), none()),                                     // 4
        ("*.shop.example", prefix("/"), none()),                                // 5
        ("shop.example", prefix("/cart"), method(Method::PUT)),                 // 6
        ("shop.example", prefix("/cart"), header("x-env", "canary")),           // 7
        ("shop.example", prefix("/cart"), query("v", "2")),                     // 8
        ("shop.example", PathPattern::regex("/re/[a-z]+").unwrap(), none()),    // 9
        ("shop.example", PathPattern::template("/cart/{id}").unwrap(), none()), // 10
        ("shop.example", prefix("/cart"), none()),                              // 11: as 1, later
        ("shop.example", PathPattern::grpc(Some("a.S"), None).unwrap(), Conditions { grpc: true, ..none() }), // 12
        ("shop.example", prefix("/re/x"), none()), // 13
    ];
    let table =
        Table::new(entries.into_iter().enumerate().map(|(i, (host, path, when))| entry(host, path, when, i)));
    let check = |method: Method, url: &str, headers: &[(&str, &str)], expected: usize| {
        let (authority, path) = url.split_at(url.find('/').unwrap());
        let head = request(method, authority, path, headers);
        assert_eq!(
            pick(&table, &head, head.path()).map(|choice| choice.route),
            Some(expected),
            "{url} {headers:?}"
        );
    };
    let get = Method::GET;
    check(get.clone(), "shop.example/cart", &[], 3);
    check(get.clone(), "SHOP.example:8080/cart", &[], 3);
    check(get.clone(), "shop.example./cart", &[], 3);
    check(get.clone(), "shop.example/cart/x/y", &[], 1);
    check(get.clone(), "shop.example/cart/", &[], 1);
    check(get.clone(), "shop.example/cart/items/1", &[], 2);
    check(get.clone(), "shop.example/cart/7", &[], 10);
    check(Method::PUT, "shop.example/cart/x/y", &[], 6);
    check(Method::PUT, "shop.example/cart/x/y?v=2", &[("x-env", "canary")], 6);
    check(get.clone(), "shop.example/cart/x/y?v=2", &[("x-env", "canary")], 7);
    check(get.clone(), "shop.example/cart/x/y?v=2", &[("X-Env", "other")], 8);
    check(get.clone(), "shop.example/cart/x/y", &[("x-env", "canary"), ("x-env", "b")], 1);
    check(get.clone(), "shop.example/re/xyz", &[], 9);
    check(get.clone(), "shop.example/re/x/1", &[], 13);
    check(Method::POST, "shop.example/a.S/M", &[("content-type", "application/grpc+proto")], 12);
    // Nothing of shop.example takes these, so the wildcard's turn comes.
    check(Method::POST, "shop.example/a.S/M", &[("content-type", "application/json")], 4);
    check(get.clone(), "shop.example/carts", &[], 4);
    check(get.clone(), "a.b.shop.example/", &[], 5);
    check(get.clone(), "other.example/cart", &[], 4);
    check(get.clone(), "example/cart", &[], 0);
    check(Method::OPTIONS, "x.invalid/", &[], 0);
}

#[test]
fn values_are_tested_as_documented() {
    let regex = ValueTest::Regex(regex::bytes::Regex::new("^(?:v[0-9])$").unwrap());
    let check = |value: &ValueTest, invert: bool, headers: &[(&str, &str)], expected: bool| {
        let test = FieldTest { value: value.clone(), invert };
        let conditions =
            Conditions { headers: [(HeaderName::from_static("h"), test)].into(), ..Conditions::default() };
        let head = request(Method::GET, "a", "/", headers);
        assert_eq!(conditions.accept(&head), expected, "{value:?} {invert} {headers:?}");
    };
    check(&ValueTest::Present, false, &[("h", "")], true);
    check(&ValueTest::Present, false, &[], false);
    check(&ValueTest::Present, true, &[], true);
    check(&is("a").value, false, &[("h", "a")], true);
    check(&is("a").value, false, &[("h", "A")], false);
    check(&is("a").value, true, &[("h", "b")], true);
    check(&is("a").value, true, &[], true);
    // Several values count as one joined value: a second one cannot hide behind a first.
    check(&is("a").value, false, &[("h", "a"), ("h", "b")], false);
    check(&is("a, b").value, false, &[("h", "a"), ("h", "b")], true);
    check(&regex, false, &[("h", "v1")], true);
    check(&regex, false, &[("h", "v1x")], false);
    check(&regex, true, &[("h", "v1x")], true);
}

#[test]
fn a_prefix_tells_how_many_segments_it_took() {
    let check = |path: PathPattern, expected| {
        let table = Table::new([entry("*", path, Conditions::default(), 0)]);
        let head = request(Method::GET, "a", "/v1/a", &[]);
        assert_eq!(pick(&table, &head, "/v1/a").unwrap().prefix_segments, expected);
    };
    check(prefix("/"), Some(0));
    check(prefix("/v1"), Some(1));
    check(prefix("/v1/a"), Some(2));
    check(PathPattern::exact("/v1/a").unwrap(), None);
}

#[test]
fn paths_matter_unless_all_routes_take_everything() {
    let when = Conditions::default;
    let table = Table::new([
        entry("plain.example", prefix("/"), when(), 0),
        entry("picky.example", prefix("/a"), when(), 1),
        entry("*.example", PathPattern::Any, when(), 2),
    ]);
    assert!(!table.looks_at_paths("plain.example"));
    assert!(table.looks_at_paths("picky.example"));
    assert!(!table.looks_at_paths("other.example"));
}

/// 10,000 routes must not cost more than ten: same look-ups, same comparisons.
#[test]
fn cost_does_not_grow_with_the_number_of_routes() {
    let by_path = |n: usize| {
        Table::new((0..n).map(|i| entry("*", prefix(&format!("/svc-{i}/api")), Conditions::default(), i)))
    };
    let by_host = |n: usize| {
        Table::new((0..n).map(|i| entry(&format!("h{i}.example"), prefix("/"), Conditions::default(), i)))
    };
    let by_exact = |n: usize| {
        let path = |i| PathPattern::exact(&format!("/p{i}")).unwrap();
        Table::new((0..n).map(|i| entry("*", path(i), Conditions::default(), i)))
    };
    let by_template = |n: usize| {
        let path = |i| PathPattern::template(&format!("/t{i}/{{id}}/x")).unwrap();
        Table::new((0..n).map(|i| entry("*", path(i), Conditions::default(), i)))
    };
    let steps = |table: &Table, authority: &str, path: &str| {
        let head = request(Method::GET, authority, path, &[]);
        let mut choice = None;
        let steps = probe::count(|| choice = pick(table, &head, path));
        assert_eq!(choice.map(|choice| choice.route), Some(7), "{authority}{path}");
        steps
    };
    for (few, many, authority, path) in [
        (by_path(10), by_path(10_000), "a", "/svc-7/api/x"),
        (by_host(10), by_host(10_000), "h7.example", "/x"),
        (by_exact(10), by_exact(10_000), "a", "/p7"),
        (by_template(10), by_template(10_000), "a", "/t7/1/x"),
    ] {
        let (few, many) = (steps(&few, authority, path), steps(&many, authority, path));
        assert!(few > 0 && many * 10 <= few * 11, "{path}: {few} steps with 10 routes, {many} with 10,000");
    }
}

/// The planted violation of the test above: routes that share host and path are compared one by one, and it shows.
#[test]
fn the_cost_measure_sees_a_linear_search() {
    let entries = (0..1000).map(|i| {
        let test = is(&i.to_string());
        let conditions =
            Conditions { headers: [(HeaderName::from_static("h"), test)].into(), ..Conditions::default() };
        entry("*", prefix("/"), conditions, i)
    });
    let table = Table::new(entries);
    let head = request(Method::GET, "a", "/", &[("h", "999")]);
    let steps = probe::count(|| assert!(pick(&table, &head, "/").is_some()));
    assert!(steps > 900, "{steps}");
}

mod reference {
    //! Tries every entry and keeps the best, written without the table's own precedence or index.

    use super::*;

    #[derive(Debug, Clone)]
    pub(super) enum Path {
        Exact(String),
        Prefix(String),
        Regex(String),
        Template(String),
        Any,
    }

    #[derive(Debug, Clone)]
    pub(super) struct Rule {
        pub(super) host: String,
        pub(super) path: Path,
        pub(super) method: Option<Method>,
        pub(super) headers: Vec<(String, String)>,
    }

    impl Rule {
        pub(super) fn entry(&self, route: usize) -> Entry {
            let path = match &self.path {
                Path::Exact(text) => PathPattern::exact(text),
                Path::Prefix(text) => PathPattern::prefix(text),
                Path::Regex(text) => PathPattern::regex(text),
                Path::Template(text) => PathPattern::template(text),
                Path::Any => Ok(PathPattern::Any),
            };
            let headers =
                self.headers.iter().map(|(name, value)| (name.parse().unwrap(), is(value))).collect();
            let conditions = Conditions { method: self.method.clone(), headers, ..Conditions::default() };
            entry(&self.host, path.unwrap(), conditions, route)
        }

        fn matches(&self, head: &RequestHead) -> bool {
            self.host_matches(head.authority.host())
                && self.path_matches(head.path())
                && self.method.as_ref().is_none_or(|m| *m == head.method)
                && self
                    .headers
                    .iter()
                    .all(|(name, value)| head.headers.get(&name.parse().unwrap()) == Some(value.as_bytes()))
        }

        fn host_matches(&self, host: &str) -> bool {
            match self.host.strip_prefix('*') {
                Some("") => true,
                Some(suffix) => host.ends_with(suffix),
                None => host == self.host,
            }
        }

        fn path_matches(&self, path: &str) -> bool {
            match &self.path {
                Path::Any => true,
                Path::Exact(text) => path == text,
                Path::Regex(text) => regex::Regex::new(&format!("^(?:{text})$")).unwrap().is_match(path),
                Path::Prefix(text) => {
                    let text = text.trim_end_matches('/');
                    path == text || path.starts_with(&format!("{text}/"))
                }
                Path::Template(text) => {
                    let pattern = text.replace("{a}", "[^/]+").replace("{b}", "[^/]+").replace('*', ".*");
                    regex::Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(path)
                }
            }
        }

        /// Larger is better.
        fn rank(&self) -> impl Ord + use<> {
            let host = match self.host.strip_prefix("*") {
                None => (2, 0),
                Some("") => (0, 0),
                Some(suffix) => (1, suffix.len()),
            };
            let path = match &self.path {
                Path::Exact(_) => (3, 0, 0),
                Path::Regex(text) => (2, text.len(), 0),
                Path::Template(text) => {
                    (1, text.replace("{a}", "").replace("{b}", "").replace('*', "").len(), 1)
                }
                Path::Prefix(text) => (1, text.trim_end_matches('/').len().max(1), 0),
                Path::Any => (0, 0, 0),
            };
            (host, path, self.method.is_some(), self.headers.len())
        }
    }

    pub(super) fn pick(rules: &[Rule], head: &RequestHead) -> Option<usize> {
        let matching = rules.iter().enumerate().filter(|(_, rule)| rule.matches(head));
        matching.rev().max_by_key(|(_, rule)| rule.rank()).map(|(index, _)| index)
    }
}

fn rules() -> impl Strategy<Value = Vec<reference::Rule>> {
    use reference::Path;
    let path = prop_oneof![
        "(/[abc]){1,3}/?".prop_map(Path::Exact),
        "(/[abc]){1,3}/?".prop_map(Path::Prefix),
        Just(Path::Prefix("/".to_owned())),
        prop::sample::select(vec!["/a.*", "/[ab]/c", "(/[abc])+", "/a/b?"])
            .prop_map(|r| Path::Regex(r.to_owned())),
        "(/[abc]){0,1}/\\{a\\}(/[abc]){0,1}(/\\{b\\})?(/\\*)?".prop_map(Path::Template),
        Just(Path::Template("/*".to_owned())),
        Just(Path::Any),
    ];
    let host = prop::sample::select(vec!["*", "*.x", "*.y.x", "x", "y.x", "z.y.x"]).prop_map(str::to_owned);
    let method = prop::option::of(prop::sample::select(vec![Method::GET, Method::PUT]));
    let headers = prop::sample::subsequence(vec![("h", "1"), ("i", "1"), ("j", "2")], 0..3);
    let headers = headers.prop_map(|all| all.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect());
    let rule = (host, path, method, headers);
    prop::collection::vec(rule, 0..25).prop_map(|rules| {
        let rule = |(host, path, method, headers)| reference::Rule { host, path, method, headers };
        rules.into_iter().map(rule).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_table_agrees_with_trying_everything(
        rules in rules(),
        host in prop::sample::select(vec!["x", "y.x", "z.y.x", "w.z.y.x", "q"]),
        path in "(/[abc]){1,4}/?|/",
        put in any::<bool>(),
        headers in prop::sample::subsequence(vec![("h", "1"), ("i", "1"), ("j", "2")], 0..=3),
    ) {
        let table = Table::new(rules.iter().enumerate().map(|(i, rule)| rule.entry(i)));
        let head = request(if put { Method::PUT } else { Method::GET }, host, &path, &headers);
        let found = pick(&table, &head, &path).map(|choice| choice.route);
        prop_assert_eq!(found, reference::pick(&rules, &head));
    }
}
