//! Notices that acknowledged events were lost, and starts a new epoch then.
//!
//! Three things are watched:
//!
//! - *The end of each log.* Every entry carries a random token. Whoever reads or writes a partition
//!   names the newest entry that it has seen; a server that does not hold it has lost it.
//! - *The server.* Each partition, and the namespace, remembers the reign of the server that holds
//!   it: its run and the history that it writes, and whether it syncs before it answers. Another run
//!   after `appendfsync everysec`, or a promoted replica, may have lost a tail that nobody now alive
//!   has seen, or an epoch that had begun.
//! - *The scripts.* They are forgotten when a server stops, and only those who have compared the
//!   server's reign make them known again. So the first call after a restart or after the failover
//!   to a server that was no master before is refused with "unknown script", and the comparison comes
//!   before any other call, at no cost for the others. A server that was a master before may still
//!   have them; therefore whoever asks for the store's epoch compares as well.
//!
//! What cannot be seen:
//!
//! - A promoted replica, all of whose callers know nothing newer, was restarted before anybody
//!   called it (or had no replica for `repl-backlog-ttl`, an hour): it no longer knows that it was
//!   one.
//! - `CONFIG SET` makes a server sync later, it is killed before anybody enters it again (opens a
//!   store there, say), and comes back with a configuration file that makes it sync always.
//! - A server that syncs always was stopped, an older copy of its files put in place, and no process
//!   that saw the newer events is left.
//!
//! Then an operator calls [`RedisStore::renew_epoch`](crate::RedisStore::renew_epoch).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chat_core::ports::StoreError;
use chat_core::{Epoch, PartitionId};
use futures::future::try_join_all;
use redis::Value;
use uuid::Uuid;

use crate::config::RedisConfig;
use crate::connection::{Connection, RunError};
use crate::durability::{ServerDurability, Servers};
use crate::error::Step;
use crate::keys::Keys;
use crate::replicas::Written;
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
    /// The same, for who does not want to wait while it is entered.
    times: AtomicU64,
    /// Whether every partition was compared before this process came.
    compared_before: bool,
}

#[derive(Debug)]
struct Known {
    epoch: Epoch,
    marks: Vec<Option<Mark>>,
    durability: ServerDurability,
}

/// What the whole store shares to reach the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach<'a> {
    pub(crate) config: &'a RedisConfig,
    pub(crate) connection: &'a Connection,
    pub(crate) keys: &'a Keys,
    pub(crate) scripts: &'a Scripts,
}

impl Incarnation {
    pub(crate) fn new(
        (epoch, compared_before): (Epoch, bool),
        partitions: u32,
        durability: ServerDurability,
    ) -> Self {
        let marks = (0..partitions).map(|_| None).collect();
        let known = Mutex::new(Known { epoch, marks, durability });
        Self { known, entered: Default::default(), times: AtomicU64::new(0), compared_before }
    }

    /// How the servers keep what they have, as they were when last entered.
    pub(crate) fn durability(&self) -> ServerDurability {
        self.known().durability.clone()
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
        let (_epoch, _copied) = self.renew(reach, &ended, "").await?;
        let mut known = self.known();
        let slot = known.marks.get_mut(index(partition));
        if let Some(slot) = slot.filter(|slot| slot.as_ref() == Some(mark)) {
            *slot = None;
        }
        Ok(())
    }

    /// Starts a new epoch: if the present one is the one named (or any, if none is named), and no
    /// epoch was started for that reign yet. Also says whether the replicas that are wanted have it;
    /// whoever looks for losses goes on without them, as one more epoch begins where they take over.
    pub(crate) async fn renew(
        &self,
        reach: Reach<'_>,
        ended: &str,
        reign: &str,
    ) -> Result<(Epoch, Result<(), StoreError>), StoreError> {
        let mut command = reach.scripts.renew.bring(1);
        command
            .arg(reach.keys.of_namespace())
            .arg(ended)
            .arg(Uuid::new_v4().to_string())
            .arg(reign)
            .arg(FORMAT)
            .arg(reach.keys.partitions());
        let written = reach.connection.write(&command, PartitionId::default()).await;
        let Written { answer, copied } = known_script(written)?;
        let epoch = epoch(Some(answer))?;
        self.learn_epoch(epoch);
        Ok((epoch, copied))
    }

    /// How often the server was entered.
    pub(crate) async fn entered(&self) -> u64 {
        *self.entered.lock().await
    }

    /// How often the server was entered, not counting one that is being entered now.
    pub(crate) fn times(&self) -> u64 {
        self.times.load(Ordering::Acquire)
    }

    /// Looks whether the servers are those that were compared, and compares them if they are not.
    pub(crate) async fn watch(&self, reach: Reach<'_>) -> Result<(), StoreError> {
        let times = self.entered().await;
        let looks = places(reach).map(|place| self.compare(reach, place, LOOK, ""));
        let looks = try_join_all(looks).await?;
        if looks.iter().any(Option::is_some) {
            self.enter(reach, times).await?;
        }
        Ok(())
    }

    /// Compares the servers with those of before and makes the scripts known to them; unless that
    /// was done since it had been done so many times.
    pub(crate) async fn enter(&self, reach: Reach<'_>, times: u64) -> Result<(), StoreError> {
        let mut entered = self.entered.lock().await;
        if *entered > times {
            return Ok(());
        }
        let before = self.compared_before || *entered > 0;
        self.compare_all(reach, before).await?;
        let load = reach.scripts.all().into_iter().map(|script| script.load());
        let load: Vec<_> = load.collect();
        try_join_all(load.iter().map(|load| reach.connection.run_everywhere(load))).await?;
        // A server that has become master in between knows the scripts and was not compared.
        self.compare_all(reach, true).await?;
        *entered += 1;
        self.times.store(*entered, Ordering::Release);
        Ok(())
    }

    async fn compare_all(&self, reach: Reach<'_>, before: bool) -> Result<(), StoreError> {
        let servers = Servers::look(reach.connection, reach.config).await?;
        servers.weakest.check(reach.config).map_err(|error| {
            let what = "use the server that is in charge now".to_owned();
            StoreError::Unavailable { what, source: Some(Arc::new(error)) }
        })?;
        let always = servers.always.as_str();
        let partitions = places(reach).filter(|place| place.partition.is_some());
        let compared = partitions.map(async |place| {
            let place = Place { before, ..place };
            Ok((place, self.compare(reach, place, always, "").await?))
        });
        let compared: Vec<_> = try_join_all(compared).await?;
        let mut renewed = Vec::new();
        for (place, lost) in compared {
            self.settle(reach, (place, lost), always, &mut renewed).await?;
        }
        // The namespace comes last: where it was compared, everything was.
        let place = Place { partition: None, before: false };
        let lost = self.compare(reach, place, always, "").await?;
        self.settle(reach, (place, lost), always, &mut renewed).await?;
        self.known().durability = servers.weakest;
        Ok(())
    }

    /// Starts a new epoch for the reign that may have lost something, and takes it as it is now.
    async fn settle(
        &self,
        reach: Reach<'_>,
        (place, mut lost): (Place, Option<String>),
        always: &str,
        renewed: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        for _ in 0..LOSSES {
            let Some(reign) = lost else { return Ok(()) };
            if !renewed.contains(&reign) {
                let (_epoch, _copied) = self.renew(reach, "", &reign).await?;
                renewed.push(reign.clone());
            }
            lost = self.compare(reach, place, always, &reign).await?;
        }
        let what = "the server is replaced again and again".to_owned();
        Err(StoreError::Unavailable { what, source: None })
    }

    /// Compares the server of one place; its reign, if it may have lost something (or to a mere
    /// look, if it is another).
    async fn compare(
        &self,
        reach: Reach<'_>,
        place: Place,
        always: &str,
        accepted: &str,
    ) -> Result<Option<String>, StoreError> {
        let epoch = self.epoch();
        let mut command = reach.scripts.enter.bring(1);
        command.arg(match place.partition {
            Some(partition) => reach.keys.state(partition),
            None => reach.keys.of_namespace(),
        });
        command.arg(always).arg(accepted).arg(u8::from(place.before));
        // As often as it is sent, it notes the same.
        let answer = known_script(reach.connection.run(&command, Step::Read).await)?;
        let mut answer = array(answer)?.into_iter();
        let (outcome, reign) = (text(answer.next())?, text(answer.next())?);
        if outcome != "kept" {
            return Ok(Some(reign));
        }
        // Whoever has seen something already compares that with what is there now.
        if let Some(partition) = place.partition.filter(|id| self.mark(*id).0.is_none()) {
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

/// What lies on one server: a partition, or else what the namespace as a whole is.
#[derive(Debug, Clone, Copy)]
struct Place {
    partition: Option<PartitionId>,
    /// Whether it was compared before for certain.
    before: bool,
}

fn places(reach: Reach<'_>) -> impl Iterator<Item = Place> {
    let partitions = (0..reach.keys.partitions()).map(|id| Some(PartitionId(id)));
    partitions.chain([None]).map(|partition| Place { partition, before: false })
}

/// The answer of a script that was brought along.
pub(crate) fn known_script<T>(answer: Result<T, RunError>) -> Result<T, StoreError> {
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

/// Instead of the runs that sync always: only look.
const LOOK: &str = "?";
/// How many servers may take a place while it is compared.
const LOSSES: usize = 8;
/// The format of what this release writes.
pub(crate) const FORMAT: u64 = 2;
