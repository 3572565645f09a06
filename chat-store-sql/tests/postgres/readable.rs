//! The SQL views that people look at.

use std::sync::Arc;

use chat_core::domain::{
    Access, ChatCreated, ChatEvent, ChatKind, ChatUpdated, HistoryVisibility, MessageDeleted,
    MessageEdited, MessageRef, MessageSent, ReactionPolicy, encode,
};
use chat_core::ports::Expected;
use chat_core::testkit::fixture::{event, event_id, event_with, stream, write};
use chat_core::{NewEvent, Timestamp, UserId, Version};
use chat_store_sql::postgres::PostgresStore;

use sqlx::{Connection as _, PgConnection};

use crate::support::{Place, url};

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

async fn tell(store: &PostgresStore, chat: &str, events: Vec<NewEvent>) {
    write(store, &stream(&format!("chat/{chat}")), Expected::Any, events).await;
}

/// Rows as text, `-` for null. The columns are cast to text in UTC.
async fn rows(place: &Place, columns: &[&str], from: &str) -> Vec<Vec<String>> {
    let from = from.replace("chat_", &format!("{}_", place.namespace()));
    let cells: Vec<_> = columns.iter().map(|name| format!("coalesce({name}::text, '-')")).collect();
    let sql = format!("SELECT ARRAY[{}] FROM {from}", cells.join(", "));
    let mut connection = PgConnection::connect(&url()).await.unwrap();
    sqlx::query("SET timezone = 'UTC'").execute(&mut connection).await.unwrap();
    let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await;
    rows.unwrap()
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

    let columns = [
        "chat",
        "seq",
        "message",
        "author",
        "sent_at",
        "text",
        "reply_to",
        "deleted",
        "revisions",
        "edited_at",
    ];
    let messages = rows(&place, &columns, "chat_messages ORDER BY chat, seq").await;
    let id = |number| event_id(number).to_string();
    let (first, second, third, elsewhere) = (id(2), id(3), id(4), id(102));
    let expected = [
        [
            "lobby",
            "2",
            &first,
            "ann",
            "2023-11-14 22:13:22.014+00",
            "first, best",
            "-",
            "false",
            "2",
            "2023-11-14 22:13:26.042+00",
        ],
        [
            "lobby",
            "3",
            &second,
            "bob",
            "2023-11-14 22:13:23.021+00",
            "sécond",
            &first,
            "false",
            "0",
            "-",
        ],
        [
            "lobby",
            "4",
            &third,
            "ann",
            "2023-11-14 22:13:24.028+00",
            "-",
            "-",
            "true",
            "1",
            "2023-11-14 22:13:27.049+00",
        ],
        [
            "other",
            "2",
            &elsewhere,
            "eve",
            "2023-11-14 22:15:02.714+00",
            "elsewhere",
            "-",
            "false",
            "0",
            "-",
        ],
    ];
    assert_eq!(messages, expected);
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

    let columns =
        ["chat", "kind", "name", "topic", "created_by", "created_at", "last_event_at", "last_seq"];
    let chats = rows(&place, &columns, "chat_chats ORDER BY chat").await;
    let expected = [
        [
            "bare",
            "group",
            "-",
            "-",
            "ann",
            "2023-11-14 22:13:31.077+00",
            "2023-11-14 22:13:32.084+00",
            "2",
        ],
        [
            "lobby",
            "group",
            "Hall",
            "new topic",
            "ann",
            "2023-11-14 22:13:21.007+00",
            "2023-11-14 22:13:24.028+00",
            "4",
        ],
    ];
    assert_eq!(chats, expected);
}

#[tokio::test]
async fn every_event_is_shown_and_what_text_cannot_hold_hinders_nothing() {
    let place = Place::new();
    let store = place.open().await;
    write(&store, &stream("audit"), Expected::Any, vec![event(1)]).await;
    // As chat events that were damaged: JSON, but with what no text can hold.
    let mut broken =
        ["chat_created", "chat_updated", "message_sent", "message_edited"].map(|name| {
            let mut event = event_with(0, r#"{"by":"a\u0000b","seq":"\ud800","text":"\u0000"}"#);
            event.event_type = chat_core::EventType::from_static(name);
            event
        });
    for (number, event) in (3..).zip(&mut broken) {
        event.id = event_id(number);
    }
    tell(&store, "broken", broken.to_vec()).await;
    tell(&store, "lobby", vec![stored(9, &created(None)), stored(10, &sent("ann", "hi", None))])
        .await;

    let columns = ["stream", "version", "position", "type", "time", "actor", "payload"];
    let from = "chat_history WHERE stream IN ('audit', 'chat/lobby') ORDER BY position";
    let history = rows(&place, &columns, from).await;
    let shown: Vec<_> = history.iter().map(|row| row[..6].join(" ")).collect();
    assert_eq!(
        shown,
        [
            "audit 1 1 noted 2023-11-14 22:13:20.001+00 -",
            "chat/lobby 1 6 chat_created 2023-11-14 22:13:29.063+00 ann",
            "chat/lobby 2 7 message_sent 2023-11-14 22:13:30.07+00 ann",
        ]
    );
    assert_eq!(history[0][6], "{\"number\":1}");
    let columns = ["chat", "author", "text"];
    let messages = rows(&place, &columns, "chat_messages ORDER BY chat").await;
    assert_eq!(messages, [["broken", "-", "-"], ["lobby", "ann", "hi"]]);
    assert_eq!(rows(&place, &["chat"], "chat_chats").await.len(), 2);
}
