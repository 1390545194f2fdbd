//! `cargo xtask proto`: the generated half of the `proto` crate, made from the `.proto` files beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use prost::Message as _;

/// One feature of the `proto` crate: what is compiled together and described by one descriptor set.
struct Dialect {
    /// Names the descriptor set in `src/gen`.
    name: &'static str,
    /// Folder of its `.proto` files, below the crate.
    folder: &'static str,
}

const DIALECTS: &[Dialect] = &[
    Dialect { name: "layotto", folder: "layotto" },
    Dialect { name: "dapr", folder: "dapr" },
    Dialect { name: "outrigger", folder: "outrigger/v1" },
];

/// Writes `proto/src/gen`, or with `check` fails when what is committed differs from what would be written.
pub(crate) fn run(check: bool) -> Result<()> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let wanted = generate(&proto)?;
    let target = proto.join("src/gen");
    if check { compare(&target, &wanted) } else { write(&target, &wanted) }
}

/// Everything that belongs into `src/gen`, by file name.
fn generate(proto: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let scratch = std::env::temp_dir().join(format!("outrigger-proto-{}", std::process::id()));
    fs::create_dir_all(&scratch).with_context(|| format!("creating {}", scratch.display()))?;
    let result = DIALECTS.iter().try_for_each(|dialect| generate_dialect(proto, dialect, &scratch));
    let files = result.and_then(|()| read_folder(&scratch));
    fs::remove_dir_all(&scratch).with_context(|| format!("removing {}", scratch.display()))?;
    files
}

fn generate_dialect(proto: &Path, dialect: &Dialect, out: &Path) -> Result<()> {
    let files = proto_files(&proto.join(dialect.folder))?;
    let mut compiler = protox::Compiler::new([proto])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let mut described = compiler.file_descriptor_set();
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .btree_map(".")
        .out_dir(out)
        .compile_fds(described.clone())
        .with_context(|| format!("generating code for {}", dialect.name))?;
    // Reflection serves structure, not comments.
    described.file.iter_mut().for_each(|file| file.source_code_info = None);
    let path = out.join(format!("{}.bin", dialect.name));
    fs::write(&path, described.encode_to_vec()).with_context(|| format!("writing {}", path.display()))
}

fn proto_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_folder(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let content =
            fs::read(entry.path()).with_context(|| format!("reading {}", entry.path().display()))?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), content);
    }
    Ok(files)
}

fn write(target: &Path, wanted: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("creating {}", target.display()))?;
    for stale in read_folder(target)?.into_keys().filter(|name| !wanted.contains_key(name)) {
        fs::remove_file(target.join(&stale)).with_context(|| format!("removing {stale}"))?;
    }
    for (name, content) in wanted {
        fs::write(target.join(name), content).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

fn compare(target: &Path, wanted: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let committed = read_folder(target)?;
    let names: std::collections::BTreeSet<_> = committed.keys().chain(wanted.keys()).collect();
    let differing: Vec<_> = names
        .into_iter()
        .filter(|name| committed.get(*name) != wanted.get(*name))
        .map(String::as_str)
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    bail!("proto/src/gen differs from the .proto files in {}: run `cargo xtask proto`", differing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_code_matches_the_proto_files() {
        run(true).unwrap();
    }

    #[test]
    fn a_planted_difference_is_found() {
        let folder = std::env::temp_dir().join(format!("outrigger-proto-planted-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let wanted = BTreeMap::from([("a.rs".to_owned(), b"one".to_vec())]);
        write(&folder, &wanted).unwrap();
        compare(&folder, &wanted).unwrap();
        fs::write(folder.join("a.rs"), "two").unwrap();
        let changed = compare(&folder, &wanted);
        fs::write(folder.join("a.rs"), "one").unwrap();
        fs::write(folder.join("left-over.rs"), "").unwrap();
        let extra = compare(&folder, &wanted);
        fs::remove_dir_all(&folder).unwrap();
        assert!(changed.unwrap_err().to_string().contains("a.rs"));
        assert!(extra.unwrap_err().to_string().contains("left-over.rs"));
    }
}
