//! The versions of one function and who takes whose place: decisions over plain values.

use std::sync::Arc;

/// The versions that are kept. `V` is a version; here it is only moved about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<V> {
    /// Answers calls.
    pub(super) current: Option<Arc<V>>,
    /// Answers this percentage of them, until it takes the place of the current one or is taken back.
    pub(super) candidate: Option<(Arc<V>, u8)>,
    /// What a rollback returns to.
    pub(super) previous: Option<Arc<V>>,
}

/// A line, and the versions that are no longer in it.
pub(super) type Next<V> = (Line<V>, Vec<Arc<V>>);

impl<V> Default for Line<V> {
    fn default() -> Self {
        Self { current: None, candidate: None, previous: None }
    }
}

impl<V> Clone for Line<V> {
    fn clone(&self) -> Self {
        Self {
            current: self.current.clone(),
            candidate: self.candidate.clone(),
            previous: self.previous.clone(),
        }
    }
}

impl<V> Line<V> {
    /// Who answers a call. `roll` is any number of 0 to 99; it is asked for where it matters.
    pub(super) fn pick(&self, roll: impl FnOnce() -> u8) -> Option<&Arc<V>> {
        match &self.candidate {
            Some((candidate, weight)) if roll() < *weight => Some(candidate),
            _ => self.current.as_ref(),
        }
    }

    /// With a new version: for this percentage of calls, or in place of the current one where that is all of them, or
    /// there is none.
    pub(super) fn put(&self, version: Arc<V>, weight: u8) -> Next<V> {
        let candidate = self.candidate.iter().map(|(candidate, _)| Arc::clone(candidate));
        if weight < 100 && self.current.is_some() {
            let next = Self { candidate: Some((version, weight)), ..self.clone() };
            return (next, candidate.collect());
        }
        let (previous, leaving) = self.step_back();
        (Self { current: Some(version), candidate: None, previous }, leaving.chain(candidate).collect())
    }

    /// With a version to return to, and nothing else changed.
    pub(super) fn backed(&self, version: Arc<V>) -> Next<V> {
        let leaving = self.previous.clone().into_iter().collect();
        (Self { previous: Some(version), ..self.clone() }, leaving)
    }

    /// With the candidate in place of the current one; `None` without one.
    pub(super) fn promoted(&self) -> Option<Next<V>> {
        let (candidate, _) = self.candidate.clone()?;
        let (previous, leaving) = self.step_back();
        Some((Self { current: Some(candidate), candidate: None, previous }, leaving.collect()))
    }

    /// With another percentage for the candidate; `None` without one.
    pub(super) fn weighted(&self, weight: u8) -> Option<Next<V>> {
        if weight >= 100 {
            return self.promoted();
        }
        let (candidate, _) = self.candidate.clone()?;
        Some((Self { candidate: Some((candidate, weight)), ..self.clone() }, Vec::new()))
    }

    /// Without the candidate, or else with the previous version in place of the current one, which is then the previous
    /// one; `None` where there is neither.
    pub(super) fn rolled_back(&self) -> Option<Next<V>> {
        if let Some((candidate, _)) = &self.candidate {
            return Some((Self { candidate: None, ..self.clone() }, vec![Arc::clone(candidate)]));
        }
        let current = Some(self.previous.clone()?);
        Some((Self { current, candidate: None, previous: self.current.clone() }, Vec::new()))
    }

    /// The current one as the previous one, and the one before it, which leaves.
    fn step_back(&self) -> (Option<Arc<V>>, impl Iterator<Item = Arc<V>>) {
        match &self.current {
            Some(current) => (Some(Arc::clone(current)), self.previous.clone().into_iter()),
            None => (self.previous.clone(), None.into_iter()),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<V>> {
        self.current.iter().chain(self.candidate.iter().map(|(candidate, _)| candidate)).chain(&self.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Names = (&'static str, Option<(&'static str, u8)>, &'static str);

    fn line((current, candidate, previous): Names) -> Line<&'static str> {
        let some = |name: &'static str| (!name.is_empty()).then(|| Arc::new(name));
        Line {
            current: some(current),
            candidate: candidate.map(|(name, weight)| (Arc::new(name), weight)),
            previous: some(previous),
        }
    }

    fn check(next: Option<Next<&'static str>>, expected: Names, leaving: &[&'static str]) {
        let (next, left) = next.unwrap();
        assert_eq!((next, left.iter().map(|v| **v).collect::<Vec<_>>()), (line(expected), leaving.to_vec()));
    }

    #[test]
    fn versions_take_each_others_place() {
        let new = || Arc::new("new");
        check(Some(line(("", None, "")).put(new(), 100)), ("new", None, ""), &[]);
        check(Some(line(("", None, "")).put(new(), 10)), ("new", None, ""), &[]);
        check(Some(line(("a", None, "")).put(new(), 100)), ("new", None, "a"), &[]);
        check(Some(line(("b", None, "a")).put(new(), 100)), ("new", None, "b"), &["a"]);
        check(Some(line(("b", None, "a")).put(new(), 10)), ("b", Some(("new", 10)), "a"), &[]);
        check(Some(line(("b", Some(("c", 5)), "a")).put(new(), 10)), ("b", Some(("new", 10)), "a"), &["c"]);
        check(Some(line(("b", Some(("c", 5)), "a")).put(new(), 100)), ("new", None, "b"), &["a", "c"]);
        check(Some(line(("b", Some(("c", 5)), "")).backed(new())), ("b", Some(("c", 5)), "new"), &[]);
        check(Some(line(("b", None, "a")).backed(new())), ("b", None, "new"), &["a"]);
        check(line(("b", Some(("c", 5)), "a")).promoted(), ("c", None, "b"), &["a"]);
        check(line(("b", Some(("c", 5)), "a")).weighted(50), ("b", Some(("c", 50)), "a"), &[]);
        check(line(("b", Some(("c", 5)), "a")).weighted(100), ("c", None, "b"), &["a"]);
        check(line(("b", Some(("c", 5)), "a")).rolled_back(), ("b", None, "a"), &["c"]);
        check(line(("b", None, "a")).rolled_back(), ("a", None, "b"), &[]);
        for none in [line(("b", None, "a")).promoted(), line(("b", None, "a")).weighted(1)] {
            assert!(none.is_none());
        }
        assert!(line(("b", None, "")).rolled_back().is_none());
    }

    #[test]
    fn the_candidate_gets_its_percentage() {
        let check = |of: Names, expected: usize| {
            let line = line(of);
            let picked = (0..100).filter(|roll| **line.pick(|| *roll).unwrap() == "c").count();
            assert_eq!(picked, expected);
        };
        check(("b", Some(("c", 1)), ""), 1);
        check(("b", Some(("c", 99)), ""), 99);
        check(("b", None, "c"), 0);
        assert!(line(("", None, "a")).pick(|| 0).is_none());
    }
}
