//! The statements, with the namespace written into the names of tables and functions. Each stands
//! in its own file beside this one.

use std::sync::Arc;

use chat_core::Namespace;
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

macro_rules! statements {
    ($($name:ident),* $(,)?) => {
        /// Every statement, ready for one namespace.
        #[derive(Debug)]
        pub(super) struct Sql {
            $(pub(super) $name: SqlStr,)*
        }

        impl Sql {
            pub(super) fn new(namespace: &Namespace) -> Self {
                Self {
                    $($name: statement(
                        include_str!(concat!("sql/", stringify!($name), ".sql")),
                        namespace,
                    ),)*
                }
            }
        }
    };
}

statements! {
    append, commit_views, find_event, heads, info, insert, insert_one, look, not_json, notify,
    read_backward, read_forward, read_log, renew_epoch, view_get, view_scan_backward,
    view_scan_forward,
}

/// One statement of ours, cheap to clone. Safe: see [`with_namespace`].
pub(super) fn statement(text: &str, namespace: &Namespace) -> SqlStr {
    let text: Arc<str> = with_namespace(text, namespace).into();
    AssertSqlSafe(text).into_sql_str()
}

/// Puts the namespace where a statement leaves room for it. A [`Namespace`] holds nothing but
/// letters, digits and `_`, so it needs no quoting.
pub(super) fn with_namespace(text: &str, namespace: &Namespace) -> String {
    text.trim().replace("{ns}", namespace.as_str())
}
