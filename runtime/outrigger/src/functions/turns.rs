//! Who brings a version in: one at a time for each function, since the next one may go by what this one is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// A turn, until it is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

/// Those of all functions that anybody has or waits for.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the turn of a function, in the order of coming.
    pub(super) async fn take(&self, name: &str) -> Turn {
        let turn = self.of(name);
        turn.lock_owned().await
    }

    fn of(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.0.lock();
        all.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = all.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        all.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn each_function_has_a_turn_of_its_own() {
        let turns = Turns::default();
        let first = turns.take("cart").await;
        assert!(turns.take("cart").now_or_never().is_none());
        let _other = turns.take("orders").now_or_never().unwrap();
        drop(first);
        let _second = turns.take("cart").now_or_never().unwrap();
        drop(turns.take("third").await);
        assert_eq!(turns.of("cart").try_lock().map(drop).ok(), None);
        assert_eq!(turns.0.lock().len(), 2, "who has gone is forgotten");
    }
}
