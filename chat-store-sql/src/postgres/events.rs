//! The port for events.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::ports::{
    Append, AppendResult, Direction, Durability, EventStore, LogPage, PageLimit, StoreError,
    StoreInfo, StreamPage,
};
use chat_core::{Epoch, EventId, PartitionId, Position, RecordedEvent, StreamId, Version};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::connection::Rest;
use super::rows::{bound, count, event, get, is_null, number, optional_text};
use super::store::PostgresStore;

#[async_trait]
impl EventStore for PostgresStore {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        let mut answers = Vec::with_capacity(appends.len());
        for appends in crate::parts::in_parts(appends) {
            answers.extend(self.queue().append(appends).await);
        }
        answers
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        let sql = match direction {
            Direction::Forward => &self.sql().read_forward,
            Direction::Backward => &self.sql().read_backward,
        };
        let query = || {
            sqlx::query(sql.clone())
                .bind(stream.as_str())
                .bind(bound(from.0))
                .bind(count(limit.clamped_events()))
        };
        let add = |page: &mut Page, row| page.add(&row, limit, Some(stream));
        let page = self.pool().read_until(query, add).await?;
        Ok(StreamPage { events: page.events, head: Version(page.head) })
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        if partition != PARTITION {
            let what = format!("partition {partition}, this store has only partition {PARTITION}");
            return Err(StoreError::Invalid { what });
        }
        let query = || {
            sqlx::query(self.sql().read_log.clone())
                .bind(bound(after.0))
                .bind(count(limit.clamped_events()))
        };
        let add = |page: &mut Page, row| page.add(&row, limit, None);
        let Page { head, events, .. } = self.pool().read_until(query, add).await?;
        let next = events.last().map_or(after, |event| event.position);
        Ok(LogPage { events, next, head: Position(head) })
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        let query = || sqlx::query(self.sql().find_event.clone()).bind(id.0).bind(stream.as_str());
        let add = |found: &mut Option<_>, row| {
            *found = Some(event(&row, 0, Some(stream))?);
            Ok(())
        };
        self.pool().read(query, add).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        let names: Vec<&str> = streams.iter().map(StreamId::as_str).collect();
        let query = || sqlx::query(self.sql().heads.clone()).bind(&names);
        let add = |heads: &mut Vec<_>, row| {
            let place = || streams.get(heads.len()).map_or(String::new(), ToString::to_string);
            let corrupt = |what| StoreError::Corrupt { place: format!("stream {}", place()), what };
            let version = number(&row, 0).map_err(corrupt)?;
            heads.push(Version(version));
            Ok(())
        };
        self.pool().read(query, add).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let query = || sqlx::query(self.sql().info.clone());
        let add = |found: &mut Option<_>, row| {
            *found = Some(info(&row)?);
            Ok(())
        };
        let missing = || StoreError::Bug { what: "the database gave no row".into() };
        self.pool().read(query, add).await?.ok_or_else(missing)
    }

    fn partition_of(&self, _stream: &StreamId) -> PartitionId {
        PARTITION
    }
}

fn info(row: &PgRow) -> Result<StoreInfo, StoreError> {
    let corrupt = |what| StoreError::Corrupt { place: "the store's epoch".into(), what };
    let epoch = optional_text(row, 0).map_err(corrupt)?;
    let epoch = epoch.ok_or_else(|| corrupt("it is missing".to_owned()))?;
    let epoch = Uuid::parse_str(epoch).map_err(|error| corrupt(error.to_string()))?;
    let commit: &str = get(row, 1).map_err(corrupt)?;
    let fsync: &str = get(row, 2).map_err(corrupt)?;
    let durability = match (commit, fsync) {
        ("off", _) | (_, "off") => Durability::ProcessCrash,
        _ => Durability::MachineCrash,
    };
    Ok(StoreInfo { epoch: Epoch(epoch), partitions: 1, durability })
}

/// A page while its rows arrive: the head, and an event in each.
#[derive(Debug, Default)]
struct Page {
    head: u64,
    events: Vec<Arc<RecordedEvent>>,
    bytes: usize,
    full: bool,
}

impl Page {
    fn add(
        &mut self,
        row: &PgRow,
        limit: PageLimit,
        stream: Option<&StreamId>,
    ) -> Result<Rest, StoreError> {
        let corrupt = |what| StoreError::Corrupt { place: "the log's head".into(), what };
        self.head = number(row, 0).map_err(corrupt)?;
        // Where there is no event, the head comes alone.
        if self.full || is_null(row, 1) {
            return Ok(Rest::Read);
        }
        let event = event(row, 1, stream)?;
        self.bytes = self.bytes.saturating_add(event.event.size());
        self.full = self.bytes >= limit.bytes;
        self.events.push(event);
        // A little is sooner read than a new connection is made.
        let left = limit.clamped_events().saturating_sub(self.events.len());
        let much = left.saturating_mul(self.bytes / self.events.len().max(1)) > LARGEST_REST;
        Ok(if self.full && much { Rest::Leave } else { Rest::Read })
    }
}

/// Bytes that are sent though they are not wanted.
const LARGEST_REST: usize = 1 << 20;
/// All streams are in one log.
const PARTITION: PartitionId = PartitionId(0);
