//! Names of keys that belong to another key, and where a cluster keeps a key.

use outrigger_component_api::{Error, Result};

/// The key that keeps something about `key`: `{key}||what`, or `key||what` where the key has a hash tag of its own.
/// Either way a cluster keeps both on one node.
pub(crate) fn beside(key: &[u8], what: &str, cluster: bool) -> Result<Vec<u8>> {
    let mut name = Vec::with_capacity(key.len() + what.len() + 4);
    if tag(key).is_some() {
        name.extend_from_slice(key);
    } else if cluster && key.contains(&b'}') {
        return Err(Error::invalid(
            "in a cluster, a key with a fence or a lock may have '}' only as the end of a {tag}",
        ));
    } else {
        name.push(b'{');
        name.extend_from_slice(key);
        name.push(b'}');
    }
    name.extend_from_slice(b"||");
    name.extend_from_slice(what.as_bytes());
    Ok(name)
}

/// The part of a key between its first `{` and the next `}`: all that a cluster looks at, unless it is empty.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')? + 1;
    let rest = key.get(open..)?;
    let length = rest.iter().position(|byte| *byte == b'}')?;
    rest.get(..length).filter(|tag| !tag.is_empty())
}

/// How many parts a cluster divides its keys into.
const SLOTS: u16 = 16_384;

/// The part a key is in: the CRC-16 of its tag, or of the whole key.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for byte in tag(key).unwrap_or(key) {
        sum ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            sum = if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 };
        }
    }
    sum % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_key_lives_on_its_node() {
        let check = |key: &str, expected: Option<&str>| {
            let name = beside(key.as_bytes(), "fence", true).ok();
            assert_eq!(name.as_deref(), expected.map(str::as_bytes), "{key}");
        };
        check("cart", Some("{cart}||fence"));
        check("{user}cart", Some("{user}cart||fence"));
        check("cart{user}", Some("cart{user}||fence"));
        check("{", Some("{{}||fence"));
        check("a{b", Some("{a{b}||fence"));
        check("a}b", None);
        check("{}a", None);
        assert_eq!(beside(b"a}b", "fence", false).expect("one server has all keys"), b"{a}b}||fence");
    }

    #[test]
    fn slots_are_those_of_the_cluster() {
        let check = |key: &str, expected: u16| assert_eq!(slot(key.as_bytes()), expected, "{key}");
        check("123456789", 0x31C3);
        check("foo", 12_182);
        check("cart{foo}more", 12_182);
        check("", 0);
    }
}
