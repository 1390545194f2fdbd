//! What every state store promises, as named cases.
//!
//! A capability a store declares is tested, and one it does not declare must be refused: each case of a capability
//! begins by asking, and checks the refusal instead where the answer is no.

mod basics;
mod concurrency;
mod etags;
mod expiry;
mod fencing;
mod fixture;
mod model;
mod transactions;

pub use basics::*;
pub use concurrency::*;
pub use etags::*;
pub use expiry::*;
pub use fencing::*;
pub use fixture::unique_key;
pub use model::{agrees_with_the_model, random_operations_agree_with_the_model};
pub use transactions::*;

/// One test per promise of [`StateStore`](outrigger_component_api::StateStore), against the store the expression
/// makes.
#[macro_export]
macro_rules! state_suite {
    ($make:expr) => {
        $crate::cases! { $make, state, $crate::state::StateStore;
            ping_succeeds
            missing_key_reads_as_none
            value_round_trips
            big_value_round_trips
            binary_keys_and_values_round_trip_or_are_refused
            similar_keys_do_not_collide
            last_of_two_writes_is_read
            deleted_key_reads_as_none
            deleting_a_missing_key_succeeds
            bulk_read_keeps_order_and_gaps
            bulk_write_applies_in_order_and_answers_for_each
            outlives_the_runtime_that_used_it_first
            dropped_call_leaves_the_store_whole

            etag_round_trips
            every_write_has_a_new_etag
            stale_etag_is_refused
            etag_of_a_missing_key_is_refused
            etag_of_a_deleted_key_never_fits_again
            foreign_etag_is_refused
            last_write_ignores_the_etag
            first_write_without_etag_creates_only
            first_write_with_etag_compares
            delete_with_matching_etag_removes
            delete_with_stale_etag_is_refused

            first_write_wins_exactly_once
            no_conditional_increment_is_lost
            one_of_many_conditional_deletes_wins
            transactions_lose_no_update

            expired_key_reads_as_none
            live_key_tells_when_it_expires
            zero_ttl_is_gone_at_once
            writing_without_ttl_clears_it
            writing_with_ttl_renews_it
            transaction_honours_ttl

            empty_transaction_succeeds
            transaction_applies_in_order
            transaction_is_all_or_nothing
            transaction_sees_its_own_changes
            transaction_checks_first_write

            stale_token_is_refused
            equal_token_is_accepted
            token_is_remembered_across_delete_and_expiry
            token_is_checked_with_the_condition
            bulk_and_transaction_honour_tokens
            overtaken_writers_are_refused

            random_operations_agree_with_the_model
        }
    };
}

#[doc(hidden)]
pub use outrigger_component_api::StateStore;
