//! The port for events.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::ports::{
    Append, AppendResult, Direction, EventStore, LogPage, PageLimit, StoreError, StoreInfo,
    StreamPage,
};
use chat_core::{EventId, PartitionId, Position, RecordedEvent, StreamId, Version};
use futures::TryStreamExt as _;
use sqlx::mysql::MySqlArguments;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};

use super::connection::{Lent, Session, Values, acquire, limited};
use super::dense::Numbers;
use super::error::{Failure, Step};
use super::lookup::{self, corrupt};
use super::rows::{count, event, get};
use super::store::{MysqlStore, info};

#[async_trait]
impl EventStore for MysqlStore {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        if appends.is_empty() {
            return Vec::new();
        }
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
        let name = stream.as_str().as_bytes();
        let values = Values::new().with(name).with(name).with(from.0);
        let numbers = match direction {
            Direction::Forward => Numbers::Forward(from),
            Direction::Backward => Numbers::Backward(from),
        };
        let (events, head) = self.page(sql, values, limit, Some(stream), numbers).await?;
        Ok(StreamPage { events, head: Version(head) })
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
        let values = Values::new().with(after.0);
        let known = self.flushed().known();
        let numbers = Numbers::Log(after);
        let (events, head) = self.page(&self.sql().read_log, values, limit, None, numbers).await?;
        if head < known {
            self.flushed().forget();
        }
        let next = events.last().map_or(after, |event| event.position);
        Ok(LogPage { events, next, head: Position(head) })
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        let mut connection = acquire(self.pool()).await?;
        let known = self.flushed().known();
        let values =
            Values::new().with(id.0.as_bytes().as_slice()).with(stream.as_str().as_bytes());
        let find = &self.sql().find_event;
        let rows = self.session(&mut connection).rows(find, values, Step::Read).await;
        let rows = connection.settled(rows)?;
        let found = rows.first().map(|row| event(row, Some(stream))).transpose()?;
        self.stands(&mut connection, found.as_ref(), known).await?;
        Ok(found)
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        let mut wanted: Vec<_> = streams.iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut connection = acquire(self.pool()).await?;
        let many = wanted.len() > lookup::HEADS_AT_ONCE;
        let heads = one_look(&mut connection, self.statement_timeout(), many, async |session| {
            lookup::heads(session, self.sql(), &wanted, Step::Read).await
        });
        let heads = heads.await;
        let heads = connection.settled(heads)?;
        let head = |stream| Version(heads.get(stream).copied().unwrap_or_default());
        Ok(streams.iter().map(head).collect())
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let mut connection = acquire(self.pool()).await?;
        let found = info(&mut self.session(&mut connection), self.sql()).await;
        connection.settled(found)
    }

    fn partition_of(&self, _stream: &StreamId) -> PartitionId {
        PARTITION
    }
}

impl MysqlStore {
    /// One page without holes, with the head.
    async fn page(
        &self,
        sql: &Arc<str>,
        values: Values,
        limit: PageLimit,
        stream: Option<&StreamId>,
        numbers: Numbers,
    ) -> Result<(Vec<Arc<RecordedEvent>>, u64), StoreError> {
        let values = values.with(count(limit.clamped_events())).finish()?.0;
        let (mut events, mut head) = self.look(sql, values.clone(), limit, stream).await?;
        let mut whole = numbers.whole(&events, head);
        for _ in 0..LOOKS_AGAIN {
            if whole > 0 || events.is_empty() {
                break;
            }
            (events, head) = self.look(sql, values.clone(), limit, stream).await?;
            whole = numbers.whole(&events, head);
        }
        if whole == 0 {
            whole = numbers.following(&events);
        }
        events.truncate(whole);
        Ok((events, head))
    }

    /// One look, with the head: the first row of the statement is the head. What lies behind the
    /// page's bound in bytes is not kept, and hardly read.
    async fn look(
        &self,
        sql: &Arc<str>,
        values: MySqlArguments,
        limit: PageLimit,
        stream: Option<&StreamId>,
    ) -> Result<(Vec<Arc<RecordedEvent>>, u64), StoreError> {
        let asked = limit.clamped_events();
        let mut connection = acquire(self.pool()).await?;
        let known = self.flushed().known();
        let statement = sqlx::query_with(AssertSqlSafe(Arc::clone(sql)), values);
        let (mut head, mut bytes, mut events) = (None, 0_usize, Vec::new());
        let reading = async {
            let mut rows = statement.fetch(&mut *connection);
            while let Some(row) = rows.try_next().await? {
                if head.is_none() {
                    head = Some(get::<Option<u64>>(&row, 0, "head").map(Option::unwrap_or_default));
                    continue;
                }
                let event = event(&row, stream);
                bytes += event.as_ref().map_or(0, |event| event.event.size());
                events.push(event);
                if bytes >= limit.bytes {
                    break;
                }
            }
            Ok(())
        };
        let read = limited(self.statement_timeout(), Step::Read, reading).await;
        connection.settled(read)?;
        let head = head.unwrap_or(Ok(0)).map_err(|what| corrupt("the end of the log", what))?;
        let events: Vec<_> = events.into_iter().collect::<Result<_, _>>()?;
        // The connection reads the rest before its next use. Where that may be much, a new
        // connection is cheaper.
        let left = (asked - events.len()).saturating_mul(bytes / events.len().max(1));
        if bytes >= limit.bytes && left > LARGEST_REST {
            connection.close();
            connection = acquire(self.pool()).await?;
            self.see_again(&mut connection, &events, known).await?;
        }
        let newest = events.iter().max_by_key(|event| event.position);
        self.stands(&mut connection, newest, known).await?;
        Ok((events, head))
    }

    /// Makes sure that a connection shows the events that another one has shown: the server may
    /// have lost them between the two.
    async fn see_again(
        &self,
        connection: &mut Lent,
        events: &[Arc<RecordedEvent>],
        known: u64,
    ) -> Result<(), StoreError> {
        let in_doubt: Vec<_> = events
            .iter()
            .filter(|event| self.flushed().may_be_lost(event.position.0, known))
            .collect();
        if in_doubt.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = in_doubt.iter().map(|event| event.event.id).collect();
        let mut session = self.session(connection);
        let again = lookup::ids(&mut session, &self.sql().find_ids, &ids, Step::Read).await;
        let again = connection.settled(again)?;
        let stands = |event: &&Arc<RecordedEvent>| {
            again.get(&event.event.id).is_some_and(|again| again.position == event.position)
        };
        if in_doubt.iter().all(stands) {
            return Ok(());
        }
        let what = "the server restarted while a page was read".into();
        Err(StoreError::Unavailable { what, source: None })
    }

    /// Waits until a crash of the server can take back nothing up to an event that was read on
    /// this connection.
    async fn stands(
        &self,
        connection: &mut Lent,
        event: Option<&Arc<RecordedEvent>>,
        known: u64,
    ) -> Result<(), StoreError> {
        let Some(event) = event else { return Ok(()) };
        let mut session = self.session(connection);
        let stands = self.flushed().wait(&mut session, event.position.0, known).await;
        connection.settled(stands)
    }
}

/// Runs several statements on one state of the database, if there are several.
pub(super) async fn one_look<T>(
    connection: &mut MySqlConnection,
    limit: Duration,
    several: bool,
    look: impl AsyncFnOnce(&mut Session<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if !several {
        return look(&mut Session::new(connection, limit)).await;
    }
    Session::new(connection, limit).raw(NEXT_LOOK, Step::Read).await?;
    // Dropped before its end, it is rolled back before the connection is used again.
    let mut transaction = limited(limit, Step::Read, connection.begin_with(BEGIN_LOOK)).await?;
    let seen = look(&mut Session::new(&mut transaction, limit)).await?;
    limited(limit, Step::Read, transaction.commit()).await?;
    Ok(seen)
}

/// One should do.
const LOOKS_AGAIN: usize = 3;
/// All streams are in one log.
const PARTITION: PartitionId = PartitionId(0);
const NEXT_LOOK: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";
const BEGIN_LOOK: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT";
/// Rows that are sent though they are not wanted.
const LARGEST_REST: usize = 1 << 20;
