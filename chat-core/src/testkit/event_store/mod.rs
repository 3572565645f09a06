//! The checks of [`EventStore`](crate::ports::EventStore). Numbers are those of its guarantees.

mod appends;
mod cancel;
mod content;
mod expectations;
mod handles;
mod log;
mod pages;
mod repeats;
mod repeats_mixed;

pub use appends::*;
pub use cancel::*;
pub use content::*;
pub use expectations::*;
pub use handles::*;
pub use log::*;
pub use pages::*;
pub use repeats::*;
pub use repeats_mixed::*;

/// The event of this number with content of another time.
fn other_payload(number: u64) -> crate::event::NewEvent {
    super::fixture::event_with(number, r#"{"other":true}"#)
}

/// Checks that an append was refused for one of these ids; which one is the store's choice.
fn assert_id_reused_among(
    result: &crate::ports::AppendResult,
    stream: &crate::id::StreamId,
    numbers: &[u64],
) {
    let Err(crate::ports::StoreError::IdReused { stream: named, id }) = result else {
        panic!("expected a reused id in {stream}, got {result:?}");
    };
    assert_eq!(named, stream);
    let ids: Vec<_> = numbers.iter().copied().map(super::fixture::event_id).collect();
    assert!(ids.contains(id), "{id} is none of the append's");
}

/// How many events a page holds that ends with the one that reaches this many bytes.
fn reach(events: &[std::sync::Arc<crate::event::RecordedEvent>], bytes: usize) -> usize {
    let mut sum = 0;
    for (index, event) in events.iter().enumerate() {
        sum += event.event.size();
        if sum >= bytes {
            return index + 1;
        }
    }
    events.len()
}

/// Makes a test of every check of [`EventStore`](crate::ports::EventStore).
///
/// Takes an async function without arguments that makes a fresh
/// [`StoreHarness`](crate::testkit::StoreHarness). Put each use into a module of its own.
#[macro_export]
macro_rules! event_store_tests {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::event_store],
            a_call_without_appends_has_no_answers,
            versions_are_dense_from_one,
            the_largest_append_lands_as_one_run,
            an_append_may_write_as_many_streams_as_allowed,
            a_call_may_hold_hundreds_of_appends,
            answers_say_where_each_write_landed,
            appends_of_one_call_take_effect_in_order,
            each_append_of_a_call_stands_alone,
            a_refused_write_leaves_nothing_of_the_others,
            a_refused_guard_leaves_nothing_of_the_writes,
            a_reused_id_in_one_write_leaves_nothing_of_the_others,
            no_reader_sees_half_of_an_append,
            what_is_acknowledged_is_seen_by_every_read,
            any_holds_for_every_stream,
            no_stream_holds_only_for_an_absent_stream,
            exists_holds_only_for_a_stream_with_events,
            exactly_holds_only_for_that_version,
            exactly_zero_is_no_stream,
            guards_hold_as_expectations_do,
            a_guarded_stream_is_not_written,
            of_many_creators_exactly_one_wins,
            concurrent_appends_that_expect_nothing_all_succeed,
            concurrent_appends_at_one_version_admit_one,
            concurrent_guards_and_writes_admit_one_order,
            concurrent_multi_stream_appends_in_any_order_all_succeed,
            a_repeat_gets_the_first_answer,
            a_repeat_is_not_held_to_its_expectation,
            a_repeat_is_known_after_thousands_of_events,
            a_repeat_is_known_to_another_handle,
            concurrent_repeats_write_once,
            an_id_with_another_payload_is_refused,
            an_id_with_another_type_is_refused,
            an_id_with_another_schema_version_is_refused,
            an_id_is_refused_before_expectations_are_looked_at,
            the_first_time_and_metadata_stay,
            a_part_of_an_append_may_be_repeated,
            several_appends_may_be_repeated_as_one,
            a_repeat_with_something_new_is_refused,
            a_repeat_in_another_order_is_refused,
            a_repeat_with_a_gap_is_refused,
            an_append_to_several_streams_can_be_repeated,
            a_repeat_of_only_one_of_several_writes_is_refused,
            the_second_of_the_same_append_in_one_call_is_a_repeat,
            a_call_of_everything_answers_each,
            an_id_in_two_streams_is_never_mixed_up,
            payloads_are_kept_byte_for_byte,
            the_largest_event_is_kept,
            metadata_is_kept_and_told_from_none,
            times_types_and_schema_versions_are_kept,
            stream_names_are_told_apart_by_their_bytes,
            ids_of_every_kind_are_kept,
            an_empty_log_is_at_its_end,
            the_log_has_every_event_once_in_commit_order,
            the_log_can_be_read_from_every_position_with_every_limit,
            the_log_heeds_the_limit_in_bytes,
            a_page_of_the_log_behind_the_end_is_empty,
            log_readers_miss_nothing_while_many_write,
            stream_readers_miss_nothing_while_many_write,
            a_partition_out_of_range_is_invalid,
            streams_of_one_key_share_a_partition,
            streams_are_read_both_ways_from_every_version_with_every_limit,
            a_page_heeds_the_limit_in_bytes,
            long_pages_heed_both_limits,
            an_absent_stream_is_an_empty_page,
            a_page_is_one_consistent_look,
            find_finds_by_stream_and_id,
            heads_are_told_in_the_order_asked,
            heads_of_thousands_of_streams_come_in_one_call,
            heads_are_one_consistent_look,
            a_second_handle_sees_everything_and_goes_on,
            info_is_the_same_for_every_handle,
            namespaces_never_see_each_other,
            a_dropped_append_is_whole_or_absent_and_a_repeat_settles_it,
            a_dropped_call_of_many_appends_is_settled_by_a_repeat,
        }
        $crate::__kit_cases! {
            $fresh,
            histories_match_the_model,
            concurrent_histories_are_consistent,
            one_seed_gives_one_history,
        }
    };
}
