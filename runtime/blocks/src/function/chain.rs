//! Functions that call functions: each one waits for the next.

use std::sync::Arc;

use outrigger_component_api::{Error, ErrorKind, Result};

/// Calls inside each other that there may be.
const DEEPEST: usize = 8;

/// The functions that wait for a call, the one that makes it last. Empty for a call from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Chain(Option<Arc<Link>>);

#[derive(Debug)]
struct Link {
    function: Arc<str>,
    /// Counted from 1.
    depth: usize,
    before: Chain,
}

impl Chain {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// That of the calls which this function makes.
    #[must_use]
    pub fn with(&self, function: &Arc<str>) -> Self {
        let link = Link { function: Arc::clone(function), depth: self.depth() + 1, before: self.clone() };
        Self(Some(Arc::new(link)))
    }

    /// The last one first.
    pub fn functions(&self) -> impl Iterator<Item = &Arc<str>> {
        self.links().map(|link| &link.function)
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::successors(self.0.as_deref(), |link| link.before.0.as_deref())
    }

    /// The same, each with what tells this call of it from every other one as long as the chain is there.
    pub fn calls(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        self.links().map(|link| (std::ptr::from_ref(link).addr(), &link.function))
    }

    /// Whether a call of this function may go on at its end.
    ///
    /// # Errors
    /// [`FailedPrecondition`](ErrorKind::FailedPrecondition) with the functions that call each other.
    pub fn admit(&self, function: &str) -> Result<()> {
        if self.depth() < DEEPEST {
            return Ok(());
        }
        let message = format!("more than {DEEPEST} calls are inside each other: {}", self.to(function));
        Err(Error::new(ErrorKind::FailedPrecondition, message))
    }

    /// Who calls whom, as text.
    pub fn to(&self, function: &str) -> String {
        let mut all: Vec<&str> = self.functions().map(|name| &**name).collect();
        all.reverse();
        all.push(function);
        all.join(" \u{2192} ")
    }

    fn depth(&self) -> usize {
        self.0.as_ref().map_or(0, |link| link.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_told_from_the_others() {
        let function = "f".into();
        let (one, other) = (Chain::default().with(&function), Chain::default().with(&function));
        let (ours, theirs) = (one.with(&function), other.with(&function));
        let id = |chain: &Chain, at: usize| chain.calls().nth(at).map(|(id, _)| id);
        assert_eq!(id(&ours, 1), id(&one, 0));
        assert_ne!(id(&ours, 0), id(&one, 0));
        assert_ne!(id(&ours, 1), id(&theirs, 1));
    }

    #[test]
    fn calls_are_inside_each_other_to_some_depth() {
        let mut chain = Chain::default();
        assert!(chain.is_empty());
        for depth in 0..DEEPEST {
            chain.admit("next").unwrap();
            chain = chain.with(&format!("f{depth}").into());
        }
        let error = chain.admit("next").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        let expected =
            "more than 8 calls are inside each other: f0 → f1 → f2 → f3 → f4 → f5 → f6 → f7 → next";
        assert_eq!(error.message(), expected);
    }
}
