//! The engine end to end, in memory.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use chat_core::domain::{ChatEvent, NewGroup, Role};
use chat_core::memory::{MemoryBus, MemoryEventStore, MemoryViewStore};
use chat_core::{
    ChatListQuery, ClientMessageId, Delivery, Engine, HistoryQuery, NewMessage, SubscribeFrom,
    Subscription, SubscriptionEnd, UserId, Version,
};

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

async fn events(subscription: &mut Subscription, until: Version) -> Vec<(Version, ChatEvent)> {
    let mut seen = Vec::new();
    while subscription.version() < until {
        let next = tokio::time::timeout(Duration::from_secs(10), subscription.next());
        match next.await.expect("a delivery in time") {
            Some(Delivery::Events(events)) => {
                seen.extend(events.iter().map(|record| (record.version, record.event.clone())));
            }
            Some(Delivery::Signal(_)) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    seen
}

#[tokio::test]
async fn people_talk_and_read_what_was_said() {
    let engine = Engine::builder().build().await.unwrap();
    let (ann, bob) = (engine.user(user("ann")), engine.user(user("bob")));
    let group = NewGroup::named("tea").with_member(user("bob"), Role::Member);
    let chat = ann.create_group(group, None).await.unwrap().chat;
    let mut live = bob.chat(&chat).subscribe(SubscribeFrom::Start).await.unwrap();
    let key = ClientMessageId::new("m1").unwrap();
    let hello = || NewMessage::text("hello").with_client_id(key.clone()).mention(user("bob"));
    let first = ann.chat(&chat).send(hello()).await.unwrap();
    let again = ann.chat(&chat).send(hello()).await.unwrap();
    assert_eq!((first.version, first.deduplicated), (Version(2), false));
    assert_eq!((again.version, again.deduplicated), (Version(2), true));
    let id = first.message().unwrap();
    ann.chat(&chat).edit(id, "hello!", None).await.unwrap();
    bob.chat(&chat).react(id, "👍", None).await.unwrap();
    let seen = events(&mut live, Version(4)).await;
    assert_eq!(seen.iter().map(|(version, _)| version.0).collect::<Vec<_>>(), [1, 2, 3, 4]);

    let page = bob.chats(ChatListQuery::top(10)).await.unwrap();
    assert_eq!(page.chats.len(), 1);
    assert_eq!(page.chats[0].unread, 1);
    assert_eq!(&*page.chats[0].preview.as_ref().unwrap().text, "hello!");
    bob.chat(&chat).mark_read(Version(99), None).await.unwrap();
    assert_eq!(bob.chat(&chat).read_state().await.unwrap().unread, 0);

    let page = bob.chat(&chat).history(HistoryQuery::Latest, 10).await.unwrap();
    assert_eq!(page.messages.len(), 1);
    assert_eq!(page.messages[0].revision(), 1);
    assert!(page.messages[0].has_reaction("👍", &user("bob")));
    assert!(page.found_oldest && page.found_newest);

    ann.chat(&chat).delete(id, None, None).await.unwrap();
    let mut replay = bob.chat(&chat).subscribe(SubscribeFrom::Start).await.unwrap();
    for (_, event) in events(&mut replay, Version(6)).await {
        match event {
            ChatEvent::MessageSent(e) => assert_eq!(&*e.text, ""),
            ChatEvent::MessageEdited(e) => assert_eq!(&*e.text, ""),
            _ => {}
        }
    }
    ann.chat(&chat).remove(user("bob"), None, None).await.unwrap();
    assert_eq!(events(&mut replay, Version(7)).await.len(), 1);
    assert!(matches!(replay.next().await, Some(Delivery::Ended(SubscriptionEnd::Removed))));
    assert!(replay.next().await.is_none());
    assert!(bob.chat(&chat).send(NewMessage::text("?")).await.is_err());
    engine.shutdown().await;
}

#[tokio::test]
async fn two_engines_on_one_store_are_one_chat() {
    let (store, views, bus) = (MemoryEventStore::new(), MemoryViewStore::new(), MemoryBus::new());
    let mut engines = Vec::new();
    for _ in 0..2 {
        let builder = Engine::builder()
            .store(Arc::new(store.clone()))
            .views(Arc::new(views.clone()))
            .bus(Arc::new(bus.clone()));
        engines.push(builder.build().await.unwrap());
    }
    let ann = engines[0].user(user("ann"));
    let bob = engines[1].user(user("bob"));
    let chat = ann.create_group(NewGroup::named("x").open(), None).await.unwrap().chat;
    bob.chat(&chat).join(None).await.unwrap();
    let mut live = bob.chat(&chat).subscribe(SubscribeFrom::Now).await.unwrap();
    let mut sends = tokio::task::JoinSet::new();
    for n in 0..200 {
        let handle = if n % 2 == 0 { ann.chat(&chat) } else { bob.chat(&chat) };
        sends.spawn(async move { handle.send(NewMessage::text(format!("{n}"))).await });
    }
    while let Some(sent) = sends.join_next().await {
        sent.unwrap().unwrap();
    }
    let seen = events(&mut live, Version(202)).await;
    let versions: Vec<_> = seen.iter().map(|(version, _)| version.0).collect();
    assert_eq!(versions, (3..=202).collect::<Vec<_>>());
    assert_eq!(bob.chats(ChatListQuery::top(5)).await.unwrap().chats[0].unread, 100);
    for engine in &engines {
        engine.shutdown().await;
    }
    // A third engine starts from the snapshots.
    let builder = Engine::builder().store(Arc::new(store)).views(Arc::new(views));
    let engine = builder.build().await.unwrap();
    let open = engine.user(user("bob")).chat(&chat).open(50).await.unwrap();
    assert_eq!((open.summary.unread, open.page.messages.len()), (100, 50));
    engine.shutdown().await;
}
