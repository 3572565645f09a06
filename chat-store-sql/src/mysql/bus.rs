//! The port for signals, over the polling bus and a table.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::ports::{BusError, BusStream, EventBus, Signal, SignalBody, StoreError};
use chat_core::{Json, Topic, Version};
use futures::StreamExt as _;
use sqlx::mysql::MySqlRow;

use super::connection::{Session, Values, acquire};
use super::error::{Failure, Step};
use super::lookup::corrupt;
use super::rows::{count, get, number, number_or_zero, utf8};
use super::sql::{Sql, filled, padded, padding};
use super::store::{MysqlStore, Shared};
use crate::polling::SignalTable;

#[async_trait]
impl EventBus for MysqlStore {
    async fn publish(&self, signals: &[Signal]) -> Result<(), BusError> {
        self.polling_bus().publish(signals).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusStream, BusError> {
        let items = self.polling_bus().subscribe(topic).await?;
        // Somebody who listens needs the connections, also if nobody else does any more.
        let open = self.clone();
        Ok(Box::pin(items.inspect(move |_| {
            let _open = &open;
        })))
    }
}

/// The table, for as long as the store is there.
#[derive(Debug)]
pub(super) struct Signals {
    /// Weak, as the store holds the bus that holds this.
    pub(super) store: Weak<Shared>,
    pub(super) interval: Duration,
}

impl Signals {
    async fn rows(
        &self,
        text: impl FnOnce(&Sql) -> Arc<str>,
        values: Values,
    ) -> Result<Vec<MySqlRow>, StoreError> {
        let store = self.store()?;
        let mut connection = acquire(store.pool()).await?;
        let text = text(store.sql());
        let rows = store.session(&mut connection).rows(&text, values, Step::Read).await;
        connection.settled(rows)
    }

    fn store(&self) -> Result<MysqlStore, StoreError> {
        self.store.upgrade().map(MysqlStore::from_shared).ok_or(StoreError::Closed)
    }
}

#[async_trait]
impl SignalTable for Signals {
    async fn add(&self, signals: &[Signal]) -> Result<Option<u64>, StoreError> {
        let store = self.store()?;
        let mut connection = acquire(store.pool()).await?;
        let limit = store.packet_limit();
        let added = {
            let mut session = store.session(&mut connection);
            add(&mut session, store.sql(), signals, limit, Step::Commit).await
        };
        connection.settled(added)
    }

    async fn last(&self) -> Result<u64, StoreError> {
        let rows = self.rows(|sql| Arc::clone(&sql.signals_last), Values::new()).await?;
        let last = number_or_zero(rows.first(), 0, "id");
        last.map_err(|what| corrupt("the signals", what).error)
    }

    async fn after(&self, id: u64, limit: usize) -> Result<Vec<(u64, Signal)>, StoreError> {
        let values = Values::new().with(id).with(count(limit));
        let rows = self.rows(|sql| Arc::clone(&sql.signals_after), values).await?;
        read(&rows)
    }

    async fn among(&self, ids: &[u64]) -> Result<Vec<(u64, Signal)>, StoreError> {
        let mut values = Values::new();
        for id in padding(ids) {
            values.add(id);
        }
        let text =
            |sql: &Sql| filled(&sql.signals_among, "{ids}", "?", ",", padded(ids.len())).into();
        read(&self.rows(text, values).await?)
    }

    async fn prune(&self, id: u64) -> Result<(), StoreError> {
        let store = self.store()?;
        let mut connection = acquire(store.pool()).await?;
        // In pieces, as a large removal would keep its locks for long.
        for _ in 0..MOST_PIECES {
            let (prune, values) = (&store.sql().signals_prune, Values::new().with(id));
            let pruned = store.session(&mut connection).done(prune, values, Step::Commit).await;
            if connection.settled(pruned)?.rows_affected() < PIECE {
                break;
            }
        }
        Ok(())
    }

    fn interval(&self) -> Duration {
        self.interval
    }
}

/// Adds signals; says the last id.
pub(super) async fn add(
    session: &mut Session<'_>,
    sql: &Sql,
    signals: &[Signal],
    packet_limit: usize,
    step: Step,
) -> Result<Option<u64>, Failure> {
    let at_once = (packet_limit / ROW_BYTES).clamp(1, ROWS_AT_ONCE);
    let mut last = None;
    for signals in signals.chunks(at_once) {
        let text = filled(&sql.signals_add, "{rows}", "(?,?,?)", ",", signals.len());
        let kept = signals.len() <= FEW_ROWS || signals.len().is_power_of_two();
        let mut values = if kept { Values::new() } else { Values::once() };
        for signal in signals {
            values.add(signal.topic.as_str().as_bytes());
            match &signal.body {
                SignalBody::Ring(version) => {
                    values.add(Some(version.0));
                    values.add(None::<&str>);
                }
                SignalBody::Ephemeral(json) => {
                    values.add(None::<u64>);
                    values.add(Some(json.as_str()));
                }
                other => {
                    let what = format!("a signal of an unknown kind: {other:?}");
                    return Err(Failure::of(StoreError::Bug { what }));
                }
            }
        }
        let first = session.insert(&text.into(), values, step).await?;
        last = Some(first + count(signals.len()) - 1);
    }
    Ok(last)
}

fn read(rows: &[MySqlRow]) -> Result<Vec<(u64, Signal)>, StoreError> {
    let signal = |row: &MySqlRow| {
        let id = number(row, 0, "id")?;
        let topic = Topic::new(utf8(row, 1, "topic")?).map_err(|error| error.to_string())?;
        let body = match get::<Option<u64>>(row, 2, "ring")? {
            Some(version) => SignalBody::Ring(Version(version)),
            None => SignalBody::Ephemeral(Json::from_text(get::<&str>(row, 3, "body")?)),
        };
        Ok((id, Signal { topic, body }))
    };
    let signals: Result<_, String> = rows.iter().map(signal).collect();
    signals.map_err(|what| corrupt("the signals", what).error)
}

const ROWS_AT_ONCE: usize = 1_000;
/// As many as `signals_prune.sql` removes at once.
const PIECE: u64 = 10_000;
const MOST_PIECES: u32 = 100;
const FEW_ROWS: usize = 16;
/// The largest row.
const ROW_BYTES: usize = SignalBody::MAX_EPHEMERAL_BYTES + 512;
