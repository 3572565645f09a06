//! Durable subscriptions put through crashes, pauses, faults and orders, on any store.

mod bench;
mod exactly_once;
mod fencing;
mod handlers;
mod incarnations;
mod lifecycle;
mod parking;
mod rebuilding;
mod refusing;
mod sharing;
mod starting;
mod trap;
mod troubles;

pub use exactly_once::*;
pub use fencing::*;
pub use incarnations::*;
pub use lifecycle::*;
pub use parking::*;
pub use rebuilding::*;
pub use sharing::*;
pub use starting::*;
pub use troubles::*;

/// Makes a test of every check of durable subscriptions.
///
/// Takes an async function without arguments that makes a fresh
/// [`ScenarioHarness`](crate::testkit::scenarios::ScenarioHarness). Put each use into a module of
/// its own.
#[macro_export]
macro_rules! durable_subscription_tests {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::durable],
            views_take_each_event_once_whatever_step_a_crash_comes_at,
            effects_come_at_least_once_whatever_step_a_crash_comes_at,
            nothing_is_lost_or_doubled_under_faults,
            a_paused_owner_is_refused_in_the_write_of_its_place,
            a_paused_projector_brings_nothing_into_a_view_twice,
            a_lost_lease_stops_the_handler_under_way,
            members_hold_even_parts,
            the_parts_of_a_crashed_member_are_taken_over,
            what_a_member_gives_back_is_taken_at_once,
            a_refused_event_is_parked_and_the_others_go_on,
            parked_events_are_listed_in_pages,
            a_parked_event_is_driven_again_until_it_is_taken,
            a_parked_event_is_dropped_by_order_alone,
            a_view_takes_a_driven_event_once_whatever_step_a_crash_comes_at,
            an_event_that_cannot_be_routed_is_driven_into_every_view,
            retries_are_bounded_and_the_stream_waits,
            too_many_parked_events_stop_the_partition,
            a_handler_that_panics_or_hangs_fails_its_event,
            an_event_that_kills_its_process_is_parked,
            a_rebuild_goes_live_when_it_has_caught_up,
            a_rebuild_survives_crashes_under_writes,
            a_rebuild_is_given_up_by_order,
            a_subscription_begins_where_it_is_told_to,
            a_stream_is_followed_by_its_versions,
            a_name_stands_for_one_subscription,
            batches_keep_to_their_bounds,
            another_incarnation_stops_a_subscription,
            another_incarnation_is_noticed_by_a_running_member,
            another_incarnation_starts_effects_again,
            another_incarnation_rebuilds_a_projection,
            an_order_outlives_an_error_of_the_views,
            a_write_that_is_refused_for_good_parks_its_event,
            a_store_without_room_halts_visibly_and_is_waited_for,
            a_repeat_is_never_called_a_first_delivery,
            a_full_partition_leaves_its_handler_in_peace,
            a_broken_state_is_shown_and_made_anew_by_order,
            a_generation_being_built_can_be_operated,
            lag_is_told_and_is_zero_at_rest,
            a_ring_is_enough_and_none_is_needed,
            shutdown_waits_for_the_handler_and_leaves_nothing,
        }
    };
}
