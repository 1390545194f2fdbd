//! Names and values beside a message.

/// Names and values beside a message, in no order. Of headers the names are in lower case.
pub type Metadata = Vec<(String, String)>;

/// The first value of a name, whatever its case.
pub fn value<'a>(metadata: &'a [(String, String)], name: &str) -> Option<&'a str> {
    metadata.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        let metadata = [("Accept".to_owned(), "a".to_owned()), ("accept".to_owned(), "b".to_owned())];
        assert_eq!(value(&metadata, "ACCEPT"), Some("a"));
        assert_eq!(value(&metadata, "accepts"), None);
    }
}
