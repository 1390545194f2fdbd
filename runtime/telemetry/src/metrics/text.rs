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

/// Writes a histogram. `buckets` are not cumulative: each upper bound with what is in it alone; the last one has no
/// bound to name.
pub(super) fn histogram(
    out: &mut String,
    name: &str,
    labels: &str,
    bounds: impl Iterator<Item = impl Display>,
    buckets: impl Iterator<Item = u64>,
    sum: impl Display,
) {
    let comma = if labels.is_empty() { "" } else { "," };
    // Count is what the buckets add up to, so that a scrape never shows them apart.
    let (mut total, mut bounds) = (0, bounds.fuse());
    for here in buckets {
        total += here;
        let le = bounds.next().map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
        writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{le}\"}} {total}").expect(INFALLIBLE);
    }
    sample(out, name, labels, "_sum", sum);
    sample(out, name, labels, "_count", total);
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

/// Ours begin with `outrigger_`; those of functions are called what their authors call them.
pub(super) fn is_metric_name(name: &str) -> bool {
    is_label_name(name)
}

pub(super) fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with("__")
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name != "le"
}
