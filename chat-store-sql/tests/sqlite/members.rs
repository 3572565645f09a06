//! One durable subscription shared by processes on one file, of which one is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::durable::{
    DurableBuilder, DurableConfig, DurableSubscription, HandlerError, Projection, SubscriptionName,
    ViewEdit,
};
use chat_core::ports::{Direction, Expected, KeyRange, ViewPage};
use chat_core::testkit::fixture::{events, stream, write};
use chat_core::testkit::scenarios::world::soak;
use chat_core::{Position, RecordedEvent, Scope, ViewKey};
use chat_store_sql::sqlite::{SqliteConfig, SqliteStore};
use test_servers::program::{Player, Role};

use crate::support::Place;

/// Longer than anything takes on a slow machine.
const SOON: Duration = Duration::from_secs(120);

/// Counts how often each event was taken, and tells when it is about to.
#[derive(Debug)]
struct Counting;

#[async_trait]
impl Projection for Counting {
    fn route(&self, _event: &RecordedEvent) -> Result<Vec<Scope>, HandlerError> {
        Ok(vec![scope()])
    }

    async fn project(
        &self,
        view: &mut ViewEdit<'_>,
        events: &[Arc<RecordedEvent>],
    ) -> Result<(), HandlerError> {
        for event in events {
            let key = ViewKey::new(format!("taken/{}", event.position)).unwrap();
            let before = view.get(&key).await?.map_or(0, |bytes| count(&bytes));
            view.put(key, vec![before + 1]);
            say(event.position);
        }
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "the process that started this one listens")]
fn say(taken: Position) {
    println!("took {taken}");
}

fn count(value: &[u8]) -> u8 {
    value.first().copied().unwrap_or_default()
}

fn scope() -> Scope {
    Scope::new("all").unwrap()
}

fn subscription(store: &SqliteStore) -> DurableBuilder {
    let name = SubscriptionName::new("counting").unwrap();
    let mut config = DurableConfig::default();
    config.batch_events = 3;
    config.poll_interval = Duration::from_millis(20);
    // For so long nobody takes over from a member that was killed.
    config.lease = Duration::from_secs(1);
    // A kill is no sign that an event is to blame.
    config.max_attempts = 1_000;
    DurableSubscription::builder(name, store.events(), store.views()).config(config)
}

/// Writes so many more events. How many there are then.
async fn write_some(store: &SqliteStore, written: u64, more: u64) -> u64 {
    let some = events(written..written + more);
    write(&*store.events(), &stream("numbers/1"), Expected::Any, some).await;
    written + more
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_member_is_followed_by_another_and_each_event_is_taken_once() {
    if let Some(Role { place, .. }) = Role::given() {
        let store = SqliteStore::open(SqliteConfig::new(place)).await.unwrap();
        let _member = subscription(&store).project(Arc::new(Counting)).await.unwrap();
        println!("stands by");
        return std::future::pending().await;
    }
    let place = Place::new();
    let store = place.open().await;
    let test = "members::a_killed_member_is_followed_by_another_and_each_event_is_taken_once";
    let play = |number| Player::play(test, place.path(), number).unwrap();
    let mut written = 0;
    for round in 0..soak(20, 3) {
        let mut working = play(0);
        let mut took = working.said("took ").map(|place| place.parse::<u64>().unwrap());
        written = write_some(&store, written, 30).await;
        assert!(took.next().is_some(), "the first member takes nothing");
        let mut waiting = play(1);
        let mut says = waiting.said("");
        assert!(says.any(|line| line.contains("stands by")), "the second member does not stand");
        let before = written;
        written = write_some(&store, written, 300).await;
        // Killed at another moment each time, in the middle of its work.
        assert!(took.any(|place| place > before + 7 * round), "the first member stopped");
        working.kill().unwrap();
        let left = written;
        written = write_some(&store, written, 30).await;
        let operator = subscription(&store).operator();
        tokio::time::timeout(SOON, operator.caught_up()).await.unwrap().unwrap();
        assert_eq!(counts(&store).await, (1..=written).map(|place| (place, 1)).collect());
        waiting.kill().unwrap();
        let mut followed = says.filter_map(|line| line.strip_prefix("took ")?.parse::<u64>().ok());
        assert!(followed.any(|place| place > left), "somebody else took over");
    }
    store.close().await;
}

/// How often each event was taken, by its position.
async fn counts(store: &SqliteStore) -> BTreeMap<u64, u8> {
    let live = subscription(store).projected_views().live().await.unwrap();
    let mut counts = BTreeMap::new();
    for view in live.of_scope(&scope()).unwrap() {
        let mut range = KeyRange::all();
        loop {
            let limit = ViewPage::MAX_ENTRIES;
            let page = store.views().scan(&view, &range, Direction::Forward, limit).await.unwrap();
            for (key, value) in &page.entries {
                if let Some(place) = key.as_str().strip_prefix("taken/") {
                    counts.insert(place.parse().unwrap(), count(value));
                }
            }
            if page.finished {
                break;
            }
            let (last, _) = page.entries.last().unwrap();
            range.start = Some(ViewKey::new(format!("{last} ")).unwrap());
        }
    }
    counts
}
