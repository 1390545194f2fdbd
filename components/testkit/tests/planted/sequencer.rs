//! A sequencer with faults to choose from.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger_component_api::{
    Component, Error, ErrorKind, Key, NextOptions, Result, Segment, Sequencer, SequencerCapabilities,
    async_trait,
};
use outrigger_testkit::sequencer;
use parking_lot::Mutex;

use crate::{caught, fails};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    ReadModifyWrite,
    BeginsAtZero,
    OneSequenceForAll,
    IgnoresBiggerThan,
    WrapsAround,
    SegmentsBesideTheSequence,
    RefusesAfterMoving,
}

struct Numbers {
    fault: Fault,
    last: Mutex<HashMap<Key, i64>>,
}

/// Held from reading to writing, by all who do it right.
static ONE_BY_ONE: Mutex<()> = Mutex::new(());

impl Numbers {
    fn subject(fault: Fault) -> Arc<dyn Sequencer> {
        Arc::new(Self { fault, last: Mutex::default() })
    }

    fn key(&self, key: &Key) -> Key {
        if self.fault == Fault::OneSequenceForAll { Key::new("all").expect("not empty") } else { key.clone() }
    }

    fn last(&self, key: &Key, options: NextOptions) -> i64 {
        let start = if self.fault == Fault::BeginsAtZero { -1 } else { 0 };
        let last = self.last.lock().get(key).copied().unwrap_or(start);
        let asked = options.bigger_than > 0 && self.fault != Fault::IgnoresBiggerThan;
        if asked { last.max(options.bigger_than) } else { last }
    }

    fn moved(&self, key: &Key, last: i64, by: i64) -> Result<i64> {
        let next = match self.fault {
            Fault::WrapsAround => Some(last.wrapping_add(by)),
            _ => last.checked_add(by),
        };
        if self.fault == Fault::RefusesAfterMoving {
            self.last.lock().insert(key.clone(), last);
        }
        let next = next.ok_or_else(|| Error::new(ErrorKind::FailedPrecondition, "the range is used up"))?;
        self.last.lock().insert(key.clone(), next);
        Ok(next)
    }
}

#[async_trait]
impl Component for Numbers {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Sequencer for Numbers {
    fn capabilities(&self) -> SequencerCapabilities {
        SequencerCapabilities { segments: true, bigger_than: true, persistent: false }
    }

    async fn next(&self, key: &Key, options: NextOptions) -> Result<i64> {
        let key = self.key(key);
        if self.fault == Fault::ReadModifyWrite {
            let last = self.last(&key, options);
            tokio::task::yield_now().await;
            return self.moved(&key, last, 1);
        }
        let _one = ONE_BY_ONE.lock();
        self.moved(&key, self.last(&key, options), 1)
    }

    async fn segment(&self, key: &Key, size: u32, options: NextOptions) -> Result<Segment> {
        if size == 0 {
            return Err(Error::invalid("a segment has at least one number"));
        }
        let key = match self.fault {
            Fault::SegmentsBesideTheSequence => Key::new(format!("segments of {key}"))?,
            _ => self.key(key),
        };
        let _one = ONE_BY_ONE.lock();
        let last = self.moved(&key, self.last(&key, options), size.into())?;
        Ok(Segment { first: last - i64::from(size) + 1, last })
    }
}

mod the_correct_store_passes {
    outrigger_testkit::sequencer_suite!(super::Numbers::subject(super::Fault::None));
}

mod each_planted_fault_is_caught {
    use super::*;

    caught! { sequencer, Numbers;
        ReadModifyWrite by numbers_never_repeat_or_go_back
        BeginsAtZero by new_sequence_begins_at_one_without_gaps
        OneSequenceForAll by similar_keys_are_apart
        IgnoresBiggerThan by bigger_than_is_exceeded
        WrapsAround by end_of_the_range_is_refused
        RefusesAfterMoving by end_of_the_range_is_refused
        SegmentsBesideTheSequence by segments_and_numbers_share_the_sequence
    }

    #[test]
    fn a_racing_sequencer_also_hands_numbers_out_twice() {
        assert!(fails(sequencer::segments_are_disjoint(Numbers::subject(Fault::ReadModifyWrite))));
    }
}
