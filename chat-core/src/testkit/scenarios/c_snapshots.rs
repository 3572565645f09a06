//! C and K. Snapshots that are lost, broken, or written by another engine, under listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::harness::{ScenarioHarness, Stores};
use super::world::{Node, World, at, listen, must, say, say_id, tea_room, user};
use crate::domain::MessageId;
use crate::engine::{HistoryQuery, SubscribeFrom};
use crate::id::{ChatId, Checkpoint, ProjectionName, Scope, Version, ViewKey};
use crate::ports::{
    Direction, KeyRange, StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewOp, ViewPage,
    ViewStore, ViewValues,
};

/// Views of which the snapshots of chats can be made to wait.
#[derive(Debug)]
struct SlowSnapshots {
    inner: Arc<dyn ViewStore>,
    held: AtomicBool,
    waiting: Semaphore,
    go: Semaphore,
    done: Semaphore,
}

impl SlowSnapshots {
    fn new(inner: Arc<dyn ViewStore>) -> Arc<Self> {
        let (waiting, go, done) = (Semaphore::new(0), Semaphore::new(0), Semaphore::new(0));
        Arc::new(Self { inner, held: AtomicBool::new(true), waiting, go, done })
    }

    /// Waits until a snapshot waits.
    async fn waits(&self) {
        self.waiting.acquire().await.expect("open").forget();
    }

    /// Lets snapshots be written, and waits until the one that waited was answered.
    async fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
        self.go.add_permits(1_000);
        self.done.acquire().await.expect("open").forget();
        // Its writer has only to look at the answer.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl ViewStore for SlowSnapshots {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        self.inner.get(gets).await
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        self.inner.scan(view, range, direction, limit).await
    }

    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        let snapshot = batches.iter().any(|batch| batch.view.projection.as_str() == "chat");
        if snapshot && self.held.load(Ordering::SeqCst) {
            self.waiting.add_permits(1);
            self.go.acquire().await.expect("open").forget();
        }
        let answers = self.inner.commit(batches).await;
        self.done.add_permits(usize::from(snapshot));
        answers
    }
}

fn snapshot_of(chat: &ChatId) -> ViewId {
    let scope = Scope::new(format!("chat/{chat}")).expect("a scope");
    ViewId { scope, projection: ProjectionName::new("chat").expect("a name") }
}

/// Changes the snapshot of a chat, as an accident would.
async fn damage(views: &dyn ViewStore, chat: &ChatId, next: Option<Checkpoint>, ops: Vec<ViewOp>) {
    let view = snapshot_of(chat);
    loop {
        let get = ViewGet { view: view.clone(), keys: vec![] };
        let expected = views.get(&[get]).await.expect("the views")[0].checkpoint;
        let next = next.unwrap_or(expected);
        let batch = ViewBatch { view: view.clone(), expected, next, ops: ops.clone() };
        match views.commit(&[batch]).await.pop().expect("an answer") {
            Ok(()) => return,
            // The answer was lost, and the batch refused when it was tried again.
            Err(ViewError::CheckpointMoved { actual, .. }) if actual == next => return,
            // The engine has just written a snapshot of its own.
            Err(ViewError::CheckpointMoved { .. }) => {}
            Err(error) => panic!("the damage is not done: {error}"),
        }
    }
}

fn row(seq: Version) -> ViewKey {
    ViewKey::new(format!("message/{:016x}", seq.0)).expect("a key")
}

/// C1: another engine's snapshot comes first, of an earlier or a later time. What is in memory here,
/// and was delivered, stays; what is not yet here is delivered.
pub async fn c1_anothers_snapshot_takes_nothing_back_and_leaves_nothing_out(
    harness: &dyn ScenarioHarness,
) {
    // The engines learn of each other only when they are asked something.
    let world = World::new(harness)
        .config(|config| {
            config.snapshot_every = 10;
            config.poll_interval = Duration::from_secs(3_600);
        })
        .bus(None);
    for mine_first in [true, false] {
        let stores = world.harness.open().await;
        let slow = SlowSnapshots::new(stores.views);
        let node = world.node_on(Stores::new(stores.events, Arc::clone(&slow) as _)).await;
        let chat = tea_room(&node).await;
        let (ann, bob) = (at(&node, "ann", &chat), at(&node, "bob", &chat));
        let mut reader = listen(&bob, SubscribeFrom::Start).await;
        let id = say_id(&ann, "secret").await;
        must(ann.delete(id, None, None).await);
        for n in 0..8 {
            let said = say(&ann, &format!("{n}")).await;
            // Live from here on.
            reader.until(said.version).await;
        }
        slow.waits().await;
        // Another engine starts, goes on, writes its snapshot, and ends.
        let other = world.node().await;
        for n in 0..3 {
            say(&at(&other, "ann", &chat), &format!("from the other {n}")).await;
        }
        other.shutdown().await;
        assert!(other.metrics().snapshots > 0 || !world.is_certain());
        world.crash(other);
        if mine_first {
            say(&ann, "beyond the snapshot").await;
        }
        slow.release().await;
        for n in 0..40 {
            say(&ann, &format!("more {n}")).await;
            let open = must(bob.open(100).await);
            assert!(open.page.version.0 > 14 + n, "the chat goes back");
            let secret = open.page.messages.iter().find(|message| message.id == id);
            assert!(secret.is_some_and(|message| message.text.is_empty()));
        }
        let end = world.log(&chat).await.len() as u64;
        reader.until(Version(end)).await;
        assert_eq!(reader.versions(), (1..=end).collect::<Vec<_>>());
        world.crash(node);
    }
    world.finish().await;
}

/// K11: the views are emptied while an engine runs on them and people listen.
pub async fn k11_views_that_are_emptied_under_an_engine_are_filled_again(
    harness: &dyn ScenarioHarness,
) {
    let world = World::new(harness).config(|config| config.snapshot_every = 8);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let (ann, bob) = (at(&node, "ann", &chat), at(&node, "bob", &chat));
    let mut reader = listen(&bob, SubscribeFrom::Start).await;
    let deleted = say_id(&ann, "secret").await;
    let edited = say_id(&ann, "first").await;
    must(ann.delete(deleted, None, None).await);
    must(ann.edit(edited, "second", None).await);
    wait_for_snapshots(&node, &chat, 1).await;
    let views = world.harness.open().await.views;
    for round in 0..3 {
        damage(&*views, &chat, Some(Checkpoint::ZERO), vec![ViewOp::Clear]).await;
        let snapshots = node.metrics().snapshots;
        wait_for_snapshots(&node, &chat, snapshots + 1).await;
        for node in [&node, &world.node().await] {
            let bob = at(node, "bob", &chat);
            let shown = must(bob.message(deleted).await);
            assert!(shown.deleted.is_some() && shown.text.is_empty(), "round {round}");
            assert_eq!(&*must(bob.message(edited).await).text, "second", "round {round}");
        }
    }
    let end = world.log(&chat).await.len() as u64;
    reader.until(Version(end)).await;
    assert_eq!(reader.versions(), (1..=end).collect::<Vec<_>>());
    world.finish().await;
}

async fn wait_for_snapshots(node: &Node, chat: &ChatId, snapshots: u64) {
    for n in 0..500 {
        if node.metrics().snapshots >= snapshots {
            return;
        }
        say(&at(node, "ann", chat), &format!("until a snapshot comes {n}")).await;
        tokio::task::yield_now().await;
    }
    panic!("no snapshot comes");
}

/// K11: some rows of messages are broken among others that are not.
pub async fn k11_broken_rows_among_whole_ones_bring_nothing_back(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    let mut ids: Vec<MessageId> = Vec::new();
    for n in 0..6 {
        ids.push(say_id(&ann, &format!("secret {n}")).await);
    }
    for (n, id) in ids.iter().enumerate() {
        must(ann.edit(*id, format!("edited {n}"), None).await);
        if n % 2 == 0 {
            must(ann.delete(*id, None, None).await);
        }
    }
    node.shutdown().await;
    world.crash(node);
    let views = world.harness.open().await.views;
    let broken: [&[u8]; 3] = [b"", b"{\"id\":7}", b"\xff\xfe"];
    let ops = [3, 4, 6]
        .iter()
        .zip(broken)
        .map(|(seq, row_bytes)| ViewOp::Put(row(Version(*seq)), Arc::from(row_bytes)));
    damage(&*views, &chat, None, ops.collect()).await;
    let node = world.node().await;
    let page = must(at(&node, "bob", &chat).history(HistoryQuery::Latest, 50).await);
    let texts: Vec<_> = page.messages.iter().map(|message| message.text.to_string()).collect();
    assert_eq!(texts, ["", "edited 1", "", "edited 3", "", "edited 5"]);
    for (n, id) in ids.iter().enumerate() {
        let message = must(at(&node, "bob", &chat).message(*id).await);
        assert_eq!(message.deleted.is_some(), n % 2 == 0, "message {n}");
    }
    let list = must(node.user(user("bob")).chats(crate::engine::ChatListQuery::top(5)).await);
    assert_eq!(list.chats[0].preview.as_ref().map(|m| m.text.to_string()), Some("edited 5".into()));
    world.finish().await;
}
