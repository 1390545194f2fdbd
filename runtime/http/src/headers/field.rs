//! Edits under names that come as bytes, from a guest for example: checked, and not copied as a [`HeaderName`] is.

use http::header::{HeaderName, HeaderValue};

use super::{Headers, InvalidValue, check_value};
use crate::h1::is_token;

/// The name of a field, in either case. It is sent in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldName<'n>(&'n [u8]);

impl<'n> FieldName<'n> {
    /// `None` for what is no token (RFC 9110 §5.6.2), or too long to be anybody's.
    #[must_use]
    pub fn of(bytes: &'n [u8]) -> Option<Self> {
        let fits = (1..=usize::from(u16::MAX)).contains(&bytes.len());
        (fits && bytes.iter().all(|byte| is_token(*byte))).then_some(Self(bytes))
    }

    /// As maps want it.
    fn owned(self) -> Option<HeaderName> {
        HeaderName::from_bytes(self.0).ok()
    }
}

impl Headers {
    /// Removes every field called so; says whether there was one.
    pub fn remove_field(&mut self, name: FieldName<'_>) -> bool {
        match self {
            Self::Wire(wire) => wire.remove(name.0),
            Self::Map(map) => name.owned().is_some_and(|name| map.remove(name).is_some()),
        }
    }

    /// Replaces every field called so by one.
    pub fn set_field(&mut self, name: FieldName<'_>, value: &[u8]) -> Result<(), InvalidValue> {
        check_value(value)?;
        self.remove_field(name);
        self.append_field(name, value)
    }

    /// Adds one more field called so.
    pub fn append_field(&mut self, name: FieldName<'_>, value: &[u8]) -> Result<(), InvalidValue> {
        check_value(value)?;
        match self {
            Self::Wire(wire) => wire.append_lowered(name.0, value),
            Self::Map(map) => {
                let value = HeaderValue::from_bytes(value).map_err(|_| InvalidValue)?;
                if let Some(name) = name.owned() {
                    map.append(name, value);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn names_are_what_the_types_of_http_take() {
        let check = |name: &[u8]| {
            assert_eq!(FieldName::of(name).is_some(), HeaderName::from_bytes(name).is_ok(), "{name:?}");
        };
        (0..=u8::MAX).for_each(|byte| check(&[b'a', byte]));
        check(b"");
        for length in [usize::from(u16::MAX) - 1, usize::from(u16::MAX), usize::from(u16::MAX) + 1] {
            check(&vec![b'a'; length]);
        }
    }

    #[test]
    fn edits_mean_the_same_in_both_shapes() {
        for mut headers in [Headers::new(), Headers::Map(HeaderMap::new())] {
            let name = FieldName::of(b"X-One").unwrap();
            headers.append_field(name, b"1").unwrap();
            headers.append_field(FieldName::of(b"x-one").unwrap(), b"2").unwrap();
            assert_eq!(headers.iter().collect::<Vec<_>>(), [(&b"x-one"[..], &b"1"[..]), (b"x-one", b"2")]);
            assert_eq!(headers.set_field(name, b"3\n"), Err(InvalidValue));
            assert_eq!(headers.append_field(name, b"\0"), Err(InvalidValue));
            assert_eq!(headers.len(), 2, "what is refused changes nothing");
            headers.set_field(name, b"3").unwrap();
            assert_eq!(headers.iter().collect::<Vec<_>>(), [(&b"x-one"[..], &b"3"[..])]);
            assert!(headers.remove_field(name) && !headers.remove_field(name));
        }
    }
}
