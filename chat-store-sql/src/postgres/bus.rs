//! The port for signals, over LISTEN and NOTIFY.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chat_core::Topic;
use chat_core::ports::{BusError, BusStream, EventBus, Signal, SignalBody};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::config::PostgresConfig;
use super::connection::Connector;
use super::listener::{Demand, Hearing, Listener};
use super::publisher::{Publisher, Waiting};
use super::sql::Sql;
use super::topics::Topics;

/// A bus between all processes that use the same namespace of one database. A clone is a second
/// handle on the same connections: one that sends, and one that listens once somebody has
/// subscribed. Both are made again by themselves when they break; subscribers are then told
/// [`BusItem::Missed`](chat_core::ports::BusItem::Missed). They end with
/// [`PostgresStore::close`](super::PostgresStore::close), or with the last handle and the last
/// subscription.
///
/// Signals go to all processes that listen, which pick out their topics; signals that are above
/// what one notification holds (8,000 bytes) are sent in several. Sending costs the sender a round
/// trip that does not wait for the disk, shared with all who send at the same time. A subscriber
/// may be 128 signals behind.
///
/// A connection pooler between the store and the server must not share sessions between clients,
/// as PgBouncer does in its transaction mode: listening is a matter of the session.
#[derive(Debug, Clone)]
pub struct PostgresBus {
    channel: Arc<str>,
    topics: Arc<Topics>,
    hearing: watch::Receiver<Hearing>,
    life: Arc<Life>,
}

/// What keeps the two tasks alive: every handle and every subscription has it.
#[derive(Debug)]
struct Life {
    demand: watch::Sender<Demand>,
    /// `None` once the bus is closed.
    waiting: Mutex<Option<mpsc::Sender<Waiting>>>,
}

impl PostgresBus {
    pub(super) fn start(connector: &Connector, config: &PostgresConfig, sql: Arc<Sql>) -> Self {
        let channel: Arc<str> = format!("{}_bus", config.namespace).into();
        let topics = Arc::<Topics>::default();
        let (hearing_end, hearing) = watch::channel(Hearing::Idle);
        let (demand, demand_end) = watch::channel(Demand::None);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let listener = Listener {
            connector: connector.clone(),
            channel: Arc::clone(&channel),
            topics: Arc::clone(&topics),
            hearing: hearing_end,
            demand: demand_end,
        };
        let publisher = Publisher {
            connector: connector.with("synchronous_commit", "off"),
            sql,
            channel: Arc::clone(&channel),
            name: Uuid::new_v4().simple().to_string(),
            connection: None,
            messages: 0,
        };
        tokio::spawn(listener.run());
        tokio::spawn(publisher.run(receiver));
        let life = Life { demand, waiting: Mutex::new(Some(sender)) };
        Self { channel, topics, hearing, life: Arc::new(life) }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// Ends both tasks and all subscriptions.
    pub(super) fn close(&self) {
        drop(self.sender().take());
        self.life.demand.send_replace(Demand::Over);
        self.topics.end();
    }

    fn sender(&self) -> MutexGuard<'_, Option<mpsc::Sender<Waiting>>> {
        self.life.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventBus for PostgresBus {
    async fn publish(&self, signals: &[Signal]) -> Result<(), BusError> {
        let limit = SignalBody::MAX_EPHEMERAL_BYTES;
        for signal in signals {
            if let SignalBody::Ephemeral(json) = &signal.body
                && json.as_str().len() > limit
            {
                return Err(BusError::TooLarge { bytes: json.as_str().len(), limit });
            }
        }
        if signals.is_empty() {
            return Ok(());
        }
        let sender = self.sender().clone().ok_or(BusError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { signals: signals.to_vec(), answer };
        sender.send(waiting).await.map_err(|_| BusError::Closed)?;
        drop(sender);
        answered.await.map_err(|_| BusError::Closed)?
    }

    async fn subscribe(&self, topic: &Topic) -> Result<BusStream, BusError> {
        if self.sender().is_none() {
            return Err(BusError::Closed);
        }
        // First the place for the signals, then the certainty that they arrive.
        let stream = self.topics.subscribe(topic, Arc::clone(&self.life));
        self.life.demand.send_if_modified(|demand| {
            let first = *demand == Demand::None;
            if first {
                *demand = Demand::Some;
            }
            first
        });
        let mut hearing = self.hearing.clone();
        let heard = hearing.wait_for(|hearing| !matches!(hearing, Hearing::Idle)).await;
        match heard.map_err(|_| BusError::Closed)?.clone() {
            Hearing::Down(error) => {
                let what = "cannot listen for signals".into();
                Err(BusError::Unavailable { what, source: Some(Arc::new(error)) })
            }
            Hearing::Idle | Hearing::Up => Ok(stream),
        }
    }
}

/// Calls that may wait to be sent.
const QUEUE: usize = 1_024;
