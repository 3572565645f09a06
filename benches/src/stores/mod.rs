//! The stores under test, as data. Another backend is a file here and a row in [`SUBJECTS`].

mod memory;
mod sqlite;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use chat_core::ports::{EventStore, ViewStore};
use futures::future::BoxFuture;
use tempfile::TempDir;

/// A backend at one durability.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// What an acknowledged append may lose, at worst.
    pub(crate) loses: &'static str,
    /// Opens what is in a directory; makes it if it is missing.
    open: fn(PathBuf) -> Opening,
    /// What the same backend does at best, at the same durability.
    pub(crate) ceilings: &'static [Ceiling],
    /// Callers meet in one append only if somebody gathers them.
    pub(crate) wants_group_commit: bool,
    /// The goals of appending hold for this one.
    pub(crate) has_goals: bool,
}

pub(crate) const SUBJECTS: &[Subject] = &[memory::MEMORY, sqlite::FULL, sqlite::NORMAL];

/// A program that does the least, to compare with.
#[derive(Debug)]
pub(crate) struct Ceiling {
    pub(crate) role: Role,
    pub(crate) what: &'static str,
    /// Writes to a new database in a directory for a time, on the calling thread; gives events per
    /// second.
    run: fn(&Path, Duration) -> Result<f64>,
}

/// What a ceiling is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The most that goes through: 1,000 events at a time.
    Batched,
    /// One writer, one event at a time.
    Single,
    /// Sixteen writers, each one event at a time.
    Sixteen,
}

/// Becomes an open database.
type Opening = BoxFuture<'static, Result<Box<dyn Database>>>;

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batched => "plain, batched",
            Self::Single => "plain, single",
            Self::Sixteen => "plain, 16 writers",
        }
    }
}

/// A database that is open.
#[async_trait]
pub(crate) trait Database: fmt::Debug + Send + Sync {
    fn events(&self) -> Arc<dyn EventStore>;
    fn views(&self) -> Arc<dyn ViewStore>;
    /// As after a new start of the program. What lives in the process only is kept.
    async fn restart(&mut self) -> Result<()>;
    async fn close(&mut self);
}

/// A database in a directory of its own, which goes with it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Box<dyn Database>,
    _directory: TempDir,
}

impl Subject {
    pub(crate) async fn open(&self, data: &Path) -> Result<Opened> {
        let directory = directory(data)?;
        let database = (self.open)(directory.path().to_owned()).await?;
        Ok(Opened { database, _directory: directory })
    }

    /// Its name, what it may lose, what it is compared with.
    pub(crate) fn describe(&self) -> [String; 3] {
        let ceilings: Vec<_> = self
            .ceilings
            .iter()
            .map(|ceiling| format!("*{}*: {}", ceiling.role.name(), ceiling.what))
            .collect();
        [self.name.to_owned(), self.loses.to_owned(), ceilings.join("; ")]
    }
}

impl Ceiling {
    /// Events per second.
    pub(crate) async fn measure(&'static self, data: &Path, time: Duration) -> Result<f64> {
        let directory = directory(data)?;
        tokio::task::spawn_blocking(move || (self.run)(directory.path(), time)).await?
    }
}

fn directory(data: &Path) -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("chat-bench-").tempdir_in(data);
    directory.with_context(|| format!("make a directory in {}", data.display()))
}

/// Streams that writers spread over.
pub(crate) const STREAMS: usize = 1_024;
