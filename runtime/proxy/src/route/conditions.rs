//! What a match asks beyond host and path: method, headers, query, gRPC.

use std::borrow::Cow;

use http::{HeaderName, Method};
use outrigger_http::RequestHead;
use percent_encoding::percent_decode_str;
use regex::bytes::{Regex, RegexBuilder};

use super::path::{MAX_PROGRAM, anchored};
use crate::config::ValueMatch;

/// Everything here must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    pub(crate) method: Option<Method>,
    /// `POST` with a gRPC content type.
    pub(crate) grpc: bool,
    pub(crate) headers: Box<[(HeaderName, FieldTest)]>,
    pub(crate) query: Box<[(Box<str>, FieldTest)]>,
}

/// A test of a header or query value that may be missing.
#[derive(Debug, Clone)]
pub(crate) struct FieldTest {
    pub(crate) value: ValueTest,
    pub(crate) invert: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum ValueTest {
    Exact(Box<[u8]>),
    /// Anchored at both ends.
    Regex(Regex),
    Present,
}

impl Conditions {
    pub(crate) fn accept(&self, head: &RequestHead) -> bool {
        self.method.as_ref().is_none_or(|method| *method == head.method)
            && (!self.grpc || (head.method == Method::POST && head.is_grpc()))
            && self.headers.iter().all(|(name, test)| test.accepts(head.headers.joined(name)))
            && self.query.iter().all(|(name, test)| test.accepts(query_value(head.query(), name)))
    }

    pub(crate) fn has_method(&self) -> bool {
        self.method.is_some() || self.grpc
    }

    pub(crate) fn headers(&self) -> usize {
        self.headers.len()
    }

    pub(crate) fn query(&self) -> usize {
        self.query.len()
    }
}

impl FieldTest {
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn compile(config: &ValueMatch) -> Result<Self, String> {
        let value = match (&config.exact, &config.regex, config.present) {
            (Some(exact), None, None) => ValueTest::Exact(exact.as_bytes().into()),
            (None, Some(source), None) => ValueTest::Regex(regex(source)?),
            (None, None, Some(_)) => ValueTest::Present,
            _ => return Err("give exactly one of `exact`, `regex` and `present`".to_owned()),
        };
        let invert = config.invert != (config.present == Some(false));
        Ok(Self { value, invert })
    }

    fn accepts(&self, value: Option<Cow<'_, [u8]>>) -> bool {
        let holds = match (&self.value, &value) {
            (_, None) => false,
            (ValueTest::Present, Some(_)) => true,
            (ValueTest::Exact(expected), Some(value)) => **expected == **value,
            (ValueTest::Regex(regex), Some(value)) => regex.is_match(value),
        };
        holds != self.invert
    }
}

fn regex(source: &str) -> Result<Regex, String> {
    let build =
        |source: &str| RegexBuilder::new(source).size_limit(MAX_PROGRAM).dfa_size_limit(MAX_PROGRAM).build();
    anchored(source, build).map_err(|error| error.to_string())
}

/// The decoded value of the first parameter called `name`; `+` is a space, as HTML forms write it.
fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, [u8]>> {
    query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *decoded(key) == *name.as_bytes())
        .map(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    match text.contains('+') {
        true => Cow::Owned(percent_decode_str(&text.replace('+', " ")).collect()),
        false => percent_decode_str(text).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_decoded() {
        let check = |query: Option<&str>, name: &str, expected: Option<&str>| {
            let value = query_value(query, name);
            assert_eq!(value.as_deref(), expected.map(str::as_bytes), "{query:?} {name}");
        };
        check(None, "a", None);
        check(Some(""), "a", None);
        check(Some("a"), "a", Some(""));
        check(Some("a=1&a=2"), "a", Some("1"));
        check(Some("b=%2B+x&c=%zz"), "b", Some("+ x"));
        check(Some("c=%zz"), "c", Some("%zz"));
        check(Some("%61=1"), "a", Some("1"));
        check(Some("A=1"), "a", None);
    }
}
