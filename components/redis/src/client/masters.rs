//! Which server of a cluster holds which keys.

use std::ops::RangeInclusive;

use outrigger_component_api::{Error, Result};
use redis::Value;

use super::{Client, Shape, from_reading};
use crate::key::slot;
use crate::link::Links;

/// A server that holds keys of its own.
pub(crate) struct Master {
    pub(crate) client: Client,
    pub(crate) slots: Slots,
}

/// The part of the keys a server holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Slots {
    All,
    These(Vec<RangeInclusive<u16>>),
}

/// A host and a port, as a cluster names its nodes.
type Address = (String, u16);

impl Slots {
    pub(crate) fn hold(&self, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::These(ranges) => {
                let slot = slot(key);
                ranges.iter().any(|range| range.contains(&slot))
            }
        }
    }
}

impl Client {
    /// Every server that holds keys of its own: the masters of a cluster, or else the only one.
    pub(crate) async fn masters(&self, links: &Links) -> Result<Vec<Master>> {
        if !self.is_cluster() {
            return Ok(vec![Master { client: self.clone(), slots: Slots::All }]);
        }
        let slots = links.send(redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let master = |((host, port), ranges)| {
            let shape = Shape::Node(Box::new(self.identity.node(self.identity.address(host, port))?));
            let client = Self { shape, identity: self.identity.clone(), pace: self.pace };
            Ok(Master { client, slots: Slots::These(ranges) })
        };
        by_master(slots)?.into_iter().map(master).collect()
    }

    /// The server that holds a key.
    pub(crate) async fn master_of(&self, key: &[u8], links: &Links) -> Result<Master> {
        let master = self.masters(links).await?.into_iter().find(|master| master.slots.hold(key));
        master.ok_or_else(|| Error::unavailable("the redis cluster cannot serve this key at the moment"))
    }
}

/// The answer to `CLUSTER SLOTS`: a list of first and last slot, the master, and its replicas.
fn by_master(slots: Value) -> Result<Vec<(Address, Vec<RangeInclusive<u16>>)>> {
    let parts: Vec<Vec<Value>> = redis::from_redis_value(slots).map_err(from_reading)?;
    let mut masters: Vec<(Address, Vec<RangeInclusive<u16>>)> = Vec::new();
    for part in parts {
        let mut part = part.into_iter();
        let (Some(first), Some(last), Some(Value::Array(node))) = (part.next(), part.next(), part.next())
        else {
            continue;
        };
        let mut node = node.into_iter();
        let (Some(host), Some(port)) = (node.next(), node.next()) else { continue };
        let host = redis::from_redis_value(host).map_err(from_reading)?;
        let address = (host, redis::from_redis_value(port).map_err(from_reading)?);
        let range = redis::from_redis_value(first).map_err(from_reading)?
            ..=redis::from_redis_value(last).map_err(from_reading)?;
        match masters.iter_mut().find(|(known, _)| *known == address) {
            Some((_, ranges)) => ranges.push(range),
            None => masters.push((address, vec![range])),
        }
    }
    Ok(masters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_has_all_its_ranges() {
        let part = |first: i64, last: i64, port: i64| {
            let node = vec![Value::BulkString(b"db".to_vec()), Value::Int(port), Value::Nil];
            Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(node)])
        };
        let answer = Value::Array(vec![part(0, 9, 1), part(10, 99, 2), part(100, 16_383, 1)]);
        let expected =
            [(("db".to_owned(), 1), vec![0..=9, 100..=16_383]), (("db".to_owned(), 2), vec![10..=99])];
        assert_eq!(by_master(answer).expect("readable"), expected);
        by_master(Value::Int(1)).expect_err("not a list");
        assert!(Slots::These(vec![0..=9, 12_182..=12_182]).hold(b"foo"));
        assert!(!Slots::These(vec![0..=12_181]).hold(b"foo") && Slots::All.hold(b"foo"));
    }
}
