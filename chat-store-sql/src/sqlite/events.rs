//! The port for events over the store's threads.

use std::sync::Arc;

use async_trait::async_trait;
use chat_core::ports::{
    Append, AppendResult, Direction, EventStore, LogPage, PageLimit, StoreError, StoreInfo,
    StreamPage,
};
use chat_core::{Epoch, EventId, PartitionId, Position, RecordedEvent, StreamId, Version};
use rusqlite::{Row, Rows};
use tokio::sync::oneshot;

use super::migrate::EPOCH;
use super::reader::Reader;
use super::rows::{bound, count, event, in_read};
use super::store::{SqliteStore, lost_answer};
use super::writer::Job;

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        if appends.is_empty() {
            return Vec::new();
        }
        let failed = |error: StoreError| appends.iter().map(|_| Err(error.clone())).collect();
        let (sender, receiver) = oneshot::channel();
        if let Err(error) = self.push(Job::Append(appends.to_vec(), sender)).await {
            return failed(error);
        }
        receiver.await.unwrap_or_else(|_| failed(lost_answer()))
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        let stream = stream.clone();
        let read = move |reader: &Reader| {
            reader.one_look(|reader| read_stream(reader, &stream, direction, from, limit))
        };
        self.readers().read(read).await
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
        let read = move |reader: &Reader| reader.one_look(|reader| read_log(reader, after, limit));
        self.readers().read(read).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        let stream = stream.clone();
        let read = move |reader: &Reader| reader.one_look(|reader| find(reader, &stream, id));
        self.readers().read(read).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        let streams = streams.to_vec();
        let head = |reader: &Reader, stream: &StreamId| {
            Ok(reader.stream(stream)?.map_or(Version::ZERO, |(_, version)| version))
        };
        let read = move |reader: &Reader| {
            reader.one_look(|reader| streams.iter().map(|stream| head(reader, stream)).collect())
        };
        self.readers().read(read).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let epoch = self.readers().read(read_epoch).await?;
        let durability = self.durability().into();
        Ok(StoreInfo { epoch, partitions: 1, durability })
    }

    fn partition_of(&self, _stream: &StreamId) -> PartitionId {
        PARTITION
    }
}

fn read_stream(
    reader: &Reader,
    stream: &StreamId,
    direction: Direction,
    from: Version,
    limit: PageLimit,
) -> Result<StreamPage, StoreError> {
    let Some((id, head)) = reader.stream(stream)? else {
        return Ok(StreamPage { events: Vec::new(), head: Version::ZERO });
    };
    let sql = match direction {
        Direction::Forward => &reader.sql.read_forward,
        Direction::Backward => &reader.sql.read_backward,
    };
    let mut statement = reader.statement(sql)?;
    let asked = count(limit.clamped_events());
    let rows = statement.query((id, bound(from.0), asked)).map_err(in_read)?;
    Ok(StreamPage { events: page(rows, limit, |_| Ok(stream.clone()))?, head })
}

fn read_log(reader: &Reader, after: Position, limit: PageLimit) -> Result<LogPage, StoreError> {
    let head: i64 =
        reader.statement(&reader.sql.log_head)?.query_row((), |row| row.get(0)).map_err(in_read)?;
    let mut statement = reader.statement(&reader.sql.read_log)?;
    let rows = statement.query((bound(after.0), count(limit.clamped_events()))).map_err(in_read)?;
    let events = page(rows, limit, |row| reader.name(row.get(1).map_err(in_read)?))?;
    let next = events.last().map_or(after, |event| event.position);
    Ok(LogPage { events, next, head: Position(head.unsigned_abs()) })
}

fn find(
    reader: &Reader,
    stream: &StreamId,
    id: EventId,
) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
    let Some((row, _)) = reader.stream(stream)? else { return Ok(None) };
    let mut statement = reader.statement(&reader.sql.find_event)?;
    let mut rows = statement.query((id.0.as_bytes().as_slice(), row)).map_err(in_read)?;
    rows.next().map_err(in_read)?.map(|row| event(row, stream.clone(), &mut None)).transpose()
}

fn read_epoch(reader: &Reader) -> Result<Epoch, StoreError> {
    let corrupt = |what| StoreError::Corrupt { place: "the store's epoch".into(), what };
    let text = reader.meta(EPOCH)?.ok_or_else(|| corrupt("it is missing".to_owned()))?;
    let uuid = uuid::Uuid::parse_str(&text).map_err(|error| corrupt(error.to_string()))?;
    Ok(Epoch(uuid))
}

/// Reads rows until the page is full. What lies behind its bound in bytes is not read at all.
fn page(
    mut rows: Rows<'_>,
    limit: PageLimit,
    name: impl Fn(&Row<'_>) -> Result<StreamId, StoreError>,
) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
    let mut events = Vec::with_capacity(limit.clamped_events().min(FEW));
    let (mut bytes, mut types) = (0_usize, None);
    while let Some(row) = rows.next().map_err(in_read)? {
        let event = event(row, name(row)?, &mut types)?;
        bytes = bytes.saturating_add(event.event.size());
        events.push(event);
        if bytes >= limit.bytes {
            break;
        }
    }
    Ok(events)
}

/// All streams are in one log.
const PARTITION: PartitionId = PartitionId(0);
/// Events that a page has room for from the start.
const FEW: usize = 64;
