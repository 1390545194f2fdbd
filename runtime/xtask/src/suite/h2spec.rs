//! HTTP/2 conformance (h2spec) of both kinds of listener.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::peer;
use crate::cases::Cases;
use crate::process::{free_port, scratch};
use crate::sidecar::Sidecar;
use crate::tools;
use crate::workspace::finish;

/// Cases that fail on purpose or by the stack below us: listener, case, reason.
const KNOWN: &[(&str, &str, &str)] = &[
    ("proxy", BAD_PREFACE, HTTP1_TOO),
    ("api", BAD_PREFACE, HTTP1_TOO),
    (
        "api",
        "http2/5.1: closed: Sends a DATA frame after sending RST_STREAM frame",
        "the answer has closed the stream before the reset arrives, and h2 ignores what follows on it",
    ),
    (
        "api",
        "http2/6.9.1: Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
        "the answer is out before the window overflows, and the rest of the request is refused without an error",
    ),
];
const BAD_PREFACE: &str = "http2/3.5: Sends invalid connection preface";
const HTTP1_TOO: &str = "the port speaks HTTP/1.1 too, and what is no preface is answered as that";

/// The API listener refuses what is not gRPC from the head alone, so its whole answer may be out before the violation
/// arrives; h2 then ignores what follows on that stream. Which of the two is first is a race. The proxy listener,
/// which reads on, is held to every case.
const ANSWERED: [&str; 2] = ["DATA Frame (length:", "flags:0x01, stream_id:1)"];
const ANSWERED_EARLY: &str = "answered in full before the violation arrived";

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    let (listen, port) = (free_port()?, free_port()?);
    let _backend = peer::python_server("h11_server.py", port, &[])?;
    let config = peer::one_route(listen, port, "protocol: http", "");
    let proxy = Sidecar::start("h2spec-outrigger", &config, &[listen])?;
    conformance(cases, "proxy", listen)?;
    conformance(cases, "api", proxy.api)?;
    cases.case("planted: h2spec notices a server without HTTP/2", || {
        let verdicts = h2spec(port, &["generic/1"], SECONDS)?;
        let failed = verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Failed(_)));
        ensure!(failed, "it found {verdicts:?}");
        Ok(())
    });
    Ok(())
}

fn conformance(cases: &mut Cases, listener: &str, port: u16) -> Result<()> {
    let verdicts = h2spec(port, &[], SECONDS)?;
    println!("  h2spec on the {listener} listener: {} cases", verdicts.len());
    for (name, mut verdict) in verdicts {
        if let Verdict::Failed(why) = &verdict
            && tolerated(listener, &name, why).is_none()
        {
            cases.note(format!("{listener}, {name}: asked again after {why}"));
            verdict = again(port, &name)?;
        }
        match verdict {
            Verdict::Passed => cases.passed += 1,
            // h2spec skips what the server gave it no occasion for, such as a body long enough.
            Verdict::Skipped => cases.note(format!("{listener}, {name}: h2spec skipped it")),
            Verdict::Failed(why) => match tolerated(listener, &name, &why) {
                Some(reason) => cases.note(format!("{listener}, {name}: {reason}")),
                None => cases.fail(&format!("h2spec {listener} {name}"), &why),
            },
        }
    }
    Ok(())
}

fn tolerated(listener: &str, name: &str, why: &str) -> Option<&'static str> {
    let known = KNOWN.iter().find(|(on, known, _)| *on == listener && *known == name);
    let answered = || listener == "api" && ANSWERED.iter().all(|part| why.contains(part));
    known.map(|(_, _, reason)| *reason).or_else(|| answered().then_some(ANSWERED_EARLY))
}

/// Asks for one case again, with its section and more time: two seconds are few on a machine that stands still.
fn again(port: u16, name: &str) -> Result<Verdict> {
    let section = name.split(':').next().unwrap_or_default();
    let found = h2spec(port, &[section], PATIENT_SECONDS)?.into_iter().find(|(found, _)| found == name);
    Ok(found.with_context(|| format!("section {section} has no case '{name}'"))?.1)
}

/// How long h2spec waits for each reaction, and when it is asked again.
const SECONDS: u32 = 2;
const PATIENT_SECONDS: u32 = 10;

/// Runs h2spec, or only some `sections` of it.
fn h2spec(port: u16, sections: &[&str], seconds: u32) -> Result<Vec<(String, Verdict)>> {
    let dir = scratch()?;
    let report = dir.path().join("report.xml");
    let mut command = Command::new("timeout");
    command.arg("300").arg(tools::go("h2spec/h2spec")).args(sections);
    command.args(["-h", "127.0.0.1", "-P", "/a/path/that/is/echoed", "-p", &port.to_string()]);
    command.args(["-o", &seconds.to_string()]);
    finish(command.arg("-j").arg(&report))?;
    let xml = std::fs::read_to_string(&report).context("h2spec wrote no report")?;
    Ok(verdicts(&xml))
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Skipped,
    Failed(String),
}

/// Each case of a JUnit report: package and name, and how it went.
fn verdicts(xml: &str) -> Vec<(String, Verdict)> {
    xml.split("<testcase").skip(1).map(verdict).collect()
}

fn verdict(case: &str) -> (String, Verdict) {
    let (head, rest) = case.split_once('>').unwrap_or((case, ""));
    let attribute = |name: &str| {
        head.split_once(&format!("{name}=\""))
            .and_then(|(_, rest)| rest.split('"').next())
            .unwrap_or_default()
    };
    let name = format!("{}: {}", attribute("package"), attribute("classname"));
    let inside = rest.split("</testcase>").next().unwrap_or_default().trim();
    let verdict = if inside.is_empty() {
        Verdict::Passed
    } else if inside.starts_with("<skipped") {
        Verdict::Skipped
    } else {
        let text = inside.split_once('>').map_or(inside, |(_, text)| text);
        let text = text.split("</").next().unwrap_or_default();
        Verdict::Failed(text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    (name, verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_of_a_report() {
        let xml = r#"<testsuites><testsuite>
            <testcase package="http2/3.5" classname="Sends a preface" time="0"></testcase>
            <testcase package="http2/5.1" classname="Idle" time="0">
              <error>GOAWAY
            Timeout</error></testcase>
            <testcase package="http2/6.9" classname="Window" time="0"><skipped></skipped></testcase>
            </testsuite></testsuites>"#;
        assert_eq!(
            verdicts(xml),
            [
                ("http2/3.5: Sends a preface".to_owned(), Verdict::Passed),
                ("http2/5.1: Idle".to_owned(), Verdict::Failed("GOAWAY Timeout".to_owned())),
                ("http2/6.9: Window".to_owned(), Verdict::Skipped),
            ]
        );
    }
}
