//! The one connection that listens, for all topics of a process. It is made when somebody first
//! subscribes, made again whenever it breaks, and asked now and then whether it is still alive.

use std::sync::Arc;
use std::time::Duration;

use chat_core::ports::StoreError;
use sqlx::Executor as _;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connection::Connector;
use super::error::{Step, store_error};
use super::frames::{Assembler, Brought};
use super::topics::Topics;

/// Whether signals arrive.
#[derive(Debug, Clone)]
pub(super) enum Hearing {
    /// Nobody has asked for it yet.
    Idle,
    Up,
    /// Not now; it is tried again.
    Down(StoreError),
}

/// Whether somebody wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// Nobody has subscribed yet.
    None,
    Some,
    /// The bus is closed.
    Over,
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) connector: Connector,
    pub(super) channel: Arc<str>,
    pub(super) topics: Arc<Topics>,
    pub(super) hearing: watch::Sender<Hearing>,
    pub(super) demand: watch::Receiver<Demand>,
}

impl Listener {
    /// Listens until the bus ends.
    pub(super) async fn run(mut self) {
        let mut demand = self.demand.clone();
        // An error means that the last handle and the last subscription are gone.
        if demand.wait_for(|demand| *demand != Demand::None).await.is_err() {
            return;
        }
        tokio::select! {
            () = self.listen() => {}
            _ = demand.wait_for(|demand| *demand == Demand::Over) => {}
        }
        self.topics.end();
    }

    async fn listen(&mut self) {
        let mut tries = 0;
        let mut gap = false;
        loop {
            match self.connect().await {
                Ok(listener) => {
                    tries = 0;
                    self.hearing.send_replace(Hearing::Up);
                    if std::mem::replace(&mut gap, true) {
                        self.topics.missed();
                    }
                    self.receive(listener).await;
                    let what = "the connection that listens broke".into();
                    let error = StoreError::Unavailable { what, source: None };
                    self.hearing.send_replace(Hearing::Down(error));
                }
                Err(error) => {
                    gap = true;
                    self.hearing.send_replace(Hearing::Down(error));
                    sleep(Duration::from_millis(FIRST_WAIT_MS << tries)).await;
                    tries = (tries + 1).min(MOST_DOUBLINGS);
                }
            }
        }
    }

    async fn connect(&self) -> Result<PgListener, StoreError> {
        let failed = |error| store_error(error, Step::Connect);
        // The driver makes listeners from pools only.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(self.connector.patience())
            .connect_lazy_with(self.connector.options().clone());
        let mut listener = PgListener::connect_with(&pool).await.map_err(failed)?;
        listener.ignore_pool_close_event(true);
        listener.eager_reconnect(false);
        listener.listen(&self.channel).await.map_err(failed)?;
        Ok(listener)
    }

    /// Hands out what arrives until the connection breaks.
    async fn receive(&self, mut listener: PgListener) {
        let mut assembler = Assembler::default();
        loop {
            match timeout(SILENCE, listener.try_recv()).await {
                Ok(Ok(Some(notification))) => match assembler.add(notification.payload()) {
                    Brought::Signals(signals) => self.topics.send(signals),
                    Brought::Part => {}
                    Brought::Unreadable => self.topics.missed(),
                },
                Ok(Ok(None) | Err(_)) => return,
                // A server that is out of reach says nothing, and neither does an idle one.
                Err(_) => match timeout(SILENCE, listener.execute("SELECT 1")).await {
                    Ok(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    }
}

const FIRST_WAIT_MS: u64 = 50;
/// Waits of up to 1.6 s between tries.
const MOST_DOUBLINGS: u32 = 5;
const SILENCE: Duration = Duration::from_secs(15);
