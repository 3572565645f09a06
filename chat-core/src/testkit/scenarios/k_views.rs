//! K. What the engine keeps beside the events: lists and snapshots, which the events make again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::harness::ScenarioHarness;
use super::steps::{Random, Step, person, random_group};
use super::world::{Node, World, at, key, listen, make, must, say, tea_room, user};
use crate::clock::Timestamp;
use crate::domain::{ChatCommand, ChatEvent, MessageRef, NewGroup, Role, SendMessage};
use crate::engine::{ChatError, ChatListQuery, ChatPage, ChatSummary, NewMessage, SubscribeFrom};
use crate::event::{EventType, Json, NewEvent};
use crate::id::{ChatId, ProjectionName, Scope, StreamId, UserId, Version};
use crate::memory::MemoryViewStore;
use crate::ports::{
    Direction, EventStore, Expected, KeyRange, ViewBatch, ViewId, ViewOp, ViewPage, ViewStore,
};
use crate::testkit::fixture::{event_id, single};

/// Makes a test of every scenario of this file.
#[doc(hidden)]
#[macro_export]
macro_rules! __scenario_tests_k_views {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::scenarios],
            k10_lists_built_anew_are_the_lists_that_were_kept,
            k10_a_crash_in_between_leaves_the_lists_right,
            k10_two_engines_that_project_at_once_count_once,
            k10_an_unreadable_event_is_counted_and_others_go_on,
            k11_a_snapshot_that_cannot_be_read_is_replayed,
            k11_rows_of_messages_that_cannot_be_read_are_replayed,
            k13_a_log_of_the_first_release_gives_the_same_chat,
        }
    };
}

/// The whole list of a user, page by page.
pub(super) async fn list(node: &Node, name: &UserId) -> Vec<ChatSummary> {
    let mut query = ChatListQuery::top(3);
    let mut chats = Vec::new();
    loop {
        let ChatPage { chats: page, next } =
            must(node.user(name.clone()).chats(query.clone()).await);
        chats.extend(page);
        match next {
            Some(next) => query.after = Some(next),
            None => return chats,
        }
    }
}

fn as_sent(message: SendMessage) -> NewMessage {
    let mut new = NewMessage::text(message.text);
    for user in message.mentions.users {
        new = new.mention(user);
    }
    if message.mentions.everyone {
        new = new.mention_all();
    }
    match message.reply_to {
        Some(target) => new.reply_to(target.message),
        None => new,
    }
}

/// A random history of some chats, each step taken at one of the engines.
pub(super) async fn random_history(
    world: &World<'_>,
    nodes: &[&Node],
    chats: usize,
    steps: usize,
    seed: u64,
) -> Vec<ChatId> {
    let mut random = Random::new(seed);
    let mut made: Vec<(ChatId, Vec<MessageRef>, Version)> = Vec::new();
    for _ in 0..chats {
        let group = random_group(u8::try_from(random.below(32)).unwrap_or(0));
        let created = must(nodes[0].user(person(0)).create_group(group, None).await);
        made.push((created.chat, Vec::new(), created.ack.version));
    }
    let mut changed = 0;
    for _ in 0..steps {
        let (step, at_chat) = (Step::draw(&mut random), random.below(chats));
        let node = nodes[random.below(nodes.len())];
        let (chat, messages, head) = &mut made[at_chat];
        world.pass(Duration::from_millis(step.pause()));
        let actor = step.actor(&[person(0), person(1), person(2)]);
        let command = step.command(messages, *head);
        let handle = node.user(actor).chat(chat);
        let sends = matches!(command, ChatCommand::Send(_));
        let answer = match command {
            ChatCommand::Send(message) => handle.send(as_sent(message)).await,
            other => handle.command(other, None).await,
        };
        match answer {
            Ok(ack) => {
                *head = (*head).max(ack.version);
                changed += usize::from(ack.changed());
                if let Some(message) = ack.message().filter(|_| sends) {
                    messages.push(MessageRef { message, seq: ack.version });
                }
            }
            Err(ChatError::Rejected(_)) => {}
            Err(error) => panic!("step {step:?}: {error}"),
        }
    }
    assert!(changed > steps / 6, "only {changed} of {steps} steps changed something");
    made.into_iter().map(|(chat, ..)| chat).collect()
}

/// K10: lists from the first event on, and lists kept all along.
pub async fn k10_lists_built_anew_are_the_lists_that_were_kept(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.snapshot_every = 16);
    let nodes = [world.node().await, world.node().await];
    for round in 0..3 {
        random_history(&world, &[&nodes[0], &nodes[1]], 5, 60, round).await;
        let mut stores = world.harness.open().await;
        stores.views = Arc::new(MemoryViewStore::new());
        let anew = world.node_on(stores).await;
        let mut entries = 0;
        for name in (0..5).map(person) {
            let kept = list(&nodes[0], &name).await;
            assert_eq!(kept, list(&nodes[1], &name).await, "{name} at two engines");
            assert_eq!(kept, list(&anew, &name).await, "{name}, built anew");
            entries += kept.len();
        }
        assert!(entries > 5, "the lists are empty");
        anew.shutdown().await;
        world.crash(anew);
    }
    world.finish().await;
}

/// K10: the process that keeps the lists dies again and again.
pub async fn k10_a_crash_in_between_leaves_the_lists_right(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.snapshot_every = 8);
    for round in 0..6 {
        let node = world.node().await;
        random_history(&world, &[&node], 3, 25, 100 + round).await;
        world.crash(node);
    }
    world.finish().await;
}

/// K10: two engines write and keep the same lists at the same time.
pub async fn k10_two_engines_that_project_at_once_count_once(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chats = [tea_room(&nodes[0]).await, make(&nodes[1], NewGroup::named("two")).await];
    let writers = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(node, chat): (usize, usize)| {
        let (ann, clock) = (at(&nodes[node], "ann", &chats[chat]), Arc::clone(&world.clock));
        let lists = (nodes[0].user(user("bob")), nodes[1].user(user("bob")));
        async move {
            for _ in 0..15 {
                clock.advance(Duration::from_millis(1));
                must(ann.send(NewMessage::text("x").mention(user("bob"))).await);
                let top = || ChatListQuery::top(10);
                let (one, two) = tokio::join!(lists.0.chats(top()), lists.1.chats(top()));
                assert_eq!((must(one).chats.len(), must(two).chats.len()), (2, 2));
            }
        }
    });
    join_all(writers).await;
    for node in &nodes {
        let list = list(node, &user("bob")).await;
        let counts: Vec<_> = list.iter().map(|chat| (chat.unread, chat.mentions)).collect();
        assert_eq!(counts, [(30, 30), (30, 30)]);
    }
    world.finish().await;
}

fn raw(number: u64, event_type: &str, payload: &str) -> NewEvent {
    NewEvent {
        id: event_id(number),
        event_type: EventType::new(event_type).expect("a type"),
        schema_version: 1,
        recorded_at: Timestamp(1_700_000_000_000),
        payload: Json::from_text(payload),
        metadata: None,
    }
}

async fn store_raw(store: &dyn EventStore, stream: &str, events: Vec<NewEvent>) {
    let stream = StreamId::new(stream).expect("a stream's name");
    let append = single(&stream, Expected::Any, events);
    let stored = store.append(&[append]).await;
    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
}

/// K10: something in the log is not what its type says.
pub async fn k10_an_unreadable_event_is_counted_and_others_go_on(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let other = make(&node, NewGroup::named("other")).await;
    let mut reader = listen(&at(&node, "bob", &chat), SubscribeFrom::Start).await;
    say(&at(&node, "ann", &chat), "before").await;
    assert_eq!(node.metrics().unreadable_events, 0);
    let store = world.harness.open().await.events;
    for (number, kind) in ["message_sent", "member_joined", "chat_hidden"].into_iter().enumerate() {
        let event = raw(900 + number as u64, kind, r#"{"by":7,"surprise":[]}"#);
        store_raw(&*store, &format!("chat/{chat}"), vec![event]).await;
    }
    store_raw(&*store, "chat/ghost", vec![raw(910, "chat_created", "{}")]).await;
    store_raw(&*store, "of/another/program", vec![raw(911, "message_sent", "[]")]).await;
    say(&at(&node, "ann", &other), "elsewhere").await;
    let after = say(&at(&node, "ann", &chat), "after").await;
    assert_eq!(after.version, Version(6));
    reader.until(Version(6)).await;
    assert_eq!(reader.versions(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(reader.texts(), ["before", "after"]);
    let unreadable = reader.records.iter().filter(|r| r.event == ChatEvent::Unreadable).count();
    assert_eq!(unreadable, 3, "they are told as what they are");
    let counts: Vec<_> = list(&node, &user("bob")).await.iter().map(|c| c.unread).collect();
    assert_eq!(counts.iter().sum::<u64>(), 3);
    assert!(node.metrics().unreadable_events >= 3, "{:?}", node.metrics());
    world.finish().await;
}

fn chat_view(chat: &ChatId) -> ViewId {
    let scope = Scope::new(format!("chat/{chat}")).expect("a scope");
    ViewId { scope, projection: ProjectionName::new("chat").expect("a projection") }
}

async fn snapshot(views: &dyn ViewStore, view: &ViewId) -> ViewPage {
    let limit = ViewPage::MAX_ENTRIES;
    let page = views.scan(view, &KeyRange::all(), Direction::Forward, limit).await;
    page.expect("the views answer")
}

/// Changes the rows of a snapshot whose key begins so; how many there were.
async fn spoil(
    views: &dyn ViewStore,
    chat: &ChatId,
    prefix: &str,
    change: &dyn Fn(&[u8]) -> Vec<u8>,
) -> usize {
    let view = chat_view(chat);
    let page = snapshot(views, &view).await;
    let rows = page.entries.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
    let ops: Vec<_> = rows.map(|(key, row)| ViewOp::Put(key.clone(), change(row).into())).collect();
    let (rows, checkpoint) = (ops.len(), page.checkpoint);
    let batch = ViewBatch { view, expected: checkpoint, next: checkpoint, ops };
    let written = views.commit(&[batch]).await;
    // Under faults the answer may be lost; that it was written is looked at by its effect.
    assert_eq!(written.len(), 1);
    rows
}

/// A chat with edits and deletions, of which a snapshot was written.
async fn with_snapshot(world: &World<'_>) -> ChatId {
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    for number in 0..10 {
        let id = say(&ann, &format!("original {number}")).await.message().expect("a message");
        match number % 4 {
            0 => must(ann.edit(id, format!("edited {number}"), None).await),
            1 => must(ann.delete(id, None, None).await),
            2 => must(ann.react(id, "a", None).await),
            _ => must(ann.mark_read(Version(3), None).await),
        };
    }
    node.shutdown().await;
    world.crash(node);
    chat
}

type Change = fn(&[u8]) -> Vec<u8>;

/// K11: a snapshot that is broken, or of another form.
pub async fn k11_a_snapshot_that_cannot_be_read_is_replayed(harness: &dyn ScenarioHarness) {
    let broken: [(&str, &str, Change); 6] = [
        ("a core that is no JSON", "core", |_| b"\xff\x00nonsense".to_vec()),
        ("an empty core", "core", |_| Vec::new()),
        ("half a core", "core", |row| row[..row.len() / 2].to_vec()),
        ("a core of an older form", "core", |row| {
            let text = String::from_utf8_lossy(row).replacen("\"format\":1", "\"format\":0", 1);
            text.into_bytes()
        }),
        ("a broken tally", "count/", |row| row.iter().map(|byte| !byte).collect()),
        ("an empty tally", "count/", |_| Vec::new()),
    ];
    for (what, prefix, change) in broken {
        // Each in a world of its own: the auditor looks at every chat through every engine.
        let world = World::new(harness);
        let chat = with_snapshot(&world).await;
        let views = world.harness.open().await.views;
        let before = snapshot(&*views, &chat_view(&chat)).await;
        assert!(spoil(&*views, &chat, prefix, &change).await > 0, "{what}: no such row");
        assert_ne!(snapshot(&*views, &chat_view(&chat)).await, before, "{what}: nothing changed");
        let node = world.node().await;
        let ack = say(&at(&node, "ann", &chat), "after").await;
        let log = world.log(&chat).await;
        assert_eq!(ack.version.0, log.len() as u64, "{what}");
        world.finish().await;
    }
}

/// K11: the rows of single messages are broken.
pub async fn k11_rows_of_messages_that_cannot_be_read_are_replayed(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let chat = with_snapshot(&world).await;
    let views = world.harness.open().await.views;
    let rows = spoil(&*views, &chat, "message/", &|_| b"{".to_vec()).await;
    assert!(rows >= 6, "{rows} rows");
    world.node().await;
    world.finish().await;
}

/// A chat as the first release wrote it. Never changed: what was written once is read for ever.
const FIRST_RELEASE: [(&str, &str); 12] = [
    (
        "chat_created",
        r#"{"by":"ann","kind":"group","name":"tea","members":[{"user":"bob","role":"moderator"},{"user":"carl","role":"member"}],"access":"open","history":"shared","reactions":"distinct"}"#,
    ),
    ("message_sent", r#"{"by":"ann","text":"one","mention_all":true}"#),
    ("message_sent", r#"{"by":"bob","text":"two","mentions":["carl"],"client_message_id":"k"}"#),
    (
        "message_edited",
        r#"{"by":"ann","message":"{2}","seq":2,"text":"one, better","mentions":["carl"]}"#,
    ),
    ("reaction_added", r#"{"by":"carl","message":"{3}","seq":3,"key":"👍"}"#),
    ("message_sent", r#"{"by":"ann","text":"gone"}"#),
    ("message_deleted", r#"{"by":"bob","message":"{6}","seq":6}"#),
    ("member_joined", r#"{"by":"dora","user":"dora"}"#),
    ("ownership_transferred", r#"{"by":"ann","to":"bob"}"#),
    ("member_left", r#"{"by":"ann"}"#),
    ("read_advanced", r#"{"by":"carl","up_to":2}"#),
    ("chat_updated", r#"{"by":"bob","topic":"leaves"}"#),
];

/// K13: what the first release has stored.
pub async fn k13_a_log_of_the_first_release_gives_the_same_chat(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let store = world.harness.open().await.events;
    let stored = (1..).zip(FIRST_RELEASE).map(|(number, (kind, payload))| {
        let mut payload = payload.to_owned();
        for number in [2, 3, 6] {
            payload = payload.replace(&format!("{{{number}}}"), &event_id(number).to_string());
        }
        raw(number, kind, &payload)
    });
    store_raw(&*store, "chat/old", stored.collect()).await;
    let node = world.node().await;
    let chat = ChatId::new("old").expect("an id");
    let open = must(at(&node, "carl", &chat).open(10).await);
    let texts = open.page.messages.iter().map(|m| (m.seq.0, &*m.text, m.deleted.is_some()));
    assert_eq!(
        texts.collect::<Vec<_>>(),
        [(2, "one, better", false), (3, "two", false), (6, "", true)]
    );
    let reactions: BTreeMap<_, _> = open.page.messages[1].reactions.clone().into_iter().collect();
    assert_eq!(reactions["👍"], [user("carl")]);
    let summary = open.summary;
    assert_eq!((summary.name.as_deref(), summary.topic.as_deref()), (Some("tea"), Some("leaves")));
    assert_eq!((summary.unread, summary.mentions, summary.read), (1, 1, Version(2)));
    assert_eq!((summary.members, summary.version), (3, Version(12)));
    let bob = must(at(&node, "bob", &chat).open(1).await).summary;
    assert_eq!((bob.role, bob.unread, bob.mentions), (Role::Owner, 1, 0));
    let again = NewMessage::text("two").mention(user("carl")).with_client_id(key("new"));
    assert_eq!(must(at(&node, "bob", &chat).send(again).await).version, Version(13));
    assert_eq!(node.metrics().unreadable_events, 0);
    world.close().await;
}
