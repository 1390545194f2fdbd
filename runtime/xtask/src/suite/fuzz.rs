//! Minutes of fuzzing, the same ones each time, and the proof that the driver notices a panic and a hang. `cargo xtask fuzz`
//! looks elsewhere each time.

use anyhow::{Result, ensure};

use crate::cases::Cases;
use crate::fuzz::{driver, storm};
use crate::workspace::{finish, output, transcript};

const SEED: u64 = 1;

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    cases.case("fuzz http1 for 60 s", || {
        let report = output(&mut driver("http1", 60, SEED)?)?;
        println!("  {}", report.lines().last().unwrap_or_default());
        Ok(())
    });
    cases.case("fuzz wasm for 60 s", || output(&mut storm(60, SEED)).map(drop));
    for (target, finding) in [("planted-panic", "panic on"), ("planted-hang", "hang on")] {
        cases.case(
            &format!("planted: the driver notices a {}", target.trim_start_matches("planted-")),
            || {
                let output = finish(driver(target, 60, SEED)?.args(["--patience", "2"]))?;
                let text = transcript(&output);
                ensure!(
                    output.status.code() == Some(1) && text.contains(finding),
                    "{}: {text}",
                    output.status
                );
                Ok(())
            },
        );
    }
    Ok(())
}
