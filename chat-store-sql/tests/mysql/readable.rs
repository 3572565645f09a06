//! The SQL views that people look at.

use std::sync::Arc;

use chat_core::domain::{
    Access, ChatCreated, ChatEvent, ChatKind, ChatUpdated, HistoryVisibility, MessageDeleted,
    MessageEdited, MessageRef, MessageSent, ReactionPolicy, encode,
};
use chat_core::ports::Expected;
use chat_core::testkit::fixture::{event, event_id, event_with, stream, write};
use chat_core::{NewEvent, Timestamp, UserId, Version};
use chat_store_sql::mysql::MysqlStore;
use sqlx::{AssertSqlSafe, Row as _};

use crate::support::Place;

/// Fixed times, a second and a bit apart.
fn stored(number: u64, event: &ChatEvent) -> NewEvent {
    let encoded = encode(event).unwrap();
    NewEvent {
        id: event_id(number),
        event_type: encoded.event_type,
        schema_version: encoded.schema_version,
        recorded_at: Timestamp(1_700_000_000_000 + number * 1_007),
        payload: encoded.payload,
        metadata: None,
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn created(name: Option<&str>) -> ChatEvent {
    ChatEvent::ChatCreated(ChatCreated {
        by: user("ann"),
        kind: ChatKind::Group,
        name: name.map(str::to_owned),
        topic: Some("old topic".into()),
        members: Vec::new(),
        access: Access::Open,
        history: HistoryVisibility::Shared,
        reactions: ReactionPolicy::Distinct,
        external_key: None,
    })
}

fn updated(name: Option<&str>, topic: Option<&str>) -> ChatEvent {
    let (name, topic) = (name.map(str::to_owned), topic.map(str::to_owned));
    ChatEvent::ChatUpdated(ChatUpdated { by: user("bob"), name, topic, access: None })
}

fn sent(by: &str, text: &str, reply_to: Option<MessageRef>) -> ChatEvent {
    ChatEvent::MessageSent(MessageSent {
        by: user(by),
        text: text.into(),
        reply_to,
        mentions: Vec::new(),
        mention_all: false,
        client_message_id: None,
    })
}

fn message(number: u64, seq: u64) -> MessageRef {
    MessageRef { message: event_id(number).into(), seq: Version(seq) }
}

fn edited(target: MessageRef, text: &str) -> ChatEvent {
    let (text, mentions) = (Arc::from(text), Vec::new());
    let by = user("ann");
    ChatEvent::MessageEdited(MessageEdited { by, target, text, mentions, mention_all: false })
}

fn deleted(target: MessageRef) -> ChatEvent {
    ChatEvent::MessageDeleted(MessageDeleted { by: user("bob"), target, reason: None })
}

async fn tell(store: &MysqlStore, chat: &str, events: Vec<NewEvent>) {
    write(store, &stream(&format!("chat/{chat}")), Expected::Any, events).await;
}

/// Rows as text, `-` for null.
async fn rows(place: &Place, sql: &str) -> Vec<Vec<String>> {
    let rows = sqlx::raw_sql(AssertSqlSafe(place.sql(sql)));
    let rows = rows.fetch_all(&mut place.raw().await).await.unwrap();
    let cell = |row: &sqlx::mysql::MySqlRow, column| {
        let text: Option<String> = row.try_get_unchecked(column).unwrap();
        text.unwrap_or("-".to_owned())
    };
    rows.iter().map(|row| (0..row.len()).map(|column| cell(row, column)).collect()).collect()
}

#[tokio::test]
async fn messages_are_shown_as_they_are_now() {
    let place = Place::new();
    let store = place.open().await;
    let events = [
        created(None),
        sent("ann", "first", None),
        sent("bob", "sécond", Some(message(2, 2))),
        sent("ann", "third", None),
        edited(message(2, 2), "first, better"),
        edited(message(2, 2), "first, best"),
        edited(message(4, 4), "third, but gone"),
        deleted(message(4, 4)),
    ];
    let numbered = (1..).zip(&events).map(|(number, event)| stored(number, event));
    tell(&store, "lobby", numbered.collect()).await;
    // The same versions in another chat, so that an edit of one must not show in the other.
    let events = [created(None), sent("eve", "elsewhere", None)];
    let numbered = (101..).zip(&events).map(|(number, event)| stored(number, event));
    tell(&store, "other", numbered.collect()).await;

    let sql = "SELECT chat, seq, message, author, sent_at, text, reply_to, deleted, revisions,
                      edited_at
               FROM {ns}_messages ORDER BY chat, seq";
    let id = |number| event_id(number).to_string();
    let (first, second, third, elsewhere) = (id(2), id(3), id(4), id(102));
    let expected = [
        [
            "lobby",
            "2",
            &first,
            "ann",
            "2023-11-14T22:13:22.014Z",
            "first, best",
            "-",
            "0",
            "2",
            "2023-11-14T22:13:26.042Z",
        ],
        ["lobby", "3", &second, "bob", "2023-11-14T22:13:23.021Z", "sécond", &first, "0", "0", "-"],
        [
            "lobby",
            "4",
            &third,
            "ann",
            "2023-11-14T22:13:24.028Z",
            "-",
            "-",
            "1",
            "1",
            "2023-11-14T22:13:27.049Z",
        ],
        [
            "other",
            "2",
            &elsewhere,
            "eve",
            "2023-11-14T22:15:02.714Z",
            "elsewhere",
            "-",
            "0",
            "0",
            "-",
        ],
    ];
    assert_eq!(rows(&place, sql).await, expected);
}

#[tokio::test]
async fn chats_are_shown_with_the_name_and_topic_of_now() {
    let place = Place::new();
    let store = place.open().await;
    let lobby = [
        created(Some("Lobby")),
        updated(Some("Hall"), None),
        updated(None, Some("new topic")),
        sent("ann", "hello", None),
    ];
    let numbered = (1..).zip(&lobby).map(|(number, event)| stored(number, event));
    tell(&store, "lobby", numbered.collect()).await;
    let bare = [created(Some("Name")), updated(Some(""), Some(""))];
    let numbered = (11..).zip(&bare).map(|(number, event)| stored(number, event));
    tell(&store, "bare", numbered.collect()).await;

    let sql = "SELECT chat, kind, name, topic, created_by, created_at, last_event_at, last_seq
               FROM {ns}_chats ORDER BY chat";
    let expected = [
        [
            "bare",
            "group",
            "-",
            "-",
            "ann",
            "2023-11-14T22:13:31.077Z",
            "2023-11-14T22:13:32.084Z",
            "2",
        ],
        [
            "lobby",
            "group",
            "Hall",
            "new topic",
            "ann",
            "2023-11-14T22:13:21.007Z",
            "2023-11-14T22:13:24.028Z",
            "4",
        ],
    ];
    assert_eq!(rows(&place, sql).await, expected);
}

#[tokio::test]
async fn every_event_is_shown_and_what_is_not_json_hinders_nothing() {
    let place = Place::new();
    let store = place.open().await;
    write(&store, &stream("audit"), Expected::Any, vec![event(1), event_with(2, "no {json")]).await;
    // As a chat event that was damaged.
    let mut broken =
        ["chat_created", "chat_updated", "message_sent", "message_edited"].map(|name| {
            let mut event = event_with(0, "no {json");
            event.event_type = chat_core::EventType::from_static(name);
            event
        });
    for (number, event) in (3..).zip(&mut broken) {
        event.id = event_id(number);
    }
    tell(&store, "broken", broken.to_vec()).await;
    tell(&store, "lobby", vec![stored(9, &created(None)), stored(10, &sent("ann", "hi", None))])
        .await;

    let sql = "SELECT stream, version, position, type, time, actor, payload
               FROM {ns}_history WHERE stream IN ('audit', 'chat/lobby') ORDER BY position";
    let history = rows(&place, sql).await;
    let shown: Vec<_> = history.iter().map(|row| row[..6].join(" ")).collect();
    assert_eq!(
        shown,
        [
            "audit 1 1 noted 2023-11-14T22:13:20.001Z -",
            "audit 2 2 noted 2023-11-14T22:13:20.002Z -",
            "chat/lobby 1 7 chat_created 2023-11-14T22:13:29.063Z ann",
            "chat/lobby 2 8 message_sent 2023-11-14T22:13:30.070Z ann",
        ]
    );
    assert_eq!(history[1][6], "no {json");
    let messages = "SELECT chat, author, text FROM {ns}_messages ORDER BY chat";
    let messages = rows(&place, messages).await;
    assert_eq!(messages, [["broken", "-", "-"], ["lobby", "ann", "hi"]]);
    assert_eq!(rows(&place, "SELECT chat, kind FROM {ns}_chats ORDER BY chat").await.len(), 2);
}
