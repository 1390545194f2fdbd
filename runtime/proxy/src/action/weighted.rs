//! A share of the requests for each of several clusters.

use std::sync::Arc;

/// What a share is given to: a cluster, or a stand-in for one in tests.
#[derive(Debug)]
pub(crate) struct Weighted<T = outrigger_cluster::Cluster> {
    /// Weights summed up to and including each member; members without weight are left out.
    members: Box<[(u64, Arc<T>)]>,
    total: u64,
}

impl<T> Weighted<T> {
    pub(crate) fn new(members: impl IntoIterator<Item = (u32, Arc<T>)>) -> Self {
        let mut total = 0;
        let summed = members.into_iter().filter(|(weight, _)| *weight > 0).map(|(weight, member)| {
            total += u64::from(weight);
            (total, member)
        });
        Self { members: summed.collect(), total }
    }

    /// One of them at random, by weight; `None` when nobody has any.
    pub(crate) fn pick(&self) -> Option<&Arc<T>> {
        match &*self.members {
            [] => None,
            [(_, only)] => Some(only),
            _ => self.at(fastrand::u64(..self.total)),
        }
    }

    /// Who has the `point`th share.
    fn at(&self, point: u64) -> Option<&Arc<T>> {
        let index = self.members.partition_point(|(sum, _)| *sum <= point);
        self.members.get(index).map(|(_, member)| member)
    }

    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Arc<T>> {
        self.members.iter().map(|(_, member)| member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_belongs_to_its_member() {
        let weighted =
            Weighted::new([(2, 'a'), (0, 'b'), (1, 'c'), (3, 'd')].map(|(w, name)| (w, Arc::new(name))));
        let picked: String =
            (0..weighted.total).filter_map(|point| weighted.at(point)).map(|name| **name).collect();
        assert_eq!(picked, "aacddd");
        assert_eq!(weighted.at(weighted.total), None);
    }

    #[test]
    fn shares_come_out_as_asked() {
        let weighted = Weighted::new([(90, 'a'), (10, 'b')].map(|(w, name)| (w, Arc::new(name))));
        let b = (0..100_000).filter(|_| weighted.pick().is_some_and(|name| **name == 'b')).count();
        // Five standard deviations around 10,000.
        assert!((9_526..=10_474).contains(&b), "{b}");
    }

    #[test]
    fn nobody_is_picked_from_nobody() {
        assert_eq!(Weighted::new([(0, Arc::new('a'))]).pick(), None);
        assert_eq!(Weighted::<char>::new([]).pick(), None);
    }
}
