//! What every configuration store promises, as named cases.
//!
//! A store that cannot be written is held to its refusals here, and to what it reads by tests of its own.

mod fixture;
mod items;
mod levels;
mod resuming;
mod watching;

pub use items::*;
pub use levels::*;
pub use resuming::*;
pub use watching::*;

/// One test per promise of [`ConfigurationStore`](outrigger_component_api::ConfigurationStore), against the store the
/// expression makes.
#[macro_export]
macro_rules! configuration_suite {
    ($make:expr) => {
        $crate::cases! { $make, configuration, $crate::configuration::ConfigurationStore;
            ping_succeeds
            missing_key_is_left_out
            content_round_trips
            items_come_in_the_order_asked
            all_items_come_by_key
            saving_replaces
            version_changes_with_every_write
            tags_are_kept_or_refused
            keys_are_exact_never_prefixes
            deleting_a_missing_key_succeeds
            deleting_no_keys_removes_nothing
            outlives_the_runtime_that_used_it_first

            levels_keep_apart_or_are_refused
            levels_do_not_run_together

            watch_sees_every_later_change_in_order
            watch_sees_what_other_runtimes_change
            watch_sees_only_what_it_selects
            ending_one_watch_leaves_the_others_alone
            dropped_wait_loses_nothing

            resuming_goes_on_after_the_revision
            foreign_revision_is_refused
        }
    };
}

#[doc(hidden)]
pub use outrigger_component_api::ConfigurationStore;
