//! What group commit adds to the contract: company, bounds, and nobody's fate in another's hands.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::decorate::GroupCommit;
use chat_core::memory::MemoryEventStore;
use chat_core::ports::{
    Append, AppendResult, Direction, EventStore, Expected, LogPage, PageLimit, StoreError,
    StoreInfo, StreamPage,
};
use chat_core::testkit::fixture::{assert_holds, events, single, stream};
use chat_core::{EventId, PartitionId, Position, RecordedEvent, StreamId, Version};
use futures::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A store whose appends wait at a gate, and which notes how many came in each call.
#[derive(Debug)]
struct Gated {
    gate: Semaphore,
    arrived: Semaphore,
    calls: Mutex<Vec<usize>>,
    panics: AtomicBool,
    latency: Duration,
    inner: MemoryEventStore,
}

impl Gated {
    fn closed() -> Arc<Self> {
        Arc::new(Self::new(Duration::ZERO))
    }

    fn new(latency: Duration) -> Self {
        Self {
            gate: Semaphore::new(0),
            arrived: Semaphore::new(0),
            calls: Mutex::default(),
            panics: AtomicBool::new(false),
            latency,
            inner: MemoryEventStore::new(),
        }
    }

    fn calls(&self) -> Vec<usize> {
        self.calls.lock().unwrap().clone()
    }

    async fn wait_for_a_call(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl EventStore for Gated {
    async fn append(&self, appends: &[Append]) -> Vec<AppendResult> {
        self.calls.lock().unwrap().push(appends.len());
        self.arrived.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        assert!(!self.panics.swap(false, Ordering::SeqCst), "the store below panics");
        tokio::time::sleep(self.latency).await;
        self.inner.append(appends).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        direction: Direction,
        from: Version,
        limit: PageLimit,
    ) -> Result<StreamPage, StoreError> {
        self.inner.read_stream(stream, direction, from, limit).await
    }

    async fn read_log(
        &self,
        partition: PartitionId,
        after: Position,
        limit: PageLimit,
    ) -> Result<LogPage, StoreError> {
        self.inner.read_log(partition, after, limit).await
    }

    async fn find(
        &self,
        stream: &StreamId,
        id: EventId,
    ) -> Result<Option<Arc<RecordedEvent>>, StoreError> {
        self.inner.find(stream, id).await
    }

    async fn heads(&self, streams: &[StreamId]) -> Result<Vec<Version>, StoreError> {
        self.inner.heads(streams).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.inner.info().await
    }

    fn partition_of(&self, stream: &StreamId) -> PartitionId {
        self.inner.partition_of(stream)
    }
}

type Caller = JoinHandle<Vec<AppendResult>>;

/// Starts a caller, and lets it go as far as it can.
async fn call(store: &Arc<GroupCommit<Gated>>, numbers: impl IntoIterator<Item = u64>) -> Caller {
    let store = Arc::clone(store);
    let appends: Vec<_> = numbers
        .into_iter()
        .map(|number| single(&stream("chat"), Expected::Any, events([number])))
        .collect();
    let caller = tokio::spawn(async move { store.append(&appends).await });
    tokio::task::yield_now().await;
    caller
}

async fn assert_version(caller: Caller, version: u64) {
    let results = caller.await.unwrap();
    let appended = results.into_iter().next_back().unwrap().unwrap();
    assert_eq!(appended.streams.last().unwrap().last, Version(version));
}

#[test]
fn a_caller_alone_goes_at_once_without_a_runtime() {
    let memory = Arc::new(MemoryEventStore::new());
    let store = GroupCommit::new(Arc::clone(&memory));
    for number in 1..=3 {
        let append = single(&stream("chat"), Expected::Any, events([number]));
        let results = store.append(&[append]).now_or_never().expect("done without waiting");
        assert_eq!(results.into_iter().next().unwrap().unwrap().streams[0].last, Version(number));
    }
}

#[tokio::test]
async fn those_who_come_meanwhile_go_together_in_their_order() {
    let gated = Gated::closed();
    let store = Arc::new(GroupCommit::new(Arc::clone(&gated)));
    let first = call(&store, [1]).await;
    let mut others = Vec::new();
    for number in (2..20).step_by(2) {
        others.push((number + 1, call(&store, [number, number + 1]).await));
    }
    assert_eq!(gated.calls(), [1], "the first went at once, the others wait");
    gated.gate.add_permits(2);
    assert_version(first, 1).await;
    for (version, caller) in others {
        assert_version(caller, version).await;
    }
    assert_eq!(gated.calls(), [1, 18]);
    assert_holds(&*store, &stream("chat"), 1..20).await;
}

#[tokio::test(start_paused = true)]
async fn callers_in_a_loop_make_full_batches() {
    let gated = Arc::new(Gated::new(Duration::from_millis(1)));
    let store = Arc::new(GroupCommit::new(Arc::clone(&gated)));
    gated.gate.add_permits(1_000);
    let mut callers = Vec::new();
    for caller in 0..16_u64 {
        let store = Arc::clone(&store);
        callers.push(tokio::spawn(async move {
            for round in 0..20 {
                let name = stream("chat");
                let append = single(&name, Expected::Any, events([caller * 20 + round]));
                assert!(store.append(&[append]).await[0].is_ok());
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    // The first caller is alone; then everybody who has an answer comes along in the next batch.
    let calls = gated.calls();
    assert_eq!((calls.iter().sum::<usize>(), calls[0]), (320, 1));
    assert!(calls.len() <= 22, "{calls:?}");
}

#[tokio::test]
async fn a_leader_who_is_dropped_takes_nobody_along() {
    let gated = Gated::closed();
    let store = Arc::new(GroupCommit::new(Arc::clone(&gated)));
    let leader = call(&store, [1]).await;
    let two = call(&store, [2]).await;
    let three = call(&store, [3]).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    gated.gate.add_permits(1);
    assert_version(two, 1).await;
    assert_version(three, 2).await;
    assert_eq!(gated.calls(), [1, 2]);
    // Whoever was dropped repeats, and the lane serves on.
    gated.gate.add_permits(1);
    assert_version(call(&store, [1]).await, 3).await;
}

#[tokio::test]
async fn the_batch_of_a_dropped_caller_is_carried_out_for_the_others() {
    let gated = Gated::closed();
    let store = Arc::new(GroupCommit::new(Arc::clone(&gated)));
    let first = call(&store, [1]).await;
    gated.wait_for_a_call().await;
    let (two, three) = (call(&store, [2]).await, call(&store, [3]).await);
    gated.gate.add_permits(1);
    // The batch of two and three is under way now.
    gated.wait_for_a_call().await;
    two.abort();
    assert!(two.await.unwrap_err().is_cancelled());
    gated.gate.add_permits(1);
    assert_version(first, 1).await;
    assert_version(three, 3).await;
    assert_holds(&*store, &stream("chat"), [1, 2, 3]).await;
}

#[tokio::test]
async fn what_was_not_sent_when_its_caller_left_is_not_sent() {
    let gated = Gated::closed();
    let store = Arc::new(GroupCommit::new(Arc::clone(&gated)));
    let first = call(&store, [1]).await;
    let (two, three) = (call(&store, [2]).await, call(&store, [3]).await);
    two.abort();
    assert!(two.await.unwrap_err().is_cancelled());
    gated.gate.add_permits(2);
    assert_version(first, 1).await;
    assert_version(three, 2).await;
    assert_holds(&*store, &stream("chat"), [1, 3]).await;
}

#[tokio::test]
async fn batches_keep_their_bounds_and_a_larger_call_goes_alone() {
    let gated = Gated::closed();
    let store = Arc::new(GroupCommit::bounded(Arc::clone(&gated), 3, 1 << 20, 100));
    let mut callers = vec![call(&store, [1]).await];
    for numbers in [vec![2, 3], vec![4], vec![5], (6..16).collect(), vec![16]] {
        callers.push(call(&store, numbers).await);
    }
    gated.gate.add_permits(10);
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(gated.calls(), [1, 3, 1, 10, 1]);

    let gated = Gated::closed();
    // Each event has 64 bytes and a payload of twelve.
    let store = Arc::new(GroupCommit::bounded(Arc::clone(&gated), 100, 76 * 2, 100));
    let mut callers = Vec::new();
    for number in 1..=6 {
        callers.push(call(&store, [number]).await);
    }
    gated.gate.add_permits(10);
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(gated.calls(), [1, 2, 2, 1]);
}

#[tokio::test]
async fn a_full_queue_makes_callers_wait_and_loses_none() {
    let gated = Gated::closed();
    let store = Arc::new(GroupCommit::bounded(Arc::clone(&gated), 1_000, 1 << 20, 4));
    let mut callers = Vec::new();
    for number in 1..=20 {
        callers.push(call(&store, [number]).await);
    }
    // One of them never gets further than the queue's door.
    let gone = callers.pop().unwrap();
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gated.gate.add_permits(100);
    for caller in callers {
        assert!(caller.await.unwrap().iter().all(Result::is_ok));
    }
    assert!(gated.calls().iter().all(|call| *call <= 4), "{:?}", gated.calls());
    assert_holds(&*store, &stream("chat"), 1..=19).await;
}

#[tokio::test]
async fn a_panic_below_is_told_and_the_lane_serves_on() {
    let gated = Gated::closed();
    let store = Arc::new(GroupCommit::bounded(Arc::clone(&gated), 2, 1 << 20, 100));
    let first = call(&store, [1]).await;
    gated.wait_for_a_call().await;
    let batch = [call(&store, [2]).await, call(&store, [3]).await];
    let behind = call(&store, [4]).await;
    gated.gate.add_permits(1);
    assert_version(first, 1).await;
    gated.wait_for_a_call().await;
    gated.panics.store(true, Ordering::SeqCst);
    gated.gate.add_permits(1);
    for caller in batch {
        let results = caller.await.unwrap();
        assert!(matches!(results[..], [Err(StoreError::OutcomeUnknown { .. })]), "{results:?}");
    }
    let results = behind.await.unwrap();
    assert!(matches!(results[..], [Err(StoreError::Unavailable { .. })]), "{results:?}");
    gated.gate.add_permits(1);
    assert_version(call(&store, [5]).await, 2).await;
}

#[test]
fn a_runtime_that_stops_leaves_a_lane_that_works() {
    let gated = Gated::closed();
    let store = Arc::new(GroupCommit::new(Arc::clone(&gated)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let callers = runtime.block_on(async {
        let first = call(&store, [1]).await;
        let second = call(&store, [2]).await;
        gated.gate.add_permits(1);
        gated.wait_for_a_call().await;
        // The batch of the second is under way when everything stops.
        gated.wait_for_a_call().await;
        [first, second]
    });
    drop(runtime);
    let [_, second] = callers;
    assert!(second.now_or_never().expect("it has ended").unwrap_err().is_cancelled());
    gated.gate.add_permits(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { assert_version(call(&store, [3]).await, 2).await });
}
