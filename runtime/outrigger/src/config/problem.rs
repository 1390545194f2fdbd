//! One thing wrong with a configuration: where, at which path, what, and the nearest right name.

use std::fmt;

use super::node::Origin;

/// Printed as `place: path: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub at: Origin,
    /// Dotted path in the merged configuration; empty for the document itself.
    pub path: String,
    pub message: String,
}

impl Problem {
    pub fn new(at: Origin, path: &str, message: impl Into<String>) -> Self {
        Self { at, path: path.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// All of them, one a line: what a refused configuration says.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// In the order of the files.
    pub fn sorted(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| a.at.cmp(&b.at));
        Self(problems)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// " (did you mean `x`?)", or the names there are when they are few, or nothing.
pub fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let closeness = |name: &&str| strsim::normalized_damerau_levenshtein(&fold(wrong), &fold(name));
    let best = known.iter().copied().max_by(|a, b| closeness(a).total_cmp(&closeness(b)));
    match best {
        Some(name) if closeness(&name) >= 0.6 => format!(" (did you mean `{name}`?)"),
        Some(_) if known.len() <= 24 => format!(" (known: {})", known.join(", ")),
        _ => String::new(),
    }
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// Turns serde's wording into one for people who do not write Rust.
/// Serde's message is the only thing it gives away, so its fixed forms are read back here.
pub fn reword(message: &str) -> String {
    if let Some((wrong, expected)) = message.strip_prefix("unknown field `").and_then(|m| m.split_once("`, "))
    {
        return format!("unknown key `{wrong}`{}", suggestion(wrong, quoted(expected)));
    }
    if let Some((wrong, expected)) =
        message.strip_prefix("unknown variant `").and_then(|m| m.split_once("`, "))
    {
        return format!("unknown value `{wrong}`{}", suggestion(wrong, quoted(expected)));
    }
    if let Some(name) = message.strip_prefix("missing field ") {
        return format!("the key {name} is required");
    }
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) = message.strip_prefix(kind).and_then(|m| m.rsplit_once(", expected "))
        {
            return format!("expected {}, found {}", expectation(expected), finding(found));
        }
    }
    message.to_owned()
}

fn quoted(list: &str) -> impl Iterator<Item = &str> {
    list.split('`').skip(1).step_by(2)
}

fn expectation(rust: &str) -> String {
    let integer = |max: u128| format!("a whole number from 0 to {max}");
    match rust {
        "u8" => integer(u8::MAX.into()),
        "u16" => integer(u16::MAX.into()),
        "u32" => integer(u32::MAX.into()),
        "u64" | "usize" => "a whole number, not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a nonzero usize" | "a nonzero u32" | "a nonzero u64" => "a whole number from 1".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        rust if rust.starts_with("struct ") || rust.starts_with("internally tagged") => "a map".to_owned(),
        rust => rust.to_owned(),
    }
}

fn finding(rust: &str) -> String {
    match rust {
        "map" => "a map".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" | "unit value" | "Option value" => "nothing".to_owned(),
        rust => rust.replacen("string \"", "the text \"", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_speaks_to_operators() {
        let cases = [
            (
                "unknown field `adress`, expected one of `address`, `token`",
                "unknown key `adress` (did you mean `address`?)",
            ),
            ("unknown field `zzz`, expected `id` or `port`", "unknown key `zzz` (known: id, port)"),
            ("unknown field `x`, there are no fields", "unknown key `x`"),
            (
                "unknown variant `jsno`, expected `text` or `json`",
                "unknown value `jsno` (did you mean `json`?)",
            ),
            ("missing field `type`", "the key `type` is required"),
            (
                "invalid type: string \"eighty\", expected u16",
                "expected a whole number from 0 to 65535, found the text \"eighty\"",
            ),
            ("invalid type: sequence, expected a string", "expected a string, found a list"),
            ("invalid type: null, expected struct AppConfig", "expected a map, found nothing"),
            ("invalid socket address", "invalid socket address"),
        ];
        for (message, expected) in cases {
            assert_eq!(reword(message), expected);
        }
    }
}
