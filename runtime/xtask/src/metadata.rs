//! The part of `cargo metadata` we read: packages, and which of them are in the build.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::workspace::{cargo, output};

#[derive(Deserialize)]
pub(crate) struct TargetDirectory {
    pub(crate) target_directory: PathBuf,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// None for what is in this workspace.
    pub(crate) source: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

/// Every package a build of a workspace with all features could contain, on any platform.
pub(crate) fn packages(manifest: &str) -> Result<Vec<Package>> {
    let mut command = cargo(&["metadata", "--format-version", "1", "--all-features", "--locked"]);
    let text = output(command.args(["--manifest-path", manifest]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("reading cargo metadata")?;
    let built: BTreeSet<&str> = metadata.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
    Ok(metadata.packages.into_iter().filter(|package| built.contains(package.id.as_str())).collect())
}
