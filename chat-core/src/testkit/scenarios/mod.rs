//! Chats put through what really happens, on any store: the rules alone, then whole engines.

pub mod audit;
mod gate;
mod harness;
mod pure;
mod reader;
mod reference;
mod steps;
pub mod world;

pub use gate::Gate;
pub use harness::{MemoryScenarios, ScenarioHarness, Stores};
pub use pure::PureChat;
pub use reader::{Reader, Screen};
pub use reference::Reference;
pub use steps::{PEOPLE, Random, Step, TEXTS, person, random_group};
pub use world::World;

mod a_sending;
mod b_order;
mod c_history;
mod c_resume;

pub use a_sending::*;
pub use b_order::*;
pub use c_history::*;
pub use c_resume::*;

/// Makes a test of every scenario.
///
/// Takes an async function without arguments that makes a fresh [`ScenarioHarness`]. Put each use
/// into a module of its own.
#[macro_export]
macro_rules! scenario_tests {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::scenarios],
            a1_a_lost_answer_is_no_second_message,
            a2_a_try_that_never_happened_leaves_the_key_free,
            a3_concurrent_duplicates_make_one_message,
            a4_a_key_used_for_something_else_is_refused,
            a5_a_key_belongs_to_its_author_and_its_chat,
            a6_another_device_of_the_author_sends_no_second_message,
            a7_a_retry_brings_no_deleted_message_back,
            a11_a_retry_is_known_however_late,
            a11_keys_of_every_form_are_known,
            a14_a_crash_before_the_append_loses_nothing_but_the_try,
            a14_a_crash_after_the_append_is_found_by_everybody,
            a15_every_command_happens_once,
            a15_a_command_key_used_for_something_else_is_refused,
            a15_concurrent_repeats_of_a_command_happen_once,
            a15_a_chat_with_a_key_of_its_own_is_made_once,
            a16_what_is_bad_in_part_does_not_happen_at_all,
            b1_parallel_senders_have_one_order_for_all,
            b2_pipelined_sends_keep_their_order,
            b3_jumping_clocks_change_no_order,
            b5_a_thousand_messages_in_one_millisecond_are_paged_once_each,
            b6_of_two_edits_the_last_in_the_log_wins,
            c1_opening_in_the_middle_of_traffic_misses_and_doubles_nothing,
            c1_what_is_opened_is_one_look,
            c2_a_resume_gives_exactly_what_was_missed,
            c3_c4_a_long_absence_comes_in_slices_that_can_be_left_anywhere,
            c6_a_token_of_another_incarnation_is_reset,
            c7_a_place_ahead_of_the_log_is_reset,
            c8_changes_to_old_messages_come_to_who_was_away,
            c10_joining_shows_what_the_group_says,
            c11_a_slow_reader_is_told_where_to_go_on,
            c12_c13_a_token_is_good_for_any_number_of_readers_anywhere,
            c14_a_token_is_good_for_its_reader_and_chat_alone,
            c21_a_dropped_subscription_leaves_nothing,
            c21_a_stream_of_deliveries_ends,
            c16_endless_resets_are_met_with_patience,
            c17_a_storm_of_resumes_reads_the_store_once,
            c19_around_any_place,
            c19_around_the_first_unread_and_what_is_not_seen,
            c20_before_and_after_exclude_their_place,
            c22_a_long_chat_is_replayed_in_pages,
            c20_messages_far_apart_are_found,
        }
    };
}
