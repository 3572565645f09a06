//! The statements, with the namespace written into the names of the tables. Each stands in its
//! own file beside this one. `{rows}`, `{keys}` and the like are filled in when a statement is
//! made for a number of values.

use std::sync::Arc;

use chat_core::Namespace;

macro_rules! statements {
    ($($name:ident),* $(,)?) => {
        /// Every statement, ready for one namespace.
        #[derive(Debug)]
        pub(super) struct Sql {
            $(pub(super) $name: Arc<str>,)*
        }

        impl Sql {
            pub(super) fn new(namespace: &Namespace) -> Self {
                Self {
                    $($name: with_namespace(
                        include_str!(concat!("sql/", stringify!($name), ".sql")),
                        namespace,
                    ).into(),)*
                }
            }
        }
    };
}

statements! {
    find_event, find_ids, flush, host_head, host_ids, host_last, host_turn, info, insert_events, log_head,
    log_since, meta_keep, meta_put, migration_forget, migration_lock, migration_newest,
    migration_note, migration_unlock, migrations_table, read_backward, read_forward, read_log,
    signals_add, signals_after, signals_among, signals_last, signals_prune, stream_head, take_turn, view_begin, view_clear, view_delete, view_get, view_heads, view_lock,
    view_move, view_put, view_scan_backward, view_scan_forward,
}

/// Puts the namespace where a statement leaves room for it. A [`Namespace`] holds nothing but
/// letters, digits and `_`, so it needs no quoting.
pub(super) fn with_namespace(text: &str, namespace: &Namespace) -> String {
    text.trim().replace("{ns}", namespace.as_str())
}

/// Fills a place of a statement with `count` copies of a piece, at least one.
pub(super) fn filled(text: &str, place: &str, piece: &str, between: &str, count: usize) -> String {
    let mut list = String::with_capacity(count * (piece.len() + between.len()));
    list.push_str(piece);
    for _ in 1..count {
        list.push_str(between);
        list.push_str(piece);
    }
    text.replace(place, &list)
}

/// How many values a list is made for: the next power of two, so that few statements serve lists
/// of any length. The last value fills what is left over; a list may name a value twice.
pub(super) fn padded(count: usize) -> usize {
    count.max(1).next_power_of_two()
}

/// The values of a list, the last one again until the list is as long as it is made for.
pub(super) fn padding<T: Copy>(values: &[T]) -> impl Iterator<Item = T> + '_ {
    let left_over = padded(values.len()).saturating_sub(values.len());
    let last = values.last().copied();
    values.iter().copied().chain(last.into_iter().cycle().take(left_over))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_filled_up_with_its_last_value() {
        assert_eq!(filled("a IN ({v})", "{v}", "?", ",", 3), "a IN (?,?,?)");
        assert_eq!([0, 1, 2, 3, 5, 64, 65].map(padded), [1, 1, 2, 4, 8, 64, 128]);
        assert_eq!(padding(&[1, 2, 3]).collect::<Vec<_>>(), [1, 2, 3, 3]);
        assert_eq!(padding::<u8>(&[]).count(), 0);
    }
}
