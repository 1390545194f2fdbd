//! Filters that pick endpoints, and are told who answered.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_http::{Chosen, Upstream};
use serde_json::{Value, json};

use crate::guest::filter;
use crate::rig::{Rig, get, ok, read};

/// Calls the function of this name with this, then does what follows.
fn calls(function: &str, argument: &str, rest: &str) -> Vec<u8> {
    filter(&format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (local $status i32)
             (local.set $status (call $foreign @"{function}" @"{argument}" (i32.const 8) (i32.const 12)))
             {rest}
             (i32.const 0))"#
    ))
}

#[tokio::test]
async fn a_filter_sees_the_endpoints_of_a_cluster() {
    let answers = "(call $ok (local.get $status)) (call $respond (i32.const 200) (call $got))";
    let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let rig =
        Rig::with(&calls("outrigger_endpoints", "c", answers), json!({})).await.calling(address, "http1");
    let listed: Value = serde_json::from_str(&rig.get("/").await.text()).unwrap();
    assert_eq!(listed, json!([{ "address": "127.0.0.1:9", "weight": 1, "usable": true, "active": 0 }]));

    let is_told = "(call $is (local.get $status) (i32.const 1))";
    let rig =
        Rig::with(&calls("outrigger_endpoints", "d", is_told), json!({})).await.calling(address, "http1");
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0));
}

#[tokio::test]
async fn a_filter_chooses_where_its_request_goes() {
    let chosen = async |argument: &str, status: u32| {
        let rest = format!("(call $is (local.get $status) (i32.const {status}))");
        let argument = argument.replace('"', "\\22");
        let rig = Rig::with(&calls("outrigger_choose_endpoint", &argument, &rest), json!({})).await;
        let mut request = get("/");
        assert!(rig.visit().request(&mut request).taken().await.is_none());
        assert_eq!(rig.crashes(), 0);
        request.ext.chosen.map(|chosen| *chosen)
    };
    let there = |strict| Some(Chosen { endpoint: "127.0.0.1:9".into(), strict });
    assert_eq!(chosen(r#"{"address":"127.0.0.1:9"}"#, 0).await, there(false));
    assert_eq!(chosen(r#"{"address":"127.0.0.1:9","strict":true}"#, 0).await, there(true));
    for wrong in ["", "{}", r#"{"address":7}"#, r#"{"address":"a","strickt":true}"#] {
        assert_eq!(chosen(wrong, 2).await, None, "{wrong}");
    }
    // Not once the request has gone.
    let late = filter(
        r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
             (call $is (call $foreign @"outrigger_choose_endpoint" @"{\22address\22:\22a\22}" (i32.const 8) (i32.const 12))
               (i32.const 2))
             (i32.const 0))"#,
    );
    let rig = Rig::with(&late, json!({})).await;
    assert_eq!((rig.get("/").await.status(), rig.crashes()), (200, 0));
}

#[tokio::test]
async fn a_filter_is_told_who_answered() {
    let tells = |path: &str| {
        filter(&format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                 (call $is (call $property @"{path}" (i32.const 8) (i32.const 12)) (i32.const 1))
                 (i32.const 0))
               (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                 (if (i32.eqz (call $property @"{path}" (i32.const 8) (i32.const 12)))
                   (then (call $respond (i32.const 200) (call $got))))
                 (i32.const 0))"#
        ))
    };
    let told = async |path: &str, endpoint: &str| {
        let rig = Rig::with(&tells(path), json!({})).await;
        let (mut request, mut response) = (get("/"), ok("nobody"));
        let mut visit = rig.visit();
        assert!(visit.request(&mut request).taken().await.is_none());
        let (cluster, endpoint) = ("c".into(), endpoint.into());
        response.upstream = Some(Arc::new(Upstream { cluster, endpoint, local: None, tls_version: None }));
        visit.response(&mut response).taken().await;
        drop(visit);
        let body = std::mem::take(&mut response.body);
        read(body).await.unwrap().frames.concat()
    };
    assert_eq!(told("cluster_name", "127.0.0.1:9").await, b"c");
    assert_eq!(told("upstream\\00address", "127.0.0.1:9").await, b"127.0.0.1:9");
    assert_eq!(told("upstream\\00port", "127.0.0.1:9").await, 9u64.to_le_bytes());
    assert_eq!(told("upstream\\00port", "function:hello").await, b"nobody");
}
