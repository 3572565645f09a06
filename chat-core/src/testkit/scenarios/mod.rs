//! Chats put through what really happens, on any store: the rules alone, then whole engines.

pub mod audit;
mod f_members;
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
mod c_snapshots;
mod d_changes;
mod e_counts;
mod e_unread;
mod g_lists;
mod h_devices;
mod k_engine;
mod k_store;
mod k_views;

pub use a_sending::*;
pub use b_order::*;
pub use c_history::*;
pub use c_resume::*;
pub use c_snapshots::*;
pub use d_changes::*;
pub use e_counts::*;
pub use e_unread::*;
pub use f_members::*;
pub use g_lists::*;
pub use h_devices::*;
pub use k_engine::*;
pub use k_store::*;
pub use k_views::*;

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
            d1_an_edit_racing_a_deletion_ends_deleted,
            d1_what_is_deleted_meanwhile_is_delivered_without_content,
            d2_of_two_edits_of_one_revision_one_wins,
            d4_a_second_deletion_changes_nothing,
            d5_edits_are_the_authors_and_end_with_the_window,
            d6_only_a_living_message_of_this_chat_is_edited,
            d7_reactions_are_sets,
            d8_a_deleted_message_shows_no_reaction,
            d9_a_unique_reaction_is_replaced_in_one_event,
            d10_the_limit_of_reactions_holds_under_contention,
            d14_an_edit_changes_the_preview_and_not_the_order,
            d15_a_deletion_shows_the_message_before,
            d18_versions_are_all_texts_until_the_deletion,
            d19_the_same_content_is_no_edit_and_none_is_refused,
            e1_e2_e3_deletions_take_their_counts_with_them,
            e4_e5_edits_name_and_stop_naming,
            e6_reading_while_the_next_message_comes_leaves_one,
            e7_e8_reading_never_goes_back_or_ahead,
            e9_a_mark_counts_from_any_message_and_is_private,
            e11_what_one_device_reads_is_read_on_the_other,
            e12_e19_who_comes_later_begins_at_zero_and_was_not_named,
            e16_counts_are_the_same_after_a_restart,
            e18_counts_of_a_long_chat_are_those_by_hand,
            e22_e23_counts_and_sums_hold_after_any_history,
            c1_anothers_snapshot_takes_nothing_back_and_leaves_nothing_out,
            k11_views_that_are_emptied_under_an_engine_are_filled_again,
            k11_broken_rows_among_whole_ones_bring_nothing_back,
            f1_who_is_removed_gets_the_removal_as_the_last,
            f2_nothing_is_sent_behind_the_own_removal,
            f5_rank_counts_where_the_command_lands,
            f6_a_group_has_exactly_one_owner,
            f7_a_hundred_who_come_at_once_are_all_there,
            f8_joining_twice_at_once_is_one_membership,
            f16_rank_is_respected_by_every_command,
            f17_an_old_token_leads_to_the_end_of_the_membership,
        }
        $crate::__scenario_tests_e! { $fresh }
        $crate::__scenario_tests_g! { $fresh }
        $crate::__scenario_tests_h! { $fresh }
        $crate::__scenario_tests_k_engine! { $fresh }
        $crate::__scenario_tests_k_store! { $fresh }
        $crate::__scenario_tests_k_views! { $fresh }
    };
}
