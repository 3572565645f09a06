//! The statements, with the namespace written into the names of the tables. Each stands in its
//! own file beside this one.

use chat_core::Namespace;

macro_rules! statements {
    ($($name:ident),* $(,)?) => {
        /// Every statement, ready for one namespace.
        #[derive(Debug)]
        pub(super) struct Sql {
            $(pub(super) $name: String,)*
        }

        impl Sql {
            pub(super) fn new(namespace: &Namespace) -> Self {
                Self {
                    $($name: with_namespace(
                        include_str!(concat!("sql/", stringify!($name), ".sql")),
                        namespace,
                    ),)*
                }
            }
        }
    };
}

statements! {
    find_event, find_id, insert_event, insert_stream, last_ids, log_head, meta_delete, meta_get, meta_marks, meta_put,
    read_backward, read_forward, read_log, signal_add, signal_get, signals_after, signals_last,
    signals_prune, signals_table, stream_head, stream_name, view_clear, view_delete,
    view_get, view_head, view_insert, view_move, view_put, view_scan_backward, view_scan_forward,
}

/// Puts the namespace where a statement leaves room for it. A [`Namespace`] holds nothing but
/// letters, digits and `_`, so it needs no quoting.
pub(super) fn with_namespace(text: &str, namespace: &Namespace) -> String {
    text.trim().replace("{ns}", namespace.as_str())
}
