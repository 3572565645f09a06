//! What errors of the driver and the server mean to a caller: one function for every statement and
//! for commits.

use std::sync::Arc;

use chat_core::ports::StoreError;

/// What was being done when the error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Connecting, or bringing the tables up to date.
    Connect,
    /// Reading.
    Read,
    /// A statement in a transaction that was not committed; it is rolled back.
    Write,
    /// A statement that commits: `COMMIT`, or a write that is a transaction of its own.
    Commit,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect to the database",
            Self::Read => "read from the database",
            Self::Write => "write to the database",
            Self::Commit => "commit to the database",
        }
    }
}

/// Maps an error. Of an error that can quote what was written, only the message stays: its
/// details may hold what people wrote.
pub(super) fn store_error(error: sqlx::Error, step: Step) -> StoreError {
    let what = format!("cannot {}: {}", step.name(), summary(&error));
    match classify(&error) {
        Class::Retry | Class::Crowded => unavailable(step, error),
        // Where the server broke off a commit, nobody knows how far it came.
        Class::Broken if step == Step::Commit => {
            let what = step.name().into();
            StoreError::OutcomeUnknown { what, source: Some(Arc::new(error)) }
        }
        Class::Broken => unavailable(step, error),
        Class::Unknown => {
            StoreError::OutcomeUnknown { what: step.name().into(), source: Some(Arc::new(error)) }
        }
        Class::Full => StoreError::StorageFull { what },
        Class::Forbidden if matches!(step, Step::Write | Step::Commit) => {
            StoreError::ReadOnly { what }
        }
        Class::ReadOnly => StoreError::ReadOnly { what },
        Class::Forbidden | Class::Data | Class::Setup => StoreError::Invalid { what },
        Class::Corrupt => StoreError::Corrupt { place: "the database".into(), what },
        Class::Closed => StoreError::Closed,
        Class::Duplicate | Class::Bug => StoreError::Bug { what },
    }
}

/// An error by what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It did not happen, and the same may succeed at once: deadlock, serialization, lock timeout.
    Retry,
    /// It did not happen, and may succeed later.
    Crowded,
    /// The connection is gone.
    Broken,
    /// The server itself does not know.
    Unknown,
    /// A unique value is there already.
    Duplicate,
    /// A value that PostgreSQL cannot hold.
    Data,
    Full,
    /// The server takes no writes.
    ReadOnly,
    /// The role may not do this.
    Forbidden,
    /// Wrong password, database or TLS.
    Setup,
    Corrupt,
    Closed,
    Bug,
}

pub(super) fn classify(error: &sqlx::Error) -> Class {
    match error {
        sqlx::Error::Database(error) => match error.code() {
            Some(code) => classify_code(&code),
            None => Class::Bug,
        },
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Class::Broken,
        sqlx::Error::PoolTimedOut => Class::Crowded,
        sqlx::Error::PoolClosed => Class::Closed,
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => Class::Setup,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Class::Corrupt,
        _ => Class::Bug,
    }
}

/// Classes of SQLSTATE, with the codes in which they are not of one kind.
fn classify_code(code: &str) -> Class {
    match code {
        "40003" => Class::Unknown,
        "23505" => Class::Duplicate,
        "25006" => Class::ReadOnly,
        "25P03" => Class::Broken, // idle_in_transaction_session_timeout
        "42501" => Class::Forbidden,
        "53100" => Class::Full,
        // Shut down, crashed, the database dropped, idle for too long.
        "57P01" | "57P02" | "57P04" | "57P05" => Class::Broken,
        "58030" => Class::Broken,
        _ => match code.get(..2) {
            Some("08") => Class::Broken,
            Some("40") | Some("55") => Class::Retry,
            // Out of memory or connections; cancelled by a timeout; starting up.
            Some("53") | Some("57") | Some("58") => Class::Crowded,
            Some("22") | Some("54") => Class::Data,
            // The host's own transaction.
            Some("25") => Class::Data,
            Some("28") | Some("3D") | Some("3F") => Class::Setup,
            Some("XX") if code != "XX000" => Class::Corrupt,
            _ => Class::Bug,
        },
    }
}

fn unavailable(step: Step, error: sqlx::Error) -> StoreError {
    StoreError::Unavailable { what: step.name().into(), source: Some(Arc::new(error)) }
}

/// The message without the details, which may quote what was written.
fn summary(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            format!("{} (SQLSTATE {code})", error.message())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// What the server would say.
    #[derive(Debug)]
    struct Said(&'static str);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Said {}

    impl DatabaseError for Said {
        fn message(&self) -> &str {
            "said"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn name(error: sqlx::Error, step: Step) -> &'static str {
        match store_error(error, step) {
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

    #[test]
    fn each_code_says_whether_it_happened() {
        // The code, then in a read, in a write that is rolled back, at the commit.
        let table = [
            ("08006", "unavailable", "unavailable", "unknown"),
            ("08P01", "unavailable", "unavailable", "unknown"),
            ("22021", "invalid", "invalid", "invalid"),
            ("22P02", "invalid", "invalid", "invalid"),
            ("22P05", "invalid", "invalid", "invalid"),
            ("23505", "bug", "bug", "bug"),
            ("25000", "invalid", "invalid", "invalid"),
            ("25006", "read-only", "read-only", "read-only"),
            ("25P03", "unavailable", "unavailable", "unknown"),
            ("28P01", "invalid", "invalid", "invalid"),
            ("3D000", "invalid", "invalid", "invalid"),
            ("40001", "unavailable", "unavailable", "unavailable"),
            ("40003", "unknown", "unknown", "unknown"),
            ("40P01", "unavailable", "unavailable", "unavailable"),
            ("42501", "invalid", "read-only", "read-only"),
            ("42601", "bug", "bug", "bug"),
            ("42P01", "bug", "bug", "bug"),
            ("53100", "full", "full", "full"),
            ("53200", "unavailable", "unavailable", "unavailable"),
            ("53300", "unavailable", "unavailable", "unavailable"),
            ("54001", "invalid", "invalid", "invalid"),
            ("55P03", "unavailable", "unavailable", "unavailable"),
            ("57014", "unavailable", "unavailable", "unavailable"),
            ("57P01", "unavailable", "unavailable", "unknown"),
            ("57P02", "unavailable", "unavailable", "unknown"),
            ("57P03", "unavailable", "unavailable", "unavailable"),
            ("57P05", "unavailable", "unavailable", "unknown"),
            ("58030", "unavailable", "unavailable", "unknown"),
            ("XX000", "bug", "bug", "bug"),
            ("XX001", "corrupt", "corrupt", "corrupt"),
            ("XX002", "corrupt", "corrupt", "corrupt"),
        ];
        for (code, read, write, commit) in table {
            let said = || sqlx::Error::Database(Box::new(Said(code)));
            assert_eq!(name(said(), Step::Read), read, "{code} in a read");
            assert_eq!(name(said(), Step::Write), write, "{code} in a write");
            assert_eq!(name(said(), Step::Commit), commit, "{code} at the commit");
        }
    }

    #[test]
    fn what_the_driver_finds_is_mapped_as_well() {
        let broken = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(name(broken(), Step::Connect), "unavailable");
        assert_eq!(name(broken(), Step::Write), "unavailable");
        assert_eq!(name(broken(), Step::Commit), "unknown");
        assert_eq!(name(sqlx::Error::Protocol("odd".into()), Step::Commit), "unknown");
        assert_eq!(name(sqlx::Error::PoolClosed, Step::Read), "closed");
        assert_eq!(name(sqlx::Error::Tls("no".into()), Step::Connect), "invalid");
        assert_eq!(name(sqlx::Error::Decode("odd".into()), Step::Read), "corrupt");
        assert_eq!(name(sqlx::Error::RowNotFound, Step::Read), "bug");
    }
}
