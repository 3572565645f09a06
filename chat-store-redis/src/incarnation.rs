//! Notices that acknowledged events were lost, and starts a new epoch then.
//!
//! Three things are watched:
//!
//! - *The end of each log.* Every entry carries a random token. Whoever reads or writes a partition
//!   names the newest entry that it has seen; a server that does not hold it has lost it.
//! - *The server.* Each partition remembers the run of the server that holds it, and whether that
//!   server syncs before it answers. Another run after `appendfsync everysec`, or a promoted
//!   replica, may have lost a tail that nobody now alive has seen.
//! - *The scripts.* They are forgotten when a server stops, and only those who have compared the
//!   server's run make them known again. So the first call after a restart or a failover is
//!   refused with "unknown script", and the comparison comes before any other call, at no cost for
//!   the others.
//!
//! What cannot be seen: a server that syncs always was stopped, an older copy of its files put in
//! place, and no process that saw the newer events is left. Then an operator calls
//! [`RedisStore::renew_epoch`](crate::RedisStore::renew_epoch).

use std::sync::{Mutex, MutexGuard, PoisonError};

use chat_core::ports::StoreError;
use chat_core::{Epoch, PartitionId};
use futures::future::try_join_all;
use redis::Value;
use uuid::Uuid;

use crate::connection::{Connection, RunError};
use crate::durability::Sync;
use crate::error::Step;
use crate::keys::Keys;
use crate::reply::{array, optional_bytes, text};
use crate::scripts::Scripts;

/// The newest entry of a log that this process has seen, and the epoch in which it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) position: Vec<u8>,
    pub(crate) token: Vec<u8>,
    pub(crate) epoch: Epoch,
}

/// What this process knows of the store's life.
#[derive(Debug)]
pub(crate) struct Incarnation {
    known: Mutex<Known>,
    /// How often the server was entered; held while it is.
    entered: tokio::sync::Mutex<u64>,
    sync: &'static str,
}

#[derive(Debug)]
struct Known {
    epoch: Epoch,
    marks: Vec<Option<Mark>>,
}

/// What the whole store shares to reach the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) keys: &'a Keys,
    pub(crate) scripts: &'a Scripts,
}

impl Incarnation {
    pub(crate) fn new(epoch: Epoch, partitions: u32, sync: Option<Sync>) -> Self {
        let marks = (0..partitions).map(|_| None).collect();
        let sync = if sync == Some(Sync::Always) { "always" } else { "later" };
        Self { known: Mutex::new(Known { epoch, marks }), entered: Default::default(), sync }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.known().epoch
    }

    pub(crate) fn learn_epoch(&self, epoch: Epoch) {
        self.known().epoch = epoch;
    }

    /// The newest entry seen, and the epoch now.
    pub(crate) fn mark(&self, partition: PartitionId) -> (Option<Mark>, Epoch) {
        let known = self.known();
        let mark = known.marks.get(index(partition)).cloned().flatten();
        (mark, known.epoch)
    }

    /// Notes an entry that was seen by a call that began in this epoch.
    pub(crate) fn saw(&self, partition: PartitionId, mark: Mark) {
        if mark.token.is_empty() {
            return;
        }
        let number =
            |mark: &Mark| -> Option<u64> { std::str::from_utf8(&mark.position).ok()?.parse().ok() };
        let mut known = self.known();
        let Some(slot) = known.marks.get_mut(index(partition)) else { return };
        // Answers may come in another order than the calls were made in.
        let older = slot
            .as_ref()
            .is_some_and(|seen| seen.epoch == mark.epoch && number(seen) > number(&mark));
        if !older {
            *slot = Some(mark);
        }
    }

    /// Starts a new epoch, as the entry of this mark is gone; unless somebody did already.
    pub(crate) async fn lost(
        &self,
        reach: Reach<'_>,
        partition: PartitionId,
        mark: &Mark,
    ) -> Result<(), StoreError> {
        let ended = mark.epoch.0.to_string();
        self.renew(reach, &ended, "").await?;
        let mut known = self.known();
        let slot = known.marks.get_mut(index(partition));
        if let Some(slot) = slot.filter(|slot| slot.as_ref() == Some(mark)) {
            *slot = None;
        }
        Ok(())
    }

    /// Starts a new epoch: if the present one is the one named (or any, if none is named), and no
    /// epoch was started for that run of the server yet.
    pub(crate) async fn renew(
        &self,
        reach: Reach<'_>,
        ended: &str,
        run: &str,
    ) -> Result<Epoch, StoreError> {
        let mut command = reach.scripts.renew.bring(1);
        command
            .arg(reach.keys.of_namespace())
            .arg(ended)
            .arg(Uuid::new_v4().to_string())
            .arg(run)
            .arg(FORMAT)
            .arg(reach.keys.partitions());
        let answer = known_script(reach.connection.run(&command, Step::Write).await)?;
        let epoch = epoch(Some(answer))?;
        self.learn_epoch(epoch);
        Ok(epoch)
    }

    /// How often the server was entered.
    pub(crate) async fn entered(&self) -> u64 {
        *self.entered.lock().await
    }

    /// Compares the servers with those of before and makes the scripts known to them; unless that
    /// was done since it had been done so many times.
    pub(crate) async fn enter(&self, reach: Reach<'_>, times: u64) -> Result<(), StoreError> {
        let mut entered = self.entered.lock().await;
        if *entered > times {
            return Ok(());
        }
        let all = (0..reach.keys.partitions()).map(PartitionId);
        let compared =
            try_join_all(all.map(|partition| self.compare(reach, partition, ""))).await?;
        let mut renewed = Vec::new();
        for (partition, run) in (0..).map(PartitionId).zip(compared) {
            let Some(run) = run else { continue };
            if !renewed.contains(&run) {
                self.renew(reach, "", &run).await?;
                renewed.push(run.clone());
            }
            self.compare(reach, partition, &run).await?;
        }
        let load = reach.scripts.all().into_iter().map(|script| script.load());
        let load: Vec<_> = load.collect();
        try_join_all(load.iter().map(|load| reach.connection.run_everywhere(load))).await?;
        *entered += 1;
        Ok(())
    }

    /// Compares the server of one partition; its run, if it may have lost something.
    async fn compare(
        &self,
        reach: Reach<'_>,
        partition: PartitionId,
        accepted: &str,
    ) -> Result<Option<String>, StoreError> {
        let epoch = self.epoch();
        let mut command = reach.scripts.enter.bring(1);
        command.arg(reach.keys.state(partition)).arg(self.sync).arg(accepted);
        let answer = known_script(reach.connection.run(&command, Step::Write).await)?;
        let mut answer = array(answer)?.into_iter();
        let (outcome, run) = (text(answer.next())?, text(answer.next())?);
        if outcome == "lost" {
            return Ok(Some(run));
        }
        // Whoever has seen something already compares that with what is there now.
        if self.mark(partition).0.is_none() {
            let position = optional_bytes(answer.next())?.unwrap_or_default();
            let token = optional_bytes(answer.next())?.unwrap_or_default();
            self.saw(partition, Mark { position, token, epoch });
        }
        Ok(None)
    }

    /// Each change is whole before anything can panic.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer of a script that was brought along.
pub(crate) fn known_script(answer: Result<Value, RunError>) -> Result<Value, StoreError> {
    answer.map_err(|error| match error {
        RunError::Store(error) => error,
        RunError::UnknownScript => {
            StoreError::Bug { what: "the server does not know a script that it was given".into() }
        }
    })
}

/// An epoch in the server's answer.
pub(crate) fn epoch(value: Option<Value>) -> Result<Epoch, StoreError> {
    let uuid = Uuid::parse_str(&text(value)?).map_err(|error| StoreError::Corrupt {
        place: "the store's epoch".into(),
        what: error.to_string(),
    })?;
    Ok(Epoch(uuid))
}

fn index(partition: PartitionId) -> usize {
    usize::try_from(partition.0).unwrap_or(usize::MAX)
}

/// The format of what this release writes.
pub(crate) const FORMAT: u64 = 1;
