//! What SQLite's errors mean to a caller: one function for every statement and for commits.

use std::sync::Arc;

use chat_core::ports::StoreError;
use rusqlite::ffi;

/// What was being done when the error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Opening the file or bringing its tables up to date.
    Open,
    /// Reading.
    Read,
    /// Anything in a writing transaction but its commit; it is rolled back.
    Write,
    /// The commit.
    Commit,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open the database",
            Self::Read => "read from the database",
            Self::Write => "write to the database",
            Self::Commit => "commit to the database",
        }
    }
}

/// Maps an error of the driver. Extended codes are masked; what they add is in the message.
pub(super) fn store_error(error: rusqlite::Error, step: Step) -> StoreError {
    let Some(code) = primary_code(&error) else {
        return StoreError::Bug { what: format!("cannot {}: {error}", step.name()) };
    };
    let what = format!("cannot {}: {error}", step.name());
    match code {
        ffi::SQLITE_FULL => StoreError::StorageFull { what },
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM => StoreError::ReadOnly { what },
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => {
            StoreError::Corrupt { place: "the database file".into(), what: error.to_string() }
        }
        ffi::SQLITE_TOOBIG => StoreError::Invalid { what },
        // The commit record may have reached the file before the error did.
        ffi::SQLITE_IOERR if step == Step::Commit => {
            let what = step.name().into();
            StoreError::OutcomeUnknown { what, source: Some(Arc::new(error)) }
        }
        ffi::SQLITE_BUSY
        | ffi::SQLITE_LOCKED
        | ffi::SQLITE_PROTOCOL
        | ffi::SQLITE_SCHEMA
        | ffi::SQLITE_IOERR
        | ffi::SQLITE_CANTOPEN
        | ffi::SQLITE_NOMEM
        | ffi::SQLITE_INTERRUPT
        | ffi::SQLITE_ABORT => {
            let what = step.name().into();
            StoreError::Unavailable { what, source: Some(Arc::new(error)) }
        }
        _ => StoreError::Bug { what },
    }
}

/// Whether an insert was refused because a unique value is there already.
pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_CONSTRAINT_UNIQUE)
}

fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    match error {
        rusqlite::Error::SqlInputError { error, .. } => Some(error.extended_code & 0xff),
        _ => error.sqlite_error().map(|error| error.extended_code & 0xff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: i32, step: Step) -> &'static str {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        match store_error(error, step) {
            StoreError::Unavailable { .. } => "unavailable",
            StoreError::OutcomeUnknown { .. } => "unknown",
            StoreError::StorageFull { .. } => "full",
            StoreError::ReadOnly { .. } => "read-only",
            StoreError::Corrupt { .. } => "corrupt",
            StoreError::Invalid { .. } => "invalid",
            StoreError::Bug { .. } => "bug",
            other => panic!("{other}"),
        }
    }

    #[test]
    fn each_code_says_whether_it_happened() {
        let table = [
            (ffi::SQLITE_FULL, "full", "full"),
            (ffi::SQLITE_READONLY, "read-only", "read-only"),
            (ffi::SQLITE_READONLY_DIRECTORY, "read-only", "read-only"),
            (ffi::SQLITE_PERM, "read-only", "read-only"),
            (ffi::SQLITE_BUSY, "unavailable", "unavailable"),
            (ffi::SQLITE_BUSY_SNAPSHOT, "unavailable", "unavailable"),
            (ffi::SQLITE_BUSY_RECOVERY, "unavailable", "unavailable"),
            (ffi::SQLITE_LOCKED, "unavailable", "unavailable"),
            (ffi::SQLITE_PROTOCOL, "unavailable", "unavailable"),
            (ffi::SQLITE_SCHEMA, "unavailable", "unavailable"),
            (ffi::SQLITE_CANTOPEN, "unavailable", "unavailable"),
            (ffi::SQLITE_NOMEM, "unavailable", "unavailable"),
            (ffi::SQLITE_INTERRUPT, "unavailable", "unavailable"),
            (ffi::SQLITE_IOERR, "unavailable", "unknown"),
            (ffi::SQLITE_IOERR_FSYNC, "unavailable", "unknown"),
            (ffi::SQLITE_IOERR_WRITE, "unavailable", "unknown"),
            (ffi::SQLITE_IOERR_SHMMAP, "unavailable", "unknown"),
            (ffi::SQLITE_CORRUPT, "corrupt", "corrupt"),
            (ffi::SQLITE_CORRUPT_INDEX, "corrupt", "corrupt"),
            (ffi::SQLITE_NOTADB, "corrupt", "corrupt"),
            (ffi::SQLITE_TOOBIG, "invalid", "invalid"),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, "bug", "bug"),
            (ffi::SQLITE_MISUSE, "bug", "bug"),
            (ffi::SQLITE_ERROR, "bug", "bug"),
        ];
        for (code, before, at_commit) in table {
            assert_eq!(kind(code, Step::Write), before, "{code} before the commit");
            assert_eq!(kind(code, Step::Read), before, "{code} in a read");
            assert_eq!(kind(code, Step::Commit), at_commit, "{code} at the commit");
        }
    }

    #[test]
    fn an_error_that_is_not_of_the_database_is_a_bug() {
        let error = store_error(rusqlite::Error::InvalidColumnIndex(3), Step::Read);
        assert!(matches!(error, StoreError::Bug { .. }), "{error}");
    }
}
