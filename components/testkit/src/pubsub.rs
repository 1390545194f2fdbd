//! What every broker promises, as named cases.
//!
//! Waiting is on conditions, each with a deadline; where the promise is that something does *not* happen, the case
//! waits a little longer than the processing timeout it chose.

mod bounds;
mod crowd;
mod fixture;
mod groups;
mod publishing;
mod settling;

pub use bounds::*;
pub use crowd::*;
pub use fixture::unique_topic;
pub use groups::*;
pub use publishing::*;
pub use settling::*;

/// One test per promise of [`PubSub`](outrigger_component_api::PubSub), against the broker the expression makes.
#[macro_export]
macro_rules! pubsub_suite {
    ($make:expr) => {
        $crate::cases! { $make, pubsub, $crate::pubsub::PubSub;
            ping_succeeds
            message_round_trips
            big_message_round_trips
            odd_topics_do_not_collide_or_are_refused
            empty_names_and_no_credit_are_refused
            messages_come_in_the_order_of_publishing
            bulk_keeps_order_and_answers_for_each
            expired_message_is_not_delivered

            every_group_gets_every_message
            members_of_a_group_share_its_messages
            new_group_starts_at_the_earliest_kept_message
            new_group_starts_with_the_next_message
            group_without_members_keeps_its_place
            member_that_leaves_passes_its_messages_on
            leaving_stops_one_member_only

            acknowledged_message_does_not_come_back
            given_up_message_does_not_come_back
            retried_message_comes_back_after_the_pause
            dropped_delivery_comes_back_at_once
            attempts_count_the_deliveries_of_a_group
            returned_message_comes_back_and_does_not_count
            what_was_fetched_ahead_does_not_count
            waiting_retries_do_not_hold_up_the_rest
            pause_longer_than_the_timeout_is_kept
            unsettled_message_goes_to_another_after_the_timeout
            unsettled_message_comes_back_to_its_only_member
            settled_in_time_is_not_delivered_twice
            credit_bounds_what_a_member_holds
            settling_gives_credit_back
            settling_that_nobody_waits_for_gives_credit_back
            dropped_wait_loses_nothing

            thousand_messages_reach_every_group
            outlives_the_runtime_that_used_it_first
            member_in_a_runtime_that_ends_passes_its_messages_on
        }
    };
}

/// One test per promise of a broker that is full. The expression makes one that nobody else uses and that holds
/// between 10 and [`MOST`](bounds::MOST) small messages.
#[macro_export]
macro_rules! bounded_pubsub_suite {
    ($make:expr) => {
        $crate::cases! { $make, pubsub, $crate::pubsub::PubSub;
            full_broker_refuses_and_keeps_what_it_took
            settling_makes_room_in_a_full_broker
            what_nobody_waits_for_makes_room
        }
    };
}

#[doc(hidden)]
pub use outrigger_component_api::PubSub;
