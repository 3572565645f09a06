//! The one connection that sends signals. What waits is sent together, in one round trip and one
//! transaction: notifying transactions commit one after the other in the whole database, so few of
//! them are better than many. They do not wait for the disk, as signals need not last.

use std::sync::Arc;

use chat_core::ports::{BusError, Signal, SignalBody, StoreError};
use sqlx::PgConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::connection::Connector;
use super::error::{Class, Step, classify, store_error};
use super::frames::pieces;
use super::sql::Sql;

/// The signals of one call.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) signals: Vec<Signal>,
    pub(super) answer: oneshot::Sender<Result<(), BusError>>,
}

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) connector: Connector,
    pub(super) sql: Arc<Sql>,
    pub(super) channel: Arc<str>,
    /// Names this publisher, so that its messages are like no other's.
    pub(super) name: String,
    pub(super) connection: Option<PgConnection>,
    pub(super) messages: u64,
}

impl Publisher {
    /// Sends until the bus ends.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut group = Vec::with_capacity(MOST_CALLS);
        while waiting.recv_many(&mut group, MOST_CALLS).await > 0 {
            let sent = self.send(&group).await.map_err(unavailable);
            for Waiting { answer, .. } in group.drain(..) {
                // A caller who is gone needs no answer.
                drop(answer.send(sent.clone()));
            }
        }
    }

    async fn send(&mut self, group: &[Waiting]) -> Result<(), StoreError> {
        // A receiver puts a message together, so it may not be too large; a call may.
        let signals: Vec<&Signal> = group.iter().flat_map(|waiting| &waiting.signals).collect();
        let mut texts = Vec::new();
        let (mut first, mut bytes) = (0, 0);
        for (index, signal) in signals.iter().enumerate() {
            bytes += size(signal);
            if bytes >= MESSAGE_BYTES {
                texts.extend(self.message(signals.get(first..=index)));
                (first, bytes) = (index + 1, 0);
            }
        }
        texts.extend(self.message(signals.get(first..)));
        if texts.is_empty() {
            return Ok(());
        }
        match self.notify(&texts).await {
            // It was idle and may have broken long ago. Sending twice is allowed.
            Err(error) if classify(&error) == Class::Broken => {
                self.connection = None;
                self.notify(&texts).await
            }
            sent => sent,
        }
        .map_err(|error| {
            self.connection = None;
            store_error(error, Step::Write)
        })
    }

    fn message(&mut self, signals: Option<&[&Signal]>) -> Vec<String> {
        self.messages += 1;
        let token = format!("{}.{:x}", self.name, self.messages);
        pieces(&token, signals.into_iter().flatten().copied())
    }

    async fn notify(&mut self, texts: &[String]) -> Result<(), sqlx::Error> {
        let sending = async {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => self.connection.insert(self.connector.open().await?),
            };
            let statement = sqlx::query(self.sql.notify.clone());
            statement.bind(&*self.channel).bind(texts).execute(connection).await?;
            Ok(())
        };
        let late = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        timeout(self.connector.patience(), sending).await.map_err(late)?
    }
}

fn unavailable(error: StoreError) -> BusError {
    BusError::Unavailable { what: "cannot send signals".into(), source: Some(Arc::new(error)) }
}

/// Bytes in a message, a little more than it takes.
fn size(signal: &Signal) -> usize {
    let body = match &signal.body {
        SignalBody::Ephemeral(json) => json.as_str().len(),
        _ => 0,
    };
    signal.topic.as_str().len() + body + 48
}

/// Calls that are sent together.
const MOST_CALLS: usize = 256;
/// A message ends with the call that reaches this many bytes.
const MESSAGE_BYTES: usize = 64 << 10;
