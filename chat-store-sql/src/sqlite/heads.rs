//! What the writer remembers between transactions, so that it need not ask the database for
//! every append. Forgotten whenever somebody else wrote to the file.

/// A stream in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamHead {
    /// The stream's row.
    pub(super) id: i64,
    /// Its last version.
    pub(super) version: i64,
}

/// A view in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ViewHead {
    /// The view's row.
    pub(super) id: i64,
    /// How far it has come.
    pub(super) checkpoint: i64,
}
