//! HTTP/2 conformance (h2spec) of both kinds of listener.

use std::process::Command;

use anyhow::{Context, Result};

use super::peer;
use crate::cases::Cases;
use crate::process::{free_port, scratch};
use crate::sidecar::Sidecar;
use crate::tools;
use crate::workspace::finish;

/// Cases that fail on purpose or by the stack below us, each with its reason.
const KNOWN: &[(&str, &str)] = &[];

pub(super) fn run(cases: &mut Cases) -> Result<()> {
    let (listen, port) = (free_port()?, free_port()?);
    let _backend = peer::python_server("h11_server.py", port, &[])?;
    let config = peer::one_route(listen, port, "protocol: http", "");
    let proxy = Sidecar::start("h2spec-outrigger", &config, &[listen])?;
    conformance(cases, "proxy", listen)?;
    conformance(cases, "api", proxy.api)
}

fn conformance(cases: &mut Cases, listener: &str, port: u16) -> Result<()> {
    let dir = scratch()?;
    let report = dir.path().join("report.xml");
    let mut command = Command::new("timeout");
    command.arg("300").arg(tools::go("h2spec/h2spec"));
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-o", "2", "-j"]).arg(&report);
    finish(&mut command)?;
    let xml = std::fs::read_to_string(&report).context("h2spec wrote no report")?;
    for (name, failure) in verdicts(&xml) {
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        match (failure, known) {
            (None, _) => cases.passed += 1,
            (Some(_), Some((_, reason))) => cases.note(format!("{listener}, {name}: {reason}")),
            (Some(why), None) => cases.fail(&format!("h2spec {listener} {name}"), &why),
        }
    }
    println!("  h2spec on the {listener} listener: {} cases", verdicts(&xml).len());
    Ok(())
}

/// Each case of a JUnit report: package and name, and the failure if there is one.
fn verdicts(xml: &str) -> Vec<(String, Option<String>)> {
    let attribute = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("{name}=\""))?;
        rest.split('"').next().map(str::to_owned)
    };
    let one = |case: &str| {
        let head = case.split('>').next().unwrap_or_default();
        let name = attribute(head, "classname").or_else(|| attribute(head, "name")).unwrap_or_default();
        let package = attribute(head, "package").unwrap_or_default();
        let inside = case.split("</testcase>").next().unwrap_or_default();
        let failure = inside.contains("<failure").then(|| {
            let text = inside
                .split_once("<failure")
                .and_then(|(_, rest)| rest.split_once('>'))
                .map_or("", |(_, rest)| rest);
            text.split("</failure>")
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        });
        (format!("{package}: {name}"), failure)
    };
    xml.split("<testcase").skip(1).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_of_a_report() {
        let xml = r#"<testsuites><testsuite><testcase package="http2/3.5" classname="Sends a preface" time="0"></testcase>
            <testcase package="http2/5.1" classname="Idle" time="0"><failure>GOAWAY
            Timeout</failure></testcase></testsuite></testsuites>"#;
        assert_eq!(
            verdicts(xml),
            [
                ("http2/3.5: Sends a preface".to_owned(), None),
                ("http2/5.1: Idle".to_owned(), Some("GOAWAY Timeout".to_owned())),
            ]
        );
    }
}
