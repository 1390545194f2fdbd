//! Which crate may use which (STYLE.md §1), checked against what cargo knows.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// A room: the crates of ours it may use, and what it stays clear of beyond the other rooms.
struct Room {
    name: &'static str,
    may_use: &'static [&'static str],
    not: &'static [&'static str],
}

/// Client libraries and servers that must not leak into contracts.
const CLIENTS: &[&str] =
    &["tonic", "hyper", "rusqlite", "redis", "etcd-client", "sqlx", "async-nats", "lapin"];

const ROOMS: &[Room] = &[
    Room { name: "outrigger-component-api", may_use: &[], not: CLIENTS },
    Room { name: "outrigger-proto", may_use: &[], not: &[] },
    Room { name: "outrigger-resilience", may_use: &[], not: &["tokio", "hyper", "tonic"] },
    Room { name: "outrigger-telemetry", may_use: &[], not: &["hyper", "tonic"] },
    Room { name: "outrigger-otlp", may_use: &["telemetry"], not: &[] },
    Room { name: "outrigger-net", may_use: &["telemetry"], not: &["hyper", "tonic"] },
    // A backend, to which tonic is the way to its server: etcd speaks gRPC.
    Room { name: "outrigger-etcd", may_use: &["component-api"], not: &["hyper"] },
    Room { name: "outrigger-testkit", may_use: &["component-api"], not: CLIENTS },
    Room { name: "outrigger-http", may_use: &["net", "resilience", "telemetry"], not: &["tonic"] },
    Room { name: "outrigger-cluster", may_use: &["http", "net", "resilience", "telemetry"], not: &["tonic"] },
    Room {
        name: "outrigger-blocks",
        may_use: &["component-api", "cluster", "resilience", "telemetry"],
        not: &["tonic", "hyper", "prost"],
    },
    Room { name: "outrigger-api", may_use: &["proto", "blocks", "http", "net", "telemetry"], not: &[] },
    Room {
        name: "outrigger-proxy",
        may_use: &["http", "cluster", "net", "resilience", "telemetry"],
        not: &["tonic", "prost"],
    },
    Room {
        name: "outrigger-wasm-host",
        may_use: &["http", "cluster", "blocks", "net", "resilience", "telemetry"],
        not: &["hyper", "tonic"],
    },
    Room { name: "outrigger-sdk", may_use: &["proto"], not: &[] },
];

/// What a backend may use: the contract, and nothing of ours beside it.
const BACKEND: Room = Room { name: "", may_use: &["component-api"], not: &["tonic"] };
/// See everything, and nobody depends on them.
const ROOTS: &[&str] = &["outrigger", "xtask"];

/// A crate as cargo describes it.
struct Package {
    name: String,
    /// Its folder, from the root of the workspace.
    folder: String,
    /// What it is made of; what its tests use is free.
    uses: Vec<String>,
}

fn violations(packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .flat_map(|package| package.uses.iter().filter_map(|used| violation(package, used)))
        .collect()
}

fn violation(package: &Package, used: &str) -> Option<String> {
    let name = &package.name;
    let ours = used.strip_prefix("outrigger-");
    if ROOTS.contains(&used) {
        return Some(format!("{name} uses {used}, which nobody may depend on"));
    }
    if used.starts_with("wasmtime") && name != "outrigger-wasm-host" {
        return Some(format!("{name} uses {used}, which only outrigger-wasm-host names"));
    }
    if ROOTS.contains(&name.as_str()) || package.folder.starts_with("demo/") {
        return None;
    }
    let Some(room) = ROOMS.iter().find(|room| room.name == name).or_else(|| {
        (package.folder.starts_with("components/") && package.folder != "components/api").then_some(&BACKEND)
    }) else {
        return Some(format!("{name} has no row in the table"));
    };
    let allowed = match ours {
        Some(ours) => room.may_use.contains(&ours),
        None => !room.not.contains(&used),
    };
    (!allowed).then(|| format!("{name} uses {used}"))
}

fn workspace() -> Vec<Package> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments =
        ["metadata", "--offline", "--no-deps", "--format-version", "1", "--manifest-path", manifest];
    let output = Command::new(cargo).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = metadata["workspace_root"].as_str().unwrap().to_owned() + "/";
    let package = |package: &Value| {
        let manifest = package["manifest_path"].as_str().unwrap();
        let folder = manifest.strip_prefix(&root).unwrap().trim_end_matches("/Cargo.toml");
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let made_of = dependencies.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        Package {
            name: package["name"].as_str().unwrap().to_owned(),
            folder: folder.to_owned(),
            uses: made_of.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect(),
        }
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn every_crate_uses_only_what_its_room_may() {
    let packages = workspace();
    assert!(packages.len() > 10, "cargo told of {} packages only", packages.len());
    assert_eq!(violations(&packages), [""; 0]);
}

#[test]
fn planted_violations_are_caught() {
    let cases = [
        ("runtime/blocks", "outrigger-blocks", "outrigger-proto"),
        ("runtime/blocks", "outrigger-blocks", "tonic"),
        ("runtime/net", "outrigger-net", "outrigger-http"),
        ("runtime/api", "outrigger-api", "outrigger-memory"),
        ("runtime/api", "outrigger-api", "outrigger-proxy"),
        ("runtime/proxy", "outrigger-proxy", "wasmtime"),
        ("components/api", "outrigger-component-api", "hyper"),
        ("components/redis", "outrigger-redis", "outrigger-memory"),
        ("components/redis", "outrigger-redis", "outrigger-net"),
        ("components/redis", "outrigger-redis", "outrigger"),
        ("wasm/host", "outrigger-wasm-host", "outrigger-proxy"),
        ("wasm/host", "outrigger-wasm-host", "outrigger-api"),
        ("runtime/new", "outrigger-new", "bytes"),
    ];
    for (folder, name, uses) in cases {
        let planted =
            Package { name: name.to_owned(), folder: folder.to_owned(), uses: vec![uses.to_owned()] };
        assert_eq!(violations(&[planted]).len(), 1, "{name} uses {uses}");
    }
    let fine = [
        ("components/redis", "outrigger-redis", "redis"),
        ("runtime/api", "outrigger-api", "tonic"),
        ("runtime/outrigger", "outrigger", "outrigger-proxy"),
        ("wasm/host", "outrigger-wasm-host", "wasmtime"),
    ];
    for (folder, name, uses) in fine {
        let package =
            Package { name: name.to_owned(), folder: folder.to_owned(), uses: vec![uses.to_owned()] };
        assert_eq!(violations(&[package]), [""; 0]);
    }
}

#[test]
fn the_table_names_each_room_once() {
    let mut seen = BTreeMap::new();
    for room in ROOMS {
        assert!(seen.insert(room.name, ()).is_none(), "{} twice", room.name);
    }
}
