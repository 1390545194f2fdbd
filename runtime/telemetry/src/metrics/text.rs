//! The Prometheus text format 0.0.4, written line by line.

use std::fmt::{Display, Write};

const INFALLIBLE: &str = "writing to a String cannot fail";

pub(super) fn header(out: &mut String, name: &str, help: &str, kind: &str) {
    out.push_str("# HELP ");
    out.push_str(name);
    out.push(' ');
    escape(out, help, false);
    writeln!(out, "\n# TYPE {name} {kind}").expect(INFALLIBLE);
}

/// Appends `label="value"`, after a comma when it is not the first.
pub(super) fn label(out: &mut String, label: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(label);
    out.push_str("=\"");
    escape(out, value, true);
    out.push('"');
}

/// Reads back what [`label`] wrote.
pub(super) fn labels(mut text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let (mut value, mut chars) = (String::new(), rest.chars());
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => value.extend(chars.next().map(|c| if c == 'n' { '\n' } else { c })),
                c => value.push(c),
            }
        }
        labels.push((name.to_owned(), value));
        text = chars.as_str().strip_prefix(',').unwrap_or(chars.as_str());
    }
    labels
}

pub(super) fn sample(out: &mut String, name: &str, labels: &str, suffix: &str, value: impl Display) {
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() {
        write!(out, "{{{labels}}}").expect(INFALLIBLE);
    }
    writeln!(out, " {value}").expect(INFALLIBLE);
}

pub(super) fn bucket(out: &mut String, name: &str, labels: &str, le: &str, count: u64) {
    let comma = if labels.is_empty() { "" } else { "," };
    writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{le}\"}} {count}").expect(INFALLIBLE);
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

pub(super) fn is_metric_name(name: &str) -> bool {
    name.starts_with("outrigger_") && is_label_name(name)
}

pub(super) fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with("__")
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name != "le"
}
