//! The committed pages of the component types are what the program says of them.

use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_outrigger");

fn docs(arguments: &[&str], folder: &Path) -> Result<(), String> {
    let output = Command::new(PROGRAM).arg("docs").args(arguments).arg(folder).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn committed_pages_are_what_the_program_says() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../components/docs");
    docs(&["--check"], &committed).unwrap();
}

#[test]
fn a_page_that_differs_is_named_and_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    docs(&[], folder.path()).unwrap();
    docs(&["--check"], folder.path()).unwrap();
    let page = folder.path().join("state.sqlite.md");
    let written = fs::read_to_string(&page).unwrap();
    fs::write(&page, "something else").unwrap();
    fs::write(folder.path().join("state.gone.md"), "a type that is no more").unwrap();
    let error = docs(&["--check"], folder.path()).unwrap_err();
    assert!(error.contains("state.sqlite.md") && error.contains("state.gone.md"), "{error}");
    docs(&[], folder.path()).unwrap();
    docs(&["--check"], folder.path()).unwrap();
    assert_eq!(fs::read_to_string(&page).unwrap(), written);
}
