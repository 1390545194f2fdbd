//! What becomes of unusual paths, seen from the backend.

use serde_json::json;

use crate::backend::{Backend, ok};
use crate::client::Client;
use crate::harness::Proxy;

/// Routes `/admin` to one backend and the rest to another; both say who they are and what they were asked.
fn start(paths: serde_json::Value) -> (Proxy, [Backend; 2]) {
    let backend = |name: &'static str| Backend::http(move |head, _| ok(&format!("{name} {}", head.line)));
    let backends = [backend("admin"), backend("public")];
    let proxy = Proxy::start(json!({
        "listeners": { "web": { "address": "127.0.0.1:0", "paths": paths } },
        "routes": {
            "admin": { "match": [{ "path": { "prefix": "/admin" } }], "backends": [{ "cluster": "admin" }] },
            "public": { "backends": [{ "cluster": "public" }] },
            "plain": { "hosts": ["plain.example"], "backends": [{ "cluster": "public" }] },
        },
        "clusters": {
            "admin": { "endpoints": [backends[0].address] },
            "public": { "endpoints": [backends[1].address] },
        },
    }));
    (proxy, backends)
}

fn check(proxy: &Proxy, path: &str, expected: Result<&str, (u16, &str)>) {
    let reply = Client::connect(proxy.web()).get(path, "");
    match expected {
        Ok(text) => assert_eq!((reply.status, reply.text()), (200, text), "{path}"),
        Err(refusal) => assert_eq!(reply.refusal(), refusal, "{path}"),
    }
}

#[test]
fn routing_and_backend_see_one_path() {
    let (proxy, _backends) = start(json!({}));
    check(&proxy, "/a/b", Ok("public GET /a/b HTTP/1.1"));
    check(&proxy, "/x/../admin?q=//..", Ok("admin GET /admin?q=//.. HTTP/1.1"));
    check(&proxy, "//admin/./x", Ok("admin GET /admin/x HTTP/1.1"));
    check(&proxy, "/%61dmin", Ok("admin GET /%61dmin HTTP/1.1"));
    check(&proxy, "/%2e%2e/admin", Err((400, "bad_path")));
    check(&proxy, "/..;/admin", Err((400, "bad_path")));
    check(&proxy, "/../admin", Err((400, "bad_path")));
    check(&proxy, "/a%00", Err((400, "target_nul")));
    check(&proxy, "/public%2f..%2fadmin", Err((400, "escaped_slash")));
}

#[test]
fn escaped_slashes_pass_when_the_operator_says_so() {
    let (proxy, _backends) = start(json!({ "escaped_slashes": "keep" }));
    check(&proxy, "/group%2Fproject", Ok("public GET /group%2Fproject HTTP/1.1"));
}

#[test]
fn a_strict_listener_refuses_what_it_would_rewrite() {
    let (proxy, _backends) = start(json!({ "mode": "strict" }));
    check(&proxy, "/a//b", Err((400, "bad_path")));
    check(&proxy, "/a/b", Ok("public GET /a/b HTTP/1.1"));
}
