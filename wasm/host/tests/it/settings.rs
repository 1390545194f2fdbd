//! Settings that are not about what a filter does with a request.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::json;

use crate::guest::filter;
use crate::rig::Rig;

#[tokio::test]
async fn a_file_of_another_digest_is_refused() {
    let module = filter("");
    let mut rig = Rig::empty();
    let other = "0".repeat(64);
    let [problem] = rig.load(&module, json!({ "sha256": other })).await.unwrap_err().try_into().unwrap();
    assert_eq!(problem.path, "plugins.p.sha256");
    let (_, digest) = problem.message.split_once("the file has another digest: ").unwrap();
    rig.load(&module, json!({ "sha256": digest.to_uppercase() })).await.unwrap();
    assert_eq!(rig.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_missing_file_is_told_with_its_name() {
    let mut rig = Rig::empty();
    let config = json!({ "plugins": { "p": { "file": "/nowhere/p.wasm" } } });
    let [problem] = rig.apply(config).await.unwrap_err().try_into().unwrap();
    assert_eq!(problem.path, "plugins.p.file");
    assert!(problem.message.starts_with("cannot read /nowhere/p.wasm: "), "{}", problem.message);
}

#[tokio::test]
async fn compiled_modules_are_kept_in_the_cache_and_compiled_again_when_damaged() {
    let module = filter("");
    let mut rig = Rig::empty();
    let cache = rig.file("elsewhere");
    fs::write(rig.file("p.wasm"), &module).unwrap();
    let config = json!({ "cache": cache, "plugins": { "p": { "file": rig.file("p.wasm") } } });
    rig.apply(config.clone()).await.unwrap();
    let kept = || fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let [file] = kept().try_into().unwrap();
    let whole = fs::read(&file).unwrap();

    // Another process finds what this one compiled.
    let written = fs::metadata(&file).unwrap();
    let mut second = Rig::empty();
    second.apply(config.clone()).await.unwrap();
    assert_eq!((second.get("/").await.status(), kept().len()), (200, 1));
    let used = fs::metadata(&file).unwrap();
    assert_eq!(used.ino(), written.ino(), "nobody wrote it again");
    assert!(used.modified().unwrap() > written.modified().unwrap(), "what is in use is kept longest");

    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let mut third = Rig::empty();
    third.apply(config).await.unwrap();
    assert_eq!((third.get("/").await.status(), fs::read(&file).unwrap() == whole), (200, true));
}
