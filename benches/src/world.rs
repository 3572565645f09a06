//! An engine on a store under test, with chats and people in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use chat_core::domain::{NewGroup, Role};
use chat_core::{
    ChatHandle, ChatId, Delivery, Engine, SubscribeFrom, Subscription, SubscriptionEnd, UserId,
};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Notify;

use crate::load::Load;
use crate::plan::Plan;
use crate::stores::{Opened, Subject};

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) chats: Vec<ChatId>,
    pub(crate) opened: Opened,
    pub(crate) load: Arc<Load>,
}

impl World {
    /// An engine on a new database.
    pub(crate) async fn new(plan: &Plan, subject: &Subject) -> Result<Self> {
        let opened = subject.open(plan).await?;
        let engine = opened.engine().await?;
        Ok(Self { engine, chats: Vec::new(), opened, load: Arc::new(Load::new()) })
    }

    /// The same with chats of so many members each, none in two chats.
    pub(crate) async fn with_chats(
        plan: &Plan,
        subject: &Subject,
        chats: usize,
        members: usize,
    ) -> Result<Self> {
        let mut world = Self::new(plan, subject).await?;
        world.add_chats(chats, members, None).await?;
        world.engine.catch_up().await?;
        Ok(world)
    }

    /// Makes chats; `everywhere` is one more member of each.
    pub(crate) async fn add_chats(
        &mut self,
        chats: usize,
        members: usize,
        everywhere: Option<&UserId>,
    ) -> Result<()> {
        let engine = &self.engine;
        let first = self.chats.len();
        let creations = (first..first + chats).map(|chat| async move {
            // By its key a chat has the same id in every run.
            let name = format!("chat {chat}");
            let mut group = NewGroup::named(&name).with_external_key(&name);
            for other in 1..members {
                group = group.with_member(member(chat, other)?, Role::Member);
            }
            if let Some(everywhere) = everywhere {
                group = group.with_member(everywhere.clone(), Role::Member);
            }
            anyhow::Ok(engine.user(member(chat, 0)?).create_group(group, None).await?.chat)
        });
        let made = futures::stream::iter(creations).buffered(TOGETHER);
        self.chats.extend(made.try_collect::<Vec<_>>().await?);
        Ok(())
    }

    /// Sends so many messages into each chat.
    pub(crate) async fn send_to_each(&self, messages: usize) -> Result<()> {
        let sends = (0..messages).flat_map(|_| 0..self.chats.len()).map(|chat| async move {
            self.handle(chat, 0)?.send(self.load.message()?).await?;
            anyhow::Ok(())
        });
        futures::stream::iter(sends).buffer_unordered(TOGETHER).try_collect().await
    }

    /// A chat as one of its members uses it.
    pub(crate) fn handle(&self, chat: usize, by: usize) -> Result<ChatHandle> {
        let id = self.chats.get(chat).context("no such chat")?;
        Ok(self.engine.user(member(chat, by)?).chat(id))
    }

    /// A new engine on the same data, as after a new start of the program.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.engine.shutdown().await;
        self.opened.restart().await?;
        self.engine = self.opened.engine().await?;
        Ok(())
    }

    /// A second engine on the same data, that knows nothing yet.
    pub(crate) async fn fresh_engine(&self) -> Result<Engine> {
        self.opened.engine().await
    }

    pub(crate) async fn end(self) -> Result<()> {
        self.engine.shutdown().await;
        self.opened.close().await
    }
}

pub(crate) fn member(chat: usize, number: usize) -> Result<UserId> {
    Ok(UserId::new(format!("user-{chat}-{number}"))?)
}

/// Sends from many tasks for a time, each waiting for its own answer, over all chats of a world;
/// gives the number of messages and how long it took.
pub(crate) async fn send_for(
    world: &World,
    members: usize,
    callers: usize,
    time: Duration,
) -> Result<(u64, Duration)> {
    let chats = world.chats.len();
    let start = Instant::now();
    let mut tasks = Vec::with_capacity(callers);
    for caller in 0..callers {
        let own = (caller % chats..chats).step_by(callers);
        let handles: Vec<_> =
            own.map(|chat| world.handle(chat, caller % members)).collect::<Result<_>>()?;
        let load = Arc::clone(&world.load);
        tasks.push(tokio::spawn(async move {
            let mut sent = 0;
            for chat in handles.iter().cycle() {
                chat.send(load.message()?).await?;
                sent += 1;
                if start.elapsed() >= time {
                    break;
                }
            }
            anyhow::Ok(sent)
        }));
    }
    let mut sent = 0;
    for task in tasks {
        sent += task.await??;
    }
    Ok((sent, start.elapsed()))
}

/// Counts what subscribers get.
#[derive(Debug)]
pub(crate) struct Received {
    count: AtomicU64,
    target: AtomicU64,
    reached: Notify,
}

impl Received {
    pub(crate) fn new() -> Self {
        Self { count: AtomicU64::new(0), target: AtomicU64::new(u64::MAX), reached: Notify::new() }
    }

    fn add(&self, events: usize) {
        // In one order with `wait_for`: one of the two sees the other.
        let count = self.count.fetch_add(events as u64, Ordering::SeqCst) + events as u64;
        if count >= self.target.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    /// Waits until so many have come in all.
    pub(crate) async fn wait_for(&self, target: u64) {
        self.target.store(target, Ordering::SeqCst);
        while self.count.load(Ordering::SeqCst) < target {
            self.reached.notified().await;
        }
    }
}

/// Reads a subscription for ever; goes on from its token when it was too slow.
pub(crate) async fn drain(
    mut subscription: Subscription,
    chat: ChatHandle,
    received: Arc<Received>,
) {
    while let Some(delivery) = subscription.next().await {
        match delivery {
            Delivery::Events(events) => received.add(events.len()),
            Delivery::Ended(SubscriptionEnd::Lagged { resume }) => {
                let Ok(next) = chat.subscribe(SubscribeFrom::Token(resume)).await else { return };
                subscription = next;
            }
            _ => {}
        }
    }
}

/// Reads a subscription until so many events have come.
pub(crate) async fn take(subscription: &mut Subscription, mut events: usize) -> Result<()> {
    while events > 0 {
        match subscription.next().await {
            Some(Delivery::Events(more)) => events = events.saturating_sub(more.len()),
            Some(Delivery::Ended(end)) => bail!("the subscription ended: {end:?}"),
            Some(_) => {}
            None => bail!("the subscription ended"),
        }
    }
    Ok(())
}

/// Calls under way at once while a world is made.
pub(crate) const TOGETHER: usize = 256;

/// Runs what is measured on one of the runtime's own threads, as a server does.
pub(crate) async fn on_a_worker<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work).await?
}

/// How long something takes, in microseconds.
pub(crate) async fn timed<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<f64, E> {
    let start = Instant::now();
    work.await?;
    Ok(crate::measure::micros(start.elapsed()))
}
