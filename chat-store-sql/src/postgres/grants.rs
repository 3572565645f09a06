//! The rights that a role needs.

use chat_core::Namespace;

use super::sql::with_namespace;

/// The statements that give a role what it needs to use a namespace, for an administrator to run:
/// it may add events and read them, but neither change nor remove one, and may create nothing. They
/// stand in `sql/grants.sql`.
///
/// [`renew_epoch`](super::PostgresStore::renew_epoch) needs more: `INSERT` and `UPDATE` on the table
/// `…_meta`.
#[must_use]
pub fn grants(namespace: &Namespace, role: &str) -> String {
    let quoted = format!("\"{}\"", role.replace('"', "\"\""));
    with_namespace(include_str!("sql/grants.sql"), namespace).replace("{role}", &quoted)
}
