//! A file that goes with the test, and short ways to write and read.

use std::num::NonZero;
use std::path::PathBuf;

use chat_store_sql::sqlite::{SqliteConfig, SqliteStore};
use tempfile::TempDir;

/// A directory for one database.
#[derive(Debug)]
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("chat.db")
    }

    pub(crate) fn config(&self) -> SqliteConfig {
        SqliteConfig::new(self.path()).with_readers(NonZero::new(2).unwrap())
    }

    pub(crate) async fn open(&self) -> SqliteStore {
        SqliteStore::open(self.config()).await.unwrap()
    }
}
