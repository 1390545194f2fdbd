//! What every lock store promises, as named cases.

mod contention;
mod expiry;
mod fixture;
mod holding;

pub use contention::*;
pub use expiry::*;
pub use holding::*;

/// One test per promise of [`LockStore`](outrigger_component_api::LockStore), against the store the expression makes.
#[macro_export]
macro_rules! lock_suite {
    ($make:expr) => {
        $crate::cases! { $make, lock, $crate::lock::LockStore;
            ping_succeeds
            free_resource_is_got
            held_resource_is_refused_to_everybody
            similar_resources_are_apart
            owners_are_compared_exactly
            unlock_frees
            unlock_by_another_owner_is_refused
            unlock_of_a_free_resource_finds_nobody
            keep_alive_by_another_owner_is_refused
            keep_alive_of_a_free_resource_finds_nobody
            longest_lease_is_accepted

            expiry_frees
            unlock_after_expiry_finds_nobody
            keep_alive_after_expiry_finds_nobody
            overtaken_holder_is_told
            keep_alive_extends
            keep_alive_shortens
            tokens_increase_across_unlock_and_expiry

            one_of_many_gets_it
            holders_never_overlap_and_tokens_increase
            outlives_the_runtime_that_used_it_first
        }
    };
}

#[doc(hidden)]
pub use outrigger_component_api::LockStore;
