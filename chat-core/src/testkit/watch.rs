//! Readers that look again and again while somebody writes.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Readers on tasks of their own. The writer belongs on a task as well ([`write`]): on the thread
/// that runs the check it would not take turns with them.
#[derive(Debug, Default)]
pub(super) struct Watch {
    readers: JoinSet<()>,
    looked: Arc<Notify>,
    ended: Arc<AtomicBool>,
}

impl Watch {
    /// Adds a reader, who fails by panicking.
    pub(super) fn reader(&mut self, look: impl Fn() -> BoxFuture<'static, ()> + Send + 'static) {
        let (looked, ended) = (Arc::clone(&self.looked), Arc::clone(&self.ended));
        self.readers.spawn(async move {
            loop {
                // Asked before the look, so that the last look comes after the end.
                let last = ended.load(Ordering::SeqCst);
                look().await;
                looked.notify_one();
                if last {
                    break;
                }
                tokio::task::yield_now().await;
            }
        });
    }

    /// Waits for one more look, so that a writer does not end before anybody has looked.
    pub(super) async fn look(&mut self) {
        tokio::select! {
            () = self.looked.notified() => {}
            reader = self.readers.join_next() => {
                reader.expect("a reader who looks for ever").expect("a reader");
            }
        }
    }

    /// Waits for the last look of everybody.
    pub(super) async fn end(mut self) {
        self.ended.store(true, Ordering::SeqCst);
        while let Some(reader) = self.readers.join_next().await {
            reader.expect("a reader");
        }
    }
}

/// Runs a writer on a task, to its end.
pub(super) async fn write(writer: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(writer).await.expect("the writer");
}
