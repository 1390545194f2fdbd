//! Mistakes in a configuration, each found, named by its path, and explained.

use outrigger_cluster::{Clusters, Context};
use serde_json::{Value, json};

use super::*;

/// Clusters `cart-v1` and `cart-v2`; must be called within a runtime.
fn clusters(metrics: &Metrics) -> Clusters {
    let none = Clusters::empty(Context::new(metrics.clone(), tokio::runtime::Handle::current()));
    let cluster = |endpoint| json!({ "endpoints": [endpoint] });
    let config = json!({ "cart-v1": cluster("127.0.0.1:9"), "cart-v2": cluster("127.0.0.1:10"),
        "hello": { "endpoints": [{ "function": "hello" }] },
        "mixed": { "endpoints": [{ "function": "hello" }, "127.0.0.1:9"] } });
    let config = serde_json::from_value(config).unwrap();
    Clusters::compile(&config, &none).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn try_compile(config: Value) -> Result<Proxy, Vec<Problem>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let metrics = Metrics::new();
    let config: ProxyConfig = serde_json::from_value(config).unwrap();
    compile(&config, &clusters(&metrics), &Modules::new(), &metrics, None)
}

/// The problems of `config` are exactly these: path, and a part of the message.
fn check(config: Value, expected: &[(&str, &str)]) {
    let shown = config.to_string();
    let problems = try_compile(config).err().unwrap_or_default();
    let as_expected = problems.len() == expected.len()
        && problems.iter().zip(expected).all(|(p, (path, hint))| p.path == *path && p.message.contains(hint));
    assert!(as_expected, "{shown}\n  expected {expected:?}\n  found {problems:#?}");
}

/// One HTTP listener `web` and a route `r` with these settings.
fn route(route: Value) -> Value {
    json!({ "listeners": { "web": { "address": "127.0.0.1:0" } }, "routes": { "r": route } })
}

fn listener(listener: Value) -> Value {
    json!({ "listeners": { "l": listener } })
}

#[test]
fn a_full_configuration_compiles() {
    let config = json!({
        "listeners": {
            "web": { "address": "127.0.0.1:8080", "paths": { "mode": "strict", "escaped_slashes": "keep" } },
            "edge": { "address": "127.0.0.1:8081", "limits": { "max_connections": 10 } },
            "db": { "address": "127.0.0.1:3306", "protocol": "tcp", "cluster": "cart-v1", "idle_timeout": "1h" },
            "tls": { "address": "127.0.0.1:443", "protocol": "tls_passthrough",
                     "sni": { "a.example": "cart-v1", "*.example": "cart-v2" } },
        },
        "routes": {
            "shop": {
                "listeners": ["web"], "hosts": ["shop.example", "*.shop.example"],
                "match": [
                    { "path": { "prefix": "/cart" }, "method": "GET",
                      "headers": { "x-env": "canary", "x-debug": { "present": false }, "x-n": 1 },
                      "query": { "v": { "regex": "[0-9]+", "invert": true } } },
                    { "path": { "prefix": "/basket" } },
                ],
                "filters": { "headers": { "request": { "set": { "x-a": "1" } }, "response": { "remove": ["server"] } },
                             "cors": { "origins": ["https://a.example"] } },
                "rewrite": { "prefix": "/", "host": "cart.local" },
                "backends": [{ "cluster": "cart-v1", "weight": 90 }, { "cluster": "cart-v2", "weight": 10 }],
                "timeout": "15s", "retry": { "attempts": 2, "on": ["connect_failure", "5xx"] },
            },
            "grpc": { "match": [{ "grpc": { "service": "shop.v1.Cart" } }], "backends": [{ "cluster": "cart-v1" }] },
            "old": { "match": [{ "path": { "regex": "/old/.*" } }], "redirect": { "status": 301, "path": "/new" } },
            "ping": { "match": [{ "path": { "exact": "/ping" } }], "respond": { "body": "pong" } },
            "user": { "match": [{ "path": { "template": "/users/{id}/*" } }], "backends": [{ "cluster": "cart-v1" }] },
        },
    });
    let proxy = try_compile(config).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!((proxy.listeners.len(), proxy.routes.len()), (4, 5));
}

#[test]
fn references_must_exist() {
    check(
        route(json!({ "backends": [{ "cluster": "cart-v1" }, { "cluster": "cart-v3" }] })),
        &[("routes.r.backends.1.cluster", "no cluster `cart-v3`; did you mean `cart-v1`?")],
    );
    check(
        route(json!({ "listeners": ["wed"], "respond": {} })),
        &[("routes.r.listeners.0", "no listener `wed`; did you mean `web`?")],
    );
    check(
        listener(json!({ "address": "127.0.0.1:0", "protocol": "tcp", "cluster": "mysql" })),
        &[("listeners.l.cluster", "no cluster `mysql`")],
    );
    check(
        listener(
            json!({ "address": "127.0.0.1:0", "protocol": "tls_passthrough", "sni": { "a.example": "cart-v2x" } }),
        ),
        &[("listeners.l.sni.a.example", "did you mean `cart-v2`?")],
    );
    let tcp = json!({ "address": "127.0.0.1:0", "protocol": "tcp", "cluster": "cart-v1" });
    check(
        json!({ "listeners": { "db": tcp }, "routes": { "r": { "listeners": ["db"], "respond": {} } } }),
        &[("routes.r.listeners.0", "does not speak HTTP")],
    );
}

#[test]
fn connections_do_not_go_to_functions() {
    let to = |cluster| listener(json!({ "address": "127.0.0.1:0", "protocol": "tcp", "cluster": cluster }));
    check(to("hello"), &[("listeners.l.cluster", "`hello` has only functions")]);
    check(to("mixed"), &[]);
    let names = json!({ "a.example": "hello", "b.example": "mixed" });
    check(
        listener(json!({ "address": "127.0.0.1:0", "protocol": "tls_passthrough", "sni": names })),
        &[("listeners.l.sni.a.example", "`hello` has only functions")],
    );
    check(route(json!({ "backends": [{ "cluster": "hello" }] })), &[]);
}

#[test]
fn a_route_does_exactly_one_thing() {
    check(route(json!({})), &[("routes.r.backends", "does nothing")]);
    check(route(json!({ "respond": {}, "redirect": {} })), &[("routes.r", "exactly one")]);
    check(
        route(json!({ "respond": {}, "backends": [{ "cluster": "cart-v1" }] })),
        &[("routes.r", "exactly one")],
    );
    check(
        route(json!({ "backends": [{ "cluster": "cart-v1", "weight": 0 }] })),
        &[("routes.r.backends", "all weights are 0")],
    );
    check(route(json!({ "respond": {}, "timeout": "1s" })), &[("routes.r.timeout", "no effect")]);
    check(route(json!({ "respond": { "status": 700 } })), &[("routes.r.respond.status", "700")]);
    check(route(json!({ "redirect": { "status": 200 } })), &[("routes.r.redirect.status", "200")]);
    check(route(json!({ "redirect": { "scheme": "ftp" } })), &[("routes.r.redirect.scheme", "ftp")]);
    check(route(json!({ "redirect": { "host": "a:80" } })), &[("routes.r.redirect.host", "without port")]);
}

#[test]
fn matches_are_checked() {
    let matching = |one: Value| route(json!({ "match": [one], "respond": {} }));
    check(
        matching(json!({ "path": { "regex": "/a(" } })),
        &[("routes.r.match.0.path.regex", "unclosed group")],
    );
    check(
        matching(json!({ "path": { "regex": "(a{1000}){1000}" } })),
        &[("routes.r.match.0.path.regex", "bytes")],
    );
    check(
        matching(json!({ "path": { "template": "/a/*/b" } })),
        &[("routes.r.match.0.path.template", "last")],
    );
    check(matching(json!({ "path": { "prefix": "cart" } })), &[("routes.r.match.0.path.prefix", "slash")]);
    check(matching(json!({ "path": { "exact": "/a//b" } })), &[("routes.r.match.0.path.exact", "`/a/b`")]);
    check(matching(json!({ "method": "get" })), &[("routes.r.match.0.method", "upper case")]);
    check(
        matching(json!({ "headers": { "a b": "x" } })),
        &[("routes.r.match.0.headers.a b", "not a header name")],
    );
    check(matching(json!({ "headers": { "a": {} } })), &[("routes.r.match.0.headers.a", "exactly one")]);
    check(
        matching(json!({ "query": { "q": { "regex": "[" } } })),
        &[("routes.r.match.0.query.q", "unclosed")],
    );
    check(
        matching(json!({ "grpc": {}, "method": "POST" })),
        &[("routes.r.match.0.grpc", "leave `path` and `method`")],
    );
    check(route(json!({ "hosts": ["a:80"], "respond": {} })), &[("routes.r.hosts.0", "without their port")]);
}

#[test]
fn changes_are_checked() {
    let backends = json!([{ "cluster": "cart-v1" }]);
    check(
        route(json!({ "rewrite": { "prefix": "/" }, "backends": backends })),
        &[("routes.r.rewrite.prefix", "every match of the route needs a `prefix`")],
    );
    check(
        route(json!({ "rewrite": { "path": "/a", "prefix": "/" }, "backends": backends })),
        &[("routes.r.rewrite", "not both")],
    );
    check(
        route(json!({ "rewrite": { "path": "a" }, "backends": backends })),
        &[("routes.r.rewrite.path", "slash")],
    );
    check(
        route(json!({ "rewrite": { "host": "a b" }, "backends": backends })),
        &[("routes.r.rewrite.host", "not a host name")],
    );
    check(
        route(
            json!({ "filters": { "headers": { "request": { "set": { "host": "x" } } } }, "backends": backends }),
        ),
        &[("routes.r.filters.headers.request.set.host", "rewrite")],
    );
    check(
        route(json!({ "retry": { "per_try_timeout": "0s" }, "backends": backends })),
        &[("routes.r.retry.per_try_timeout", "above 0")],
    );
}

#[test]
fn a_route_that_can_never_be_chosen_is_refused() {
    let web = json!({ "web": { "address": "127.0.0.1:0" }, "other": { "address": "127.0.0.1:0" } });
    let both = |a: Value, b: Value| json!({ "listeners": web, "routes": { "a": a, "b": b } });
    let plain =
        || json!({ "hosts": ["x.example"], "match": [{ "path": { "prefix": "/a/" } }], "respond": {} });
    let same =
        json!({ "hosts": ["y", "X.example."], "match": [{ "path": { "prefix": "/a" } }], "respond": {} });
    check(both(plain(), same), &[("routes.b.match", "route `a` matches the same")]);
    check(both(json!({ "respond": {} }), json!({ "respond": {} })), &[("routes.b.match", "route `a`")]);
    let header = json!({ "hosts": ["x.example"], "match": [{ "path": { "prefix": "/a" }, "headers": { "h": "1" } }],
                         "respond": {} });
    check(both(plain(), header), &[]);
    check(
        both(
            json!({ "listeners": ["web"], "respond": {} }),
            json!({ "listeners": ["other"], "respond": {} }),
        ),
        &[],
    );
    check(
        route(json!({ "match": [{ "method": "GET" }, { "method": "GET" }], "respond": {} })),
        &[("routes.r.match", "twice")],
    );
}

#[test]
fn listeners_are_checked() {
    let two = |a: &str, b: &str| json!({ "listeners": { "a": { "address": a }, "b": { "address": b } } });
    check(two("127.0.0.1:80", "127.0.0.1:80"), &[("listeners.b.address", "listener `a` has 127.0.0.1:80")]);
    check(two("127.0.0.1:80", "0.0.0.0:80"), &[("listeners.b.address", "listener `a`")]);
    check(two("unix:/run/a.sock", "unix:/run/a.sock"), &[("listeners.b.address", "listener `a`")]);
    check(two("127.0.0.1:0", "127.0.0.1:0"), &[]);
    check(two("127.0.0.1:80", "127.0.0.2:80"), &[]);
    check(two("0.0.0.0:80", "[::]:80"), &[]);
    let address = "127.0.0.1:0";
    check(
        listener(json!({ "address": address, "protocol": "tcp" })),
        &[("listeners.l.cluster", "needs the cluster")],
    );
    check(
        listener(json!({ "address": address, "protocol": "tls_passthrough" })),
        &[("listeners.l.sni", "needs `sni`")],
    );
    check(
        listener(json!({ "address": address, "cluster": "cart-v1" })),
        &[("listeners.l.cluster", "belongs to")],
    );
    check(
        listener(
            json!({ "address": address, "protocol": "tcp", "cluster": "cart-v1", "sni": { "a": "cart-v1" } }),
        ),
        &[("listeners.l.sni", "belongs to")],
    );
    check(
        listener(json!({ "address": address, "wasm": ["f"] })),
        &[("listeners.l.wasm", "belongs to a `tcp`")],
    );
    check(
        listener(json!({ "address": address, "protocol": "tcp", "cluster": "cart-v1", "wasm": ["f"] })),
        &[("listeners.l.wasm.0", "no plugin `f`")],
    );
    check(
        listener(json!({ "address": address, "http": { "max_headers": 0 } })),
        &[("listeners.l.http.max_headers", "between")],
    );
    check(
        listener(json!({ "address": address, "limits": { "max_connections": 0 } })),
        &[("listeners.l.limits.max_connections", "at least 1")],
    );
    check(
        listener(
            json!({ "address": address, "tls": { "certificate": "/no/such.pem", "key": "/no/such.key" } }),
        ),
        &[("listeners.l.tls", "/no/such.pem")],
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let config = json!({
        "listeners": { "db": { "address": "127.0.0.1:0", "protocol": "tcp" } },
        "routes": {
            "a": { "hosts": ["a:1"], "backends": [{ "cluster": "nope" }] },
            "b": {},
        },
    });
    let paths: Vec<String> =
        try_compile(config).err().unwrap().into_iter().map(|problem| problem.path).collect();
    assert_eq!(
        paths,
        ["routes.a.hosts.0", "routes.a.backends.0.cluster", "routes.b.backends", "listeners.db.cluster"]
    );
}

#[test]
fn unknown_keys_are_refused() {
    for (config, key) in [
        (json!({ "listners": {} }), "listners"),
        (route(json!({ "host": [] })), "host"),
        (route(json!({ "match": [{ "path": { "suffix": "/a" } }] })), "suffix"),
        (route(json!({ "match": [{ "headers": { "a": { "exakt": "x" } } }] })), "exakt"),
        (route(json!({ "backends": [{ "cluster": "c", "wieght": 1 }] })), "wieght"),
        (listener(json!({ "address": "127.0.0.1:0", "protocoll": "tcp" })), "protocoll"),
    ] {
        let error = serde_json::from_value::<ProxyConfig>(config).unwrap_err().to_string();
        assert!(
            error.contains(&format!("unknown field `{key}`"))
                || error.contains(&format!("unknown variant `{key}`")),
            "{error}"
        );
    }
}

#[test]
fn what_did_not_change_is_taken_over() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let metrics = Metrics::new();
    let clusters = clusters(&metrics);
    let config = |timeout: &str| -> ProxyConfig {
        let backends = json!([{ "cluster": "cart-v1" }]);
        serde_json::from_value(json!({
            "listeners": { "web": { "address": "127.0.0.1:0" } },
            "routes": {
                "same": { "hosts": ["a"], "backends": backends },
                "changed": { "hosts": ["b"], "backends": backends, "timeout": timeout },
            },
        }))
        .unwrap()
    };
    let first = compile(&config("1s"), &clusters, &Modules::new(), &metrics, None).ok().unwrap();
    let second = compile(&config("2s"), &clusters, &Modules::new(), &metrics, Some(&first)).ok().unwrap();
    let kept = |name: &str| Arc::ptr_eq(&first.routes[name], &second.routes[name]);
    assert!(kept("same"));
    assert!(!kept("changed"));
    let other_clusters = self::clusters(&metrics);
    let third =
        compile(&config("2s"), &other_clusters, &Modules::new(), &metrics, Some(&second)).ok().unwrap();
    assert!(!Arc::ptr_eq(&second.routes["same"], &third.routes["same"]), "its cluster is another one");
}

#[test]
fn the_schema_describes_every_field() {
    let schema = serde_json::to_value(schemars::schema_for!(ProxyConfig)).unwrap();
    let mut undocumented = Vec::new();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        for (field, property) in definition["properties"].as_object().into_iter().flatten() {
            if property.get("description").is_none() {
                undocumented.push(format!("{name}.{field}"));
            }
        }
    }
    let ours = [
        "ListenerConfig",
        "RouteConfig",
        "MatchConfig",
        "GrpcMatch",
        "BackendConfig",
        "RewriteConfig",
        "RedirectConfig",
        "RespondConfig",
        "PathsConfig",
    ];
    undocumented.retain(|field| ours.iter().any(|owner| field.starts_with(&format!("{owner}."))));
    assert_eq!(undocumented, [""; 0]);
}

#[test]
fn bytes_are_not_sent_round_in_circles() {
    let tcp =
        |address: &str, cluster: &str| json!({ "address": address, "protocol": "tcp", "cluster": cluster });
    check(
        listener(tcp("0.0.0.0:9", "cart-v1")),
        &[("listeners.l.cluster", "cluster `cart-v1` leads back to this listener")],
    );
    let sni = json!({ "address": "127.0.0.1:9", "protocol": "tls_passthrough", "sni": { "a": "cart-v1", "b": "cart-v2" } });
    check(listener(sni), &[("listeners.l.sni.a", "leads back to this listener")]);
    let two = |back: &str| json!({ "listeners": { "a": tcp("127.0.0.1:9", "cart-v2"), "b": tcp("127.0.0.1:10", back) } });
    check(
        two("cart-v1"),
        &[
            ("listeners.a.cluster", "`cart-v2` leads back to this listener by way of `b`"),
            ("listeners.b.cluster", "`cart-v1` leads back to this listener by way of `a`"),
        ],
    );
    // Before one that leads round, and not part of the round itself.
    check(two("cart-v2"), &[("listeners.b.cluster", "`cart-v2` leads back to this listener")]);
    check(
        json!({ "listeners": { "a": tcp("127.0.0.1:8", "cart-v2"), "b": tcp("127.0.0.1:10", "cart-v1") } }),
        &[],
    );
}
