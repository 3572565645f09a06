//! A file that goes with the test, and short ways to write and read.

use std::num::NonZero;
use std::path::PathBuf;

use chat_core::ports::{EventStore, ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewStore};
use chat_core::{Checkpoint, ProjectionName, Scope, ViewKey};
use chat_store_sql::sqlite::{SqliteConfig, SqliteStore};
use rusqlite::Connection;
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

    /// The file as a person with the `sqlite3` program would have it.
    pub(crate) fn raw(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

/// All of a stream as `version payload`.
pub(crate) async fn payloads(store: &dyn EventStore, stream: &str) -> Vec<String> {
    let stream = chat_core::testkit::fixture::stream(stream);
    let events = chat_core::testkit::fixture::read_all(store, &stream).await;
    events.iter().map(|e| format!("{} {}", e.version, e.event.payload.as_str())).collect()
}

pub(crate) fn view(scope: &str) -> ViewId {
    let (scope, projection) = (Scope::new(scope).unwrap(), ProjectionName::new("p").unwrap());
    ViewId { scope, projection }
}

pub(crate) fn put(scope: &str, expected: u64, next: u64, key: &str, value: &[u8]) -> ViewBatch {
    let ops = vec![ViewOp::Put(ViewKey::new(key).unwrap(), value.into())];
    ViewBatch { view: view(scope), expected: Checkpoint(expected), next: Checkpoint(next), ops }
}

pub(crate) async fn commit(store: &dyn ViewStore, batch: ViewBatch) -> Result<(), ViewError> {
    store.commit(&[batch]).await.pop().unwrap()
}

/// The checkpoint of a view and the value of one key.
pub(crate) async fn get(store: &dyn ViewStore, scope: &str, key: &str) -> (u64, Option<Vec<u8>>) {
    let wanted = ViewGet { view: view(scope), keys: vec![ViewKey::new(key).unwrap()] };
    let mut found = store.get(&[wanted]).await.unwrap().pop().unwrap();
    (found.checkpoint.0, found.values.pop().unwrap().map(|value| value.to_vec()))
}
