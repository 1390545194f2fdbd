//! The rules of `deny.toml` over the crates a build can contain: bans, duplicates and licences.
//! Our own small reading of cargo-deny's file, because installing cargo-deny takes minutes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{guests, licence};
use crate::metadata::{self, Package};
use crate::workspace::root;

#[derive(Deserialize)]
struct Rules {
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    /// One version is welcome; two are not.
    #[serde(default)]
    deny_multiple_versions: bool,
}

pub(super) fn run() -> Result<()> {
    let text = std::fs::read_to_string(root().join("deny.toml")).context("reading deny.toml")?;
    let rules: Rules = toml::from_str(&text).context("reading deny.toml")?;
    let mut violations = violations_of(&rules, &metadata::packages("Cargo.toml")?);
    for manifest in guests::MANIFESTS {
        violations.extend(violations_of(&rules, &metadata::packages(manifest)?));
    }
    if !violations.is_empty() {
        bail!("deny.toml is violated:\n  {}", violations.join("\n  "));
    }
    Ok(())
}

/// One sentence for each broken rule.
fn violations_of(rules: &Rules, packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    let bans = rules.bans.deny.iter().filter_map(|ban| {
        let found = versions.get(ban.name.as_str())?;
        let list = found.iter().copied().collect::<Vec<_>>().join(", ");
        if !ban.deny_multiple_versions {
            return Some(format!("{} {list} is banned", ban.name));
        }
        (found.len() > 1).then(|| format!("{} is there in several versions: {list}", ban.name))
    });
    let licences = packages.iter().filter(|package| package.source.is_some()).filter_map(|package| {
        let expression = package.license.as_deref().unwrap_or("");
        let refused = !licence::is_allowed(expression, &rules.licenses.allow);
        refused.then(|| {
            format!("{} {}: licence '{expression}' is not on the list", package.name, package.version)
        })
    });
    bans.chain(licences).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: &str) -> Package {
        Package {
            id: format!("{name} {version}"),
            name: name.into(),
            version: version.into(),
            license: Some(license.into()),
            source: Some("registry".into()),
        }
    }

    /// The committed rules catch what they are there to catch.
    #[test]
    fn planted_violations_are_found() {
        let rules: Rules =
            toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap();
        let packages = [
            package("serde", "1.0.0", "MIT OR Apache-2.0"),
            package("serde", "0.9.0", "MIT OR Apache-2.0"),
            package("aws-lc-rs", "1.0.0", "ISC AND (Apache-2.0 OR ISC)"),
            package("http", "0.2.0", "MIT"),
            package("http", "1.0.0", "MIT"),
            package("readline", "8.0.0", "GPL-3.0-only"),
        ];
        assert_eq!(
            violations_of(&rules, &packages),
            [
                "aws-lc-rs 1.0.0 is banned",
                "http is there in several versions: 0.2.0, 1.0.0",
                "readline 8.0.0: licence 'GPL-3.0-only' is not on the list",
            ]
        );
    }
}
