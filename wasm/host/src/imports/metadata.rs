//! Names and values beside a message, as components have them.

use std::collections::BTreeMap;

pub(super) type Metadata = Vec<(String, String)>;

/// Of a name that is there twice the last one counts.
pub(super) fn decode(metadata: Metadata) -> BTreeMap<String, String> {
    metadata.into_iter().collect()
}

pub(super) fn encode(metadata: BTreeMap<String, String>) -> Metadata {
    metadata.into_iter().collect()
}
