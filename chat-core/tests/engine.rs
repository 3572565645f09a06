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

async fn engine_on(store: &MemoryEventStore, views: &MemoryViewStore) -> Engine {
    let builder = Engine::builder().store(Arc::new(store.clone())).views(Arc::new(views.clone()));
    builder.build().await.unwrap()
}

#[tokio::test]
async fn nothing_of_a_run_lands_behind_a_removal_that_it_never_saw() {
    for _ in 0..20 {
        let (store, views) = (MemoryEventStore::new(), MemoryViewStore::new());
        let (here, there) = (engine_on(&store, &views).await, engine_on(&store, &views).await);
        let owner = there.user(user("owner"));
        let group = NewGroup::named("x").with_member(user("ann"), Role::Member);
        let chat = owner.create_group(group, None).await.unwrap().chat;
        let ann = here.user(user("ann")).chat(&chat);
        ann.send(NewMessage::text("first")).await.unwrap();
        // Polled in this order, so that they stand in the chat's queue in this order.
        let sends = (0..50).map(|n| ann.send(NewMessage::text(format!("{n}"))));
        let sends = futures::future::join_all(sends);
        let removing = owner.chat(&chat);
        let remove = removing.remove(user("ann"), None, None);
        let (sent, removed) = futures::future::join(sends, remove).await;
        let removed = removed.unwrap().version;
        let versions: Vec<_> = sent.iter().flatten().map(|ack| ack.version).collect();
        assert!(versions.is_sorted(), "in the order of the calls: {versions:?}");
        assert!(versions.iter().all(|version| *version < removed), "{versions:?} {removed}");
        assert!(sent.iter().skip(versions.len()).all(Result::is_err));
    }
}

#[tokio::test]
async fn a_cold_chat_knows_what_became_of_an_old_message() {
    let (store, views) = (MemoryEventStore::new(), MemoryViewStore::new());
    let engine = engine_on(&store, &views).await;
    let ann = engine.user(user("ann"));
    let chat = ann.create_group(NewGroup::named("x"), None).await.unwrap().chat;
    let gone = ann.chat(&chat).send(NewMessage::text("secret")).await.unwrap().message().unwrap();
    let kept = ann.chat(&chat).send(NewMessage::text("old")).await.unwrap().message().unwrap();
    ann.chat(&chat).edit(gone, "still secret", None).await.unwrap();
    ann.chat(&chat).delete(gone, None, None).await.unwrap();
    ann.chat(&chat).edit(kept, "new", None).await.unwrap();
    engine.shutdown().await;
    // The first thing that happens in the chat is about an old message.
    for _ in 0..2 {
        let engine = engine_on(&store, &views).await;
        let chat = engine.user(user("ann")).chat(&chat);
        assert!(matches!(
            chat.react(gone, "👍", None).await,
            Err(chat_core::ChatError::Rejected(chat_core::domain::Rejection::MessageGone))
        ));
        chat.react(kept, "👍", None).await.unwrap();
        let page = chat.history(HistoryQuery::Latest, 10).await.unwrap();
        let texts: Vec<_> = page.messages.iter().map(|message| &*message.text).collect();
        assert_eq!(texts, ["", "new"]);
        assert_eq!(&*chat.message(kept).await.unwrap().text, "new");
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn reading_to_the_end_settles() {
    let engine = Engine::builder().build().await.unwrap();
    let ann = engine.user(user("ann"));
    let chat = ann.create_group(NewGroup::named("x"), None).await.unwrap().chat;
    let chat = ann.chat(&chat);
    chat.send(NewMessage::text("hello")).await.unwrap();
    assert!(chat.mark_read(Version::MAX, None).await.unwrap().changed());
    assert!(!chat.mark_read(Version::MAX, None).await.unwrap().changed());
    engine.shutdown().await;
}

#[tokio::test]
async fn what_was_sent_and_deleted_elsewhere_is_never_delivered_with_its_text() {
    let (store, views) = (MemoryEventStore::new(), MemoryViewStore::new());
    // This one looks at the log only when it is asked to.
    let mut config = chat_core::EngineConfig::default();
    config.poll_interval = Duration::from_secs(3_600);
    let builder = Engine::builder().config(config);
    let builder = builder.store(Arc::new(store.clone())).views(Arc::new(views.clone()));
    let here = builder.build().await.unwrap();
    let there = engine_on(&store, &views).await;
    let ann = here.user(user("ann"));
    let chat = ann.create_group(NewGroup::named("x"), None).await.unwrap().chat;
    let mut live = ann.chat(&chat).subscribe(SubscribeFrom::Now).await.unwrap();
    let elsewhere = there.user(user("ann")).chat(&chat);
    // A batch of several events reaches the tail here: nothing polls before both are stored.
    let (sent, deleted) = {
        let sent = elsewhere.send(NewMessage::text("secret")).await.unwrap();
        let id = sent.message().unwrap();
        (sent, elsewhere.delete(id, None, None).await.unwrap())
    };
    ann.chat(&chat).read_state().await.unwrap();
    let seen = events(&mut live, deleted.version).await;
    assert_eq!(seen.len(), 2);
    match &seen[0] {
        (version, ChatEvent::MessageSent(e)) => {
            assert_eq!((*version, &*e.text), (sent.version, ""));
        }
        other => panic!("unexpected {other:?}"),
    }
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn text_from_before_a_join_that_hides_the_past_stays_hidden_when_it_is_edited() {
    use chat_core::domain::HistoryVisibility;
    let engine = Engine::builder().build().await.unwrap();
    let (ann, carl) = (engine.user(user("ann")), engine.user(user("carl")));
    let group = NewGroup::named("x").open().with_history(HistoryVisibility::Joined);
    let chat = ann.create_group(group, None).await.unwrap().chat;
    let old = ann.chat(&chat).send(NewMessage::text("old")).await.unwrap().message().unwrap();
    carl.chat(&chat).join(None).await.unwrap();
    let mut live = carl.chat(&chat).subscribe(SubscribeFrom::Start).await.unwrap();
    let edited = ann.chat(&chat).edit(old, "old secret", None).await.unwrap();
    let mut seen = events(&mut live, edited.version).await;
    let mut late = carl.chat(&chat).subscribe(SubscribeFrom::Start).await.unwrap();
    seen.extend(events(&mut late, edited.version).await);
    let texts: Vec<_> = seen
        .iter()
        .filter_map(|(_, event)| match event {
            ChatEvent::MessageEdited(e) => Some(&*e.text),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["", ""]);
    assert!(carl.chat(&chat).message(old).await.is_err());
    engine.shutdown().await;
}

#[tokio::test]
async fn a_future_that_is_left_standing_holds_up_nobody() {
    let (store, views) = (MemoryEventStore::new(), MemoryViewStore::new());
    let engine = engine_on(&store, &views).await;
    let ann = engine.user(user("ann"));
    let chat = ann.create_group(NewGroup::named("x"), None).await.unwrap().chat;
    let chat = ann.chat(&chat);
    let mut standing = Vec::new();
    for _ in 0..8 {
        let (chat, mut read) = (chat.clone(), None);
        let polled = read.insert(Box::pin(async move { chat.read_state().await.unwrap() }));
        // Polled once, or a few times, and then neither polled again nor dropped.
        for _ in 0..standing.len() {
            if futures::poll!(polled.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        standing.push(read);
    }
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, chat.open(10)).await.expect("no wait").unwrap();
    tokio::time::timeout(patience, chat.send(NewMessage::text("hello"))).await.unwrap().unwrap();
    drop(standing);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_snapshot_of_another_incarnation_of_the_store_is_not_believed() {
    let group = || NewGroup::named("tea").with_external_key("tea");
    let (lost, views) = (MemoryEventStore::new(), MemoryViewStore::new());
    let before = engine_on(&lost, &views).await;
    let with_bob = group().with_member(user("bob"), Role::Member);
    let chat = before.user(user("ann")).create_group(with_bob, None).await.unwrap().chat;
    before.user(user("bob")).chat(&chat).send(NewMessage::text("I am in")).await.unwrap();
    before.shutdown().await;

    // Another log in which bob never was, with the same chat, and longer than what was lost.
    let (events, elsewhere) = (MemoryEventStore::new(), MemoryViewStore::new());
    let other = engine_on(&events, &elsewhere).await;
    let ann = other.user(user("ann"));
    assert_eq!(ann.create_group(group(), None).await.unwrap().chat, chat);
    for text in ["one", "two", "three"] {
        ann.chat(&chat).send(NewMessage::text(text)).await.unwrap();
    }
    other.shutdown().await;

    let after = engine_on(&events, &views).await;
    let refused = after.user(user("bob")).chat(&chat).send(NewMessage::text("still in?")).await;
    assert!(refused.is_err(), "{refused:?}");
    let page = after.user(user("ann")).chat(&chat).history(HistoryQuery::Latest, 10).await.unwrap();
    let texts: Vec<_> = page.messages.iter().map(|message| &*message.text).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    after.shutdown().await;
}
