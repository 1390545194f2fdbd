//! What every sequencer promises, as named cases.

mod contention;
mod fixture;
mod numbers;
mod segments;

pub use contention::*;
pub use numbers::*;
pub use segments::*;

/// One test per promise of [`Sequencer`](outrigger_component_api::Sequencer), against the one the expression makes.
#[macro_export]
macro_rules! sequencer_suite {
    ($make:expr) => {
        $crate::cases! { $make, sequencer, $crate::sequencer::Sequencer;
            ping_succeeds
            new_sequence_begins_at_one_without_gaps
            similar_keys_are_apart
            bigger_than_is_exceeded
            end_of_the_range_is_refused

            segments_follow_each_other
            segments_and_numbers_share_the_sequence
            segment_honours_bigger_than
            segment_that_cannot_be_is_refused

            numbers_never_repeat_or_go_back
            segments_are_disjoint
            outlives_the_runtime_that_used_it_first
        }
    };
}

#[doc(hidden)]
pub use outrigger_component_api::Sequencer;
