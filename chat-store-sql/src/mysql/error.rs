//! What errors of the driver and the server mean to a caller: one function for every statement and
//! for commits.

use std::sync::Arc;

use chat_core::ports::StoreError;
use sqlx::mysql::MySqlDatabaseError;

/// What was being done when the error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Connecting, or bringing the tables up to date.
    Open,
    /// Reading.
    Read,
    /// Anything in a writing transaction but its commit; it is rolled back.
    Write,
    /// A commit, or a statement that commits by itself.
    Commit,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "connect to the database",
            Self::Read => "read from the database",
            Self::Write => "write to the database",
            Self::Commit => "commit to the database",
        }
    }
}

/// Why a statement failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// What a caller is told.
    pub(super) error: StoreError,
    /// Whether the connection can be used on.
    pub(super) connected: bool,
}

/// What the one who sent the statement can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A unique value is there already; the statement had no effect.
    Duplicate,
    /// Others were in the way (a deadlock, a lock that was not free in time); it had no effect.
    Contended,
    /// Anything else.
    Other,
}

impl Failure {
    pub(super) fn new(error: sqlx::Error, step: Step) -> Self {
        let number = number(&error);
        let cause = number.map_or(Cause::Other, cause);
        let connected = number.is_some_and(|number| !ends_connection(number));
        Self { cause, error: store_error(error, step), connected }
    }

    /// No answer came in time. The statement may still be under way.
    pub(super) fn timed_out(step: Step) -> Self {
        let what = format!("cannot {}: no answer in time", step.name());
        let error = match step {
            Step::Commit => StoreError::OutcomeUnknown { what, source: None },
            Step::Open | Step::Read | Step::Write => StoreError::Unavailable { what, source: None },
        };
        Self { cause: Cause::Other, error, connected: false }
    }

    pub(super) fn is_read_only(&self) -> bool {
        matches!(self.error, StoreError::ReadOnly { .. })
    }

    /// A failure that the server has nothing to do with.
    pub(super) fn of(error: StoreError) -> Self {
        Self { cause: Cause::Other, error, connected: true }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// Maps an error of the driver.
pub(super) fn store_error(error: sqlx::Error, step: Step) -> StoreError {
    match &error {
        sqlx::Error::Database(_) => {}
        sqlx::Error::PoolClosed => return StoreError::Closed,
        sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) | sqlx::Error::Tls(_) => {
            return StoreError::Invalid { what: format!("cannot {}: {error}", step.name()) };
        }
        // Waiting for a connection of the pool: nothing was sent.
        sqlx::Error::PoolTimedOut => return unavailable(error, step),
        sqlx::Error::RowNotFound
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::TypeNotFound { .. } => {
            return StoreError::Bug { what: format!("cannot {}: {error}", step.name()) };
        }
        // The connection broke, or nobody can say in what state it is.
        _ => return lost(error, step),
    }
    of_server(number(&error).unwrap_or_default(), error, step)
}

/// Maps an error that the server told by its number.
fn of_server(number: u16, error: sqlx::Error, step: Step) -> StoreError {
    match number {
        // No room: on the disk, in the tablespace.
        1021 | 1114 => StoreError::StorageFull { what: told(&error, step) },
        // `read_only`, `innodb_read_only`, a transaction that only reads.
        1290 | 1792 | 1836 | 3906 => StoreError::ReadOnly { what: told(&error, step) },
        // The user may not do this.
        1142 | 1143 if matches!(step, Step::Write | Step::Commit) => {
            StoreError::ReadOnly { what: told(&error, step) }
        }
        1044 | 1045 | 1049 | 1142 | 1143 | 1227 | 1251 | 1370 | 1698 | 3159 => {
            StoreError::Invalid { what: told(&error, step) }
        }
        // Above `max_allowed_packet`; a binary log in statements.
        1153 | 1301 | 1665 => StoreError::Invalid { what: told(&error, step) },
        // A value that does not fit. The message may show it, so it is not passed on.
        1264 | 1292 | 1366 | 1406 => {
            let what = format!("cannot {}: a value does not fit (error {number})", step.name());
            StoreError::Invalid { what }
        }
        // Tables that are gone or damaged.
        1033..=1035 | 1054 | 1146 | 1194 | 1195 | 1712 | 1812 | 1932 => StoreError::Corrupt {
            place: "the tables of the store".into(),
            what: told(&error, step),
        },
        // Closed for having been idle, before the statement came.
        4031 => unavailable(error, step),
        // Ended by force: in a commit it may be done already.
        1053 | 1079 | 1080 | 1180 | 1181 | 1317 | 1927 => lost(error, step),
        // Out of memory, connections or patience.
        1020
        | 1030
        | 1037
        | 1038
        | 1040
        | 1041
        | 1129
        | 1135
        | 1158..=1161
        | 1203
        | 1205
        | 1213
        | 1226
        | 1614
        | 1969
        | 3024
        | 3572 => unavailable(error, step),
        _ => StoreError::Bug { what: told(&error, step) },
    }
}

/// Whether the error follows from one piece of what was written together, and the others could do
/// without it.
pub(super) fn is_of_one(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Corrupt { .. }
            | StoreError::Bug { .. }
            | StoreError::Invalid { .. }
            // What is small may still fit.
            | StoreError::StorageFull { .. }
    )
}

fn told(error: &sqlx::Error, step: Step) -> String {
    format!("cannot {}: {error}", step.name())
}

fn unavailable(error: sqlx::Error, step: Step) -> StoreError {
    StoreError::Unavailable { what: step.name().into(), source: Some(Arc::new(error)) }
}

fn lost(error: sqlx::Error, step: Step) -> StoreError {
    match step {
        Step::Commit => {
            StoreError::OutcomeUnknown { what: step.name().into(), source: Some(Arc::new(error)) }
        }
        Step::Open | Step::Read | Step::Write => unavailable(error, step),
    }
}

/// The server's number of the error, if it is the server's.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

fn cause(number: u16) -> Cause {
    match number {
        1022 | 1062 | 1586 => Cause::Duplicate,
        1020 | 1205 | 1213 | 1614 | 3572 => Cause::Contended,
        _ => Cause::Other,
    }
}

/// Whether the connection cannot be used on: the server closes it with this error, or it leads to a
/// server that only reads, and a new one may lead to the one that has taken its place.
fn ends_connection(number: u16) -> bool {
    matches!(number, 1053 | 1079 | 1080 | 1153 | 1158..=1161 | 1290 | 1836 | 1927 | 3906 | 4031)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(error: &StoreError) -> &'static str {
        match error {
            StoreError::Unavailable { .. } => "unavailable",
            StoreError::OutcomeUnknown { .. } => "unknown",
            StoreError::StorageFull { .. } => "full",
            StoreError::ReadOnly { .. } => "read-only",
            StoreError::Corrupt { .. } => "corrupt",
            StoreError::Invalid { .. } => "invalid",
            StoreError::Closed => "closed",
            StoreError::Bug { .. } => "bug",
            other => panic!("{other}"),
        }
    }

    fn told_by_server(number: u16, step: Step) -> StoreError {
        of_server(number, sqlx::Error::Protocol("as the server said".into()), step)
    }

    #[test]
    fn each_number_says_whether_it_happened() {
        // In a read, in a transaction, in a commit.
        let table = [
            (1021, ["full"; 3]),
            (1114, ["full"; 3]),
            (1290, ["read-only"; 3]),
            (1792, ["read-only"; 3]),
            (1836, ["read-only"; 3]),
            (1142, ["invalid", "read-only", "read-only"]),
            (1143, ["invalid", "read-only", "read-only"]),
            (1044, ["invalid"; 3]),
            (1045, ["invalid"; 3]),
            (1049, ["invalid"; 3]),
            (1227, ["invalid"; 3]),
            (1153, ["invalid"; 3]),
            (1366, ["invalid"; 3]),
            (1406, ["invalid"; 3]),
            (1665, ["invalid"; 3]),
            (1146, ["corrupt"; 3]),
            (1194, ["corrupt"; 3]),
            (1020, ["unavailable"; 3]),
            (1040, ["unavailable"; 3]),
            (1041, ["unavailable"; 3]),
            (1203, ["unavailable"; 3]),
            (1205, ["unavailable"; 3]),
            (1213, ["unavailable"; 3]),
            (1226, ["unavailable"; 3]),
            (1969, ["unavailable"; 3]),
            (3024, ["unavailable"; 3]),
            (4031, ["unavailable"; 3]),
            (1053, ["unavailable", "unavailable", "unknown"]),
            (1180, ["unavailable", "unavailable", "unknown"]),
            (1317, ["unavailable", "unavailable", "unknown"]),
            (1927, ["unavailable", "unavailable", "unknown"]),
            (1064, ["bug"; 3]),
            (1062, ["bug"; 3]),
        ];
        for (number, expected) in table {
            let found = [Step::Read, Step::Write, Step::Commit]
                .map(|step| kind(&told_by_server(number, step)));
            assert_eq!(found, expected, "{number}");
        }
    }

    #[test]
    fn what_can_be_tried_again_inside_is_told_apart() {
        assert_eq!(cause(1062), Cause::Duplicate);
        assert_eq!([1213, 1205, 1020].map(cause), [Cause::Contended; 3]);
        assert_eq!([1064, 1053, 0].map(cause), [Cause::Other; 3]);
    }

    #[test]
    fn a_broken_connection_leaves_open_only_what_commits() {
        let broken = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(kind(&store_error(broken(), Step::Commit)), "unknown");
        assert_eq!(kind(&store_error(broken(), Step::Write)), "unavailable");
        assert_eq!(kind(&store_error(broken(), Step::Read)), "unavailable");
        assert!(!Failure::new(broken(), Step::Read).connected);
        assert_eq!(kind(&store_error(sqlx::Error::PoolTimedOut, Step::Commit)), "unavailable");
        assert_eq!(kind(&store_error(sqlx::Error::PoolClosed, Step::Read)), "closed");
        assert_eq!(kind(&store_error(sqlx::Error::RowNotFound, Step::Read)), "bug");
    }

    #[test]
    fn a_message_that_may_show_a_value_is_not_passed_on() {
        let error = sqlx::Error::Protocol("Incorrect string value: 'secret'".into());
        let error = of_server(1366, error, Step::Commit);
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
