//! The port for events.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::ports::{
    Append, AppendResult, Direction, EventStore, LogPage, PageLimit, StoreError, StoreInfo,
    StreamPage,
};
use chat_core::{Epoch, EventId, PartitionId, Position, RecordedEvent, StreamId, Version};
use futures::future::try_join_all;
use redis::Value;

use crate::envelope::{corrupt, event};
use crate::error::Step;
use crate::incarnation::epoch;
use crate::log;
use crate::reply::{array, number};
use crate::store::{RedisStore, Shared};
use crate::stream_page;

#[async_trait]
impl EventStore for RedisStore {
    /// As the port says; the appends of one call that fall into different partitions take effect
    /// independently of each other, those of one partition in their order.
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        crate::appender::append(self.shared(), appends).await
    }

    /// As the port says; a page of more than 64 events in three round trips: the first of them
    /// with the head, the others, and a look whether the server is still the same.
    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        let shared = self.shared();
        shared.open()?;
        stream_page::read(shared, (stream, direction), from, limit).await
    }

    /// As the port says, in two round trips: what the log refers to never changes, so that it may
    /// be read after the log.
    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        let shared = self.shared();
        shared.open()?;
        let count = shared.keys.partitions();
        if partition.0 >= count {
            let what = format!("partition {partition}, the store has {count}");
            return Err(StoreError::Invalid { what });
        }
        log::read(shared, partition, after, limit).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        let shared = self.shared();
        shared.open()?;
        let mut command = shared.scripts.find.call(2);
        command.arg(shared.keys.index(stream)).arg(shared.keys.events(stream));
        command.arg(id.0.as_bytes());
        let mut answer = array(shared.run(&command, Step::Read).await?)?.into_iter();
        let Some(version) = answer.next() else { return Ok(None) };
        let version = Version(number(Some(version))?);
        let entry = array(answer.next().unwrap_or_default())?.pop();
        let entry = entry.ok_or_else(|| corrupt(stream, version, GONE))?;
        event(stream, entry).map(Some)
    }

    /// As the port says; in a cluster, streams of different partitions are looked at one after the
    /// other, as no look spans its servers.
    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        let shared = self.shared();
        shared.open()?;
        let mut groups: BTreeMap<PartitionId, Vec<&StreamId>> = BTreeMap::new();
        for stream in streams {
            // One server answers for all partitions in one look.
            let partition = match shared.connection.is_one_server() {
                true => PartitionId(0),
                false => shared.keys.partition_of(stream),
            };
            groups.entry(partition).or_default().push(stream);
        }
        let groups = groups.into_values().map(async |streams| {
            let mut command = shared.scripts.heads.call(streams.len());
            for stream in &streams {
                command.arg(shared.keys.heads(shared.keys.partition_of(stream)));
            }
            for stream in &streams {
                command.arg(stream.as_str());
            }
            let heads = array(shared.run(&command, Step::Read).await?)?;
            Ok::<_, StoreError>(streams.into_iter().zip(heads).collect::<Vec<_>>())
        });
        let mut heads = HashMap::with_capacity(streams.len());
        for (stream, head) in try_join_all(groups).await?.into_iter().flatten() {
            heads.insert(stream, Version(number(Some(head))?));
        }
        Ok(streams.iter().map(|stream| heads.get(stream).copied().unwrap_or_default()).collect())
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let shared = self.shared();
        shared.open()?;
        let partitions = shared.keys.partitions();
        // A promoted server may know the scripts from an earlier time as a master.
        shared.incarnation.watch(shared.reach()).await?;
        // A look at the end of each log notices one that is gone.
        let ends = (0..partitions).map(|id| log::look(shared, PartitionId(id)));
        try_join_all(ends).await?;
        let durability = shared.incarnation.durability().level();
        Ok(StoreInfo { epoch: stored_epoch(shared).await?, partitions, durability })
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.shared().keys.partition_of(stream)
    }
}

async fn stored_epoch(shared: &Shared) -> Result<Epoch, StoreError> {
    let mut command = shared.scripts.epoch.call(1);
    command.arg(shared.keys.of_namespace());
    let answer = shared.run(&command, Step::Read).await?;
    if answer == Value::Nil {
        // Somebody has emptied the server.
        return Ok(shared.incarnation.renew(shared.reach(), "", "").await?.0);
    }
    let epoch = epoch(Some(answer))?;
    shared.incarnation.learn_epoch(epoch);
    Ok(epoch)
}

/// Reads entries of one stream.
pub(crate) fn decoded(
    stream: &StreamId,
    entries: Vec<Value>,
) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
    entries.into_iter().map(|entry| event(stream, entry)).collect()
}

/// What is said of an event that the index knows and the stream does not hold.
pub(crate) const GONE: &str = "the event is gone";
