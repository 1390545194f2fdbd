//! The suites that are cargo's: the checks, and every `#[test]` of the workspace.

use anyhow::{Context, Result, bail};

use crate::backends;
use crate::cases::Cases;
use crate::process::free_port;
use crate::tools;
use crate::workspace::{cargo_with_protoc, finish, tail, tools_dir, transcript};

pub(super) fn check(cases: &mut Cases) -> Result<()> {
    for (name, check) in crate::check::ALL {
        cases.case(name, check);
    }
    Ok(())
}

/// `cargo test`, with its tests counted one by one.
pub(super) fn test(cases: &mut Cases) -> Result<()> {
    let features = "xtask/fuzz,outrigger/full";
    let mut command = cargo_with_protoc(&["test", "--workspace", "--features", features, "--no-fail-fast"])?;
    let port = free_port()?;
    let _redis = backends::redis(port, "")?;
    let etcd_port = free_port()?;
    let _etcd = backends::etcd(etcd_port)?;
    command.env("OUTRIGGER_TEST_ETCD_URL", format!("http://127.0.0.1:{etcd_port}"));
    command.env("OUTRIGGER_TEST_REDIS_URL", format!("127.0.0.1:{port}"));
    command.env("OUTRIGGER_TEST_PYTHON", tools::python("python")).env("CARGO_TERM_COLOR", "never");
    // What failed is in the first lines; a backtrace would push it out of the report.
    command.env("RUST_BACKTRACE", "0");
    let output = finish(&mut command)?;
    let text = transcript(&output);
    let log = tools_dir("logs")?.join("cargo-test.log");
    std::fs::write(&log, &text).with_context(|| format!("writing {}", log.display()))?;
    count(&text, cases);
    if !output.status.success() && cases.failed.is_empty() {
        bail!("cargo test failed before any test did (log: {})\n{}", log.display(), tail(&text, 40));
    }
    println!("  {} tests passed", cases.passed);
    Ok(())
}

/// Reads the verdict lines: `test NAME ... ok|FAILED|ignored[, REASON]`.
fn count(text: &str, cases: &mut Cases) {
    for line in text.lines().filter_map(|line| line.strip_prefix("test ")) {
        let Some((name, verdict)) = line.rsplit_once(" ... ") else { continue };
        match verdict.split(',').next() {
            Some("ok") => cases.passed += 1,
            Some("ignored") => cases.skip(name, verdict.split_once(", ").map_or("ignored", |(_, why)| why)),
            Some("FAILED") => cases.fail(name, &failure(text, name)),
            _ => {}
        }
    }
}

/// What the test printed when it failed.
fn failure(text: &str, name: &str) -> String {
    let Some((_, after)) = text.split_once(&format!("---- {name} stdout ----")) else { return String::new() };
    let block = after.split("\n---- ").next().and_then(|block| block.split("\n\nfailures:").next());
    tail(block.unwrap_or_default().trim(), 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_counted() {
        let text = "\
running 4 tests
test a::good ... ok
test should_panic - should panic ... ok
test a::bad ... FAILED
test slow ... ignored, needs a server

failures:

---- a::bad stdout ----
thread panicked: boom

failures:
    a::bad

test result: FAILED. 2 passed; 1 failed; 1 ignored
";
        let mut cases = Cases::default();
        count(text, &mut cases);
        assert_eq!(cases.passed, 2);
        assert_eq!(cases.failed, [("a::bad".to_owned(), "thread panicked: boom".to_owned())]);
        assert_eq!(cases.skipped, [("slow".to_owned(), "needs a server".to_owned())]);
    }
}
