//! Two houses, and a look at both that uses nothing of the copier.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chat_core::copy::{Copier, CopyError};
use chat_core::memory::{MemoryEventStore, MemoryViewStore};
use chat_core::ports::{EventStore, Expected, PageLimit};
use chat_core::testkit::fixture::{event, multi, partitions, read_all, read_log, stream, write};
use chat_core::{NewEvent, PartitionId, Position, StreamId, Version};

/// An old house and a new one.
pub(crate) struct Houses {
    pub(crate) source: MemoryEventStore,
    pub(crate) target: MemoryEventStore,
    pub(crate) views: Arc<MemoryViewStore>,
}

impl Houses {
    pub(crate) fn new(from: u32, to: u32) -> Self {
        let source = MemoryEventStore::with_partitions(from);
        Self::from(source, to)
    }

    /// A new house for an old one.
    pub(crate) fn from(source: MemoryEventStore, to: u32) -> Self {
        let target = MemoryEventStore::with_partitions(to);
        Self { source, target, views: Arc::new(MemoryViewStore::new()) }
    }

    pub(crate) async fn copier(&self) -> Copier {
        self.begin().await.unwrap()
    }

    pub(crate) async fn begin(&self) -> Result<Copier, CopyError> {
        let (source, target) = (Arc::new(self.source.clone()), Arc::new(self.target.clone()));
        Copier::begin(source, target, self.views.clone()).await
    }

    /// Writes events of many streams in turn, the numbers being theirs; some appends are of several
    /// events, some of several streams.
    pub(crate) async fn fill(&self, numbers: std::ops::Range<u64>) {
        fill(&self.source, numbers).await;
    }
}

pub(crate) async fn fill(store: &dyn EventStore, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let name = stream(&format!("{}/{{room {}}}", number % 3, number % 7));
        let other = stream(&format!("also/{{room {}}}", number % 7));
        let more = |n: u64| event(1_000_000 * (n + 1) + number);
        match number % 5 {
            0 => {
                write(store, &name, Expected::Any, vec![event(number), more(1), more(2)]).await;
            }
            1 => {
                let writes = vec![
                    (&name, Expected::Any, vec![event(number)]),
                    (&other, Expected::Any, vec![more(1)]),
                ];
                store.append(&[multi(writes, vec![])]).await.pop().unwrap().unwrap();
            }
            _ => {
                write(store, &name, Expected::Any, vec![event(number)]).await;
            }
        }
    }
}

/// A page of so many events.
pub(crate) fn page(events: usize) -> PageLimit {
    PageLimit::events(events)
}

/// What stands at each version of each stream.
pub(crate) type Streams = BTreeMap<StreamId, Vec<(Version, NewEvent)>>;

pub(crate) async fn streams(store: &dyn EventStore) -> Streams {
    let mut streams = Streams::new();
    for partition in partitions(store).await {
        for found in read_log(store, partition, 100).await {
            let stream = streams.entry(found.stream.clone()).or_default();
            stream.push((found.version, found.event.clone()));
        }
    }
    for (name, events) in &streams {
        let read = read_all(store, name).await;
        let read: Vec<_> = read.iter().map(|e| (e.version, e.event.clone())).collect();
        assert_eq!(&read, events, "{name} differs from the log");
    }
    streams
}

/// Checks that two stores hold the same streams, and that the logs of the second keep the order of
/// those of the first.
pub(crate) async fn assert_same(source: &dyn EventStore, target: &dyn EventStore) {
    assert_eq!(streams(source).await, streams(target).await);
    let mut places: HashMap<(StreamId, Version), (PartitionId, Position)> = HashMap::new();
    for partition in partitions(target).await {
        for found in read_log(target, partition, 100).await {
            places.insert((found.stream.clone(), found.version), (partition, found.position));
        }
    }
    for partition in partitions(source).await {
        let mut last: HashMap<PartitionId, Position> = HashMap::new();
        for found in read_log(source, partition, 100).await {
            let (home, position) = places[&(found.stream.clone(), found.version)];
            let before = last.insert(home, position).unwrap_or_default();
            assert!(before < position, "{} {} is out of order", found.stream, found.version);
        }
    }
}

/// Everything once more, as a finished copy.
pub(crate) async fn finish(houses: &Houses) {
    let mut copier = houses.copier().await;
    let progress = copier.finish(|_| ()).await.unwrap();
    assert_eq!(progress.behind(), 0);
    let verified = copier.verify(|_| ()).await.unwrap();
    let all = streams(&houses.source).await;
    let events: usize = all.values().map(Vec::len).sum();
    assert_eq!((verified.streams, verified.events), (all.len() as u64, events as u64));
    assert_eq!((progress.events, progress.bytes), (verified.events, verified.bytes));
    assert_same(&houses.source, &houses.target).await;
}
