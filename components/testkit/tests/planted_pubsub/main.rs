//! The suite of brokers must be able to fail: one small correct broker passes it, and each fault planted into that
//! broker is caught by the case whose promise it breaks.

mod broker;

use std::panic::{AssertUnwindSafe, catch_unwind};

use broker::{Broker, Fault};
use outrigger_testkit::{pubsub, run_impatiently};

mod the_correct_broker_passes {
    use super::*;

    outrigger_testkit::pubsub_suite!(Broker::subject(Fault::None));

    mod when_full {
        use super::*;

        outrigger_testkit::bounded_pubsub_suite!(Broker::subject(Fault::None));
    }
}

macro_rules! caught {
    ($($fault:ident by $case:ident)*) => {$(
        #[test]
        #[expect(non_snake_case, reason = "named after the fault and the case")]
        fn $fault() {
            let case = || run_impatiently(pubsub::$case(Broker::subject(Fault::$fault)));
            let verdict = catch_unwind(AssertUnwindSafe(case));
            assert!(verdict.is_err(), "{} let {:?} pass", stringify!($case), Fault::$fault);
        }
    )*};
}

mod each_planted_fault_is_caught {
    use super::*;

    caught! {
        MixesTopics by odd_topics_do_not_collide_or_are_refused
        TurnsBulkAround by bulk_keeps_order_and_answers_for_each
        IgnoresTtl by expired_message_is_not_delivered
        DeliversToOneGroup by every_group_gets_every_message
        DeliversToEveryMember by members_of_a_group_share_its_messages
        StartsAtTheBeginning by new_group_starts_with_the_next_message
        ForgetsEmptyGroups by group_without_members_keeps_its_place
        KeepsWhatLeaversHeld by member_that_leaves_passes_its_messages_on
        AcknowledgesOnDelivery by dropped_delivery_comes_back_at_once
        RetriesWhatWasGivenUp by given_up_message_does_not_come_back
        IgnoresPauses by retried_message_comes_back_after_the_pause
        ForgetsAttempts by attempts_count_the_deliveries_of_a_group
        CountsWhatIsReturned by returned_message_comes_back_and_does_not_count
        CountsWhatIsFetchedAhead by what_was_fetched_ahead_does_not_count
        HoldsUpForRetries by waiting_retries_do_not_hold_up_the_rest
        CutsPausesShort by pause_longer_than_the_timeout_is_kept
        EndsPausesWithTheirMember by pause_longer_than_the_timeout_is_kept
        NeverTimesOut by unsettled_message_goes_to_another_after_the_timeout
        KeepsCreditOfTheLate by unsettled_message_comes_back_to_its_only_member
        HeedsTheLate by unsettled_message_comes_back_to_its_only_member
        TimesOutEarly by settled_in_time_is_not_delivered_twice
        IgnoresCredit by credit_bounds_what_a_member_holds
        KeepsCreditOfDroppedSettling by settling_that_nobody_waits_for_gives_credit_back
        LosesDroppedWaits by dropped_wait_loses_nothing
        LosesOneInManyMessages by thousand_messages_reach_every_group
        GrowsWithoutBound by full_broker_refuses_and_keeps_what_it_took
        ForgetsWhenFull by full_broker_refuses_and_keeps_what_it_took
        NeverMakesRoom by settling_makes_room_in_a_full_broker
        KeepsTheUnheard by what_nobody_waits_for_makes_room
    }
}
