//! What is stored comes back as it was.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::event::{EventType, Json, NewEvent};
use crate::id::{EventId, StreamId, Version};
use crate::ports::{Append, EventStoreExt as _, Expected};
use crate::testkit::StoreHarness;
use crate::testkit::fixture::{
    assert_holds, event, event_with, partitions, read_all, read_log, stream, write,
};

/// Writes events and reads them back every way there is, from another handle as well.
async fn keeps(harness: &dyn StoreHarness, events: Vec<NewEvent>) {
    let store = harness.open().await;
    let name = stream("chat");
    for event in &events {
        write(&*store, &name, Expected::Any, vec![event.clone()]).await;
    }
    for handle in [&store, &harness.open().await] {
        let stored = read_all(&**handle, &name).await;
        let logged = read_log(&**handle, handle.partition_of(&name), 7).await;
        assert_eq!(stored, logged, "the log differs from the stream");
        assert_eq!(stored.len(), events.len());
        for (stored, event) in stored.iter().zip(&events) {
            assert_same(&stored.event, event);
            let found = handle.find(&name, event.id).await.expect("find");
            assert_eq!(found.as_ref(), Some(stored));
        }
    }
    // What is compared in a repeat is what was kept.
    for event in &events {
        let again = write(&*store, &name, Expected::NoStream, vec![event.clone()]).await;
        assert!(again.repeat, "a repeat is answered as new");
    }
}

/// Shows the texts, which `Json` itself does not.
fn assert_same(stored: &NewEvent, event: &NewEvent) {
    assert_eq!(stored.payload.as_str(), event.payload.as_str());
    let text = |json: &Option<Json>| json.as_ref().map(|json| json.as_str().to_owned());
    assert_eq!(text(&stored.metadata), text(&event.metadata));
    assert_eq!(stored, event);
}

/// JSON that a database which parses it would write otherwise, or could not hold as a number.
const TEXTS: [&str; 22] = [
    "{}",
    "[]",
    "null",
    "true",
    "0",
    "-0",
    "1.0",
    "1e400",
    "123456789012345678901234567890.000000000000000001",
    r#""""#,
    r#"{"b":1,"a":2}"#,
    r#"{"a":1,"a":2}"#,
    "{ \"a\" :\t1 ,\n \"b\":\r\n [ 1 , 2 ] }",
    "  {\"a\":1}  ",
    r#""\u00e9\u0041\/\\\"\b\f\n\r\t""#,
    r#""\u0000""#,
    r#""\ud83d\ude00""#,
    "\"é and e\u{301}, 日本語, עברית, 😀👩‍👩‍👧, \u{200b}\u{202e}\u{feff}\"",
    "\"\u{7f}\u{80}\u{ffff}\u{10ffff}\"",
    r#""'; DROP TABLE events; -- %s ? $1 {} :a""#,
    r#"{"":{"":[[[[[[[[[[]]]]]]]]]]}}"#,
    "[0.1,1E5,1e-5,100000000000000000000]",
];

/// "A JSON document, kept as the text that was written, byte for byte."
pub async fn payloads_are_kept_byte_for_byte(harness: &dyn StoreHarness) {
    let texts = TEXTS.iter().zip(1..).map(|(text, number)| event_with(number, text));
    keeps(harness, texts.collect()).await;
}

/// With the most bytes that one event may have, and some that need several bytes each.
pub async fn the_largest_event_is_kept(harness: &dyn StoreHarness) {
    let room = Append::MAX_EVENT_BYTES - event_with(1, "").size() - 2;
    let ascii = format!("\"{}\"", "x".repeat(room));
    let wide = format!("\"{}\"", "語".repeat(room / 3));
    let split = NewEvent {
        metadata: Some(Json::from_text(format!("\"{}\"", "m".repeat(room / 2)))),
        ..event_with(3, &format!("\"{}\"", "p".repeat(room / 2 - 2)))
    };
    let events = vec![event_with(1, &ascii), event_with(2, &wide), split];
    assert_eq!(events[0].size(), Append::MAX_EVENT_BYTES);
    keeps(harness, events).await;
}

/// `None` and JSON's `null` are two things.
pub async fn metadata_is_kept_and_told_from_none(harness: &dyn StoreHarness) {
    let texts = [None, Some("null"), Some("{}"), Some(r#""""#), Some("{ \"z\":1,\"a\":\"é\" }")];
    let with = |(metadata, number): (&Option<&'static str>, _)| NewEvent {
        metadata: metadata.map(Json::from_text),
        ..event(number)
    };
    keeps(harness, texts.iter().zip(1..).map(with).collect()).await;
}

/// The ends of each range.
pub async fn times_types_and_schema_versions_are_kept(harness: &dyn StoreHarness) {
    let mut events = Vec::new();
    // Before 1970 is not representable; the last is the end of the year 9999.
    for time in [0, 1, 999, 1_700_000_000_001, 253_402_300_799_999] {
        events.push(NewEvent { recorded_at: Timestamp(time), ..event(events.len() as u64) });
    }
    for schema_version in [1, 255, 256, 32_767, 32_768, u16::MAX] {
        events.push(NewEvent { schema_version, ..event(events.len() as u64) });
    }
    let longest = "t".repeat(EventType::MAX_BYTES);
    for name in ["a", "A", "a ", "message.sent/v2", "日本語", "é", "e\u{301}", longest.as_str()]
    {
        let event_type = EventType::new(name).expect("a type within the rules");
        events.push(NewEvent { event_type, ..event(events.len() as u64) });
    }
    keeps(harness, events).await;
}

/// Names that a collation would take for one another, or that a query language would interpret.
const NAMES: [&str; 20] = [
    "chat/a",
    "chat/A",
    "chat/a ",
    " chat/a",
    "chat/á",
    "chat/a\u{301}",
    "chat/ａ",
    "chat/ß",
    "chat/ss",
    "chat/ı",
    "chat/i",
    "chat/%",
    "chat/_",
    "chat/*",
    "chat/[a]",
    "chat/'; --",
    "chat/\\",
    "chat/:a:$1?",
    "chat/😀",
    "chat/日本",
];

/// Each stream is its own, whatever its name looks like.
pub async fn stream_names_are_told_apart_by_their_bytes(harness: &dyn StoreHarness) {
    let store = harness.open().await;
    let longest = ["x", "y"].map(|end| "n".repeat(StreamId::MAX_BYTES - 1) + end);
    let names: Vec<_> =
        NAMES.into_iter().chain(longest.iter().map(String::as_str)).map(stream).collect();
    for (index, name) in names.iter().enumerate() {
        let index = index as u64;
        let two = vec![event(index * 2), event(index * 2 + 1)];
        write(&*store, name, Expected::NoStream, two).await;
    }
    for (index, name) in names.iter().enumerate() {
        let index = index as u64;
        assert_holds(&*store, name, [index * 2, index * 2 + 1]).await;
        let foreign = store.find(name, event(index * 2 + 2).id).await.expect("find");
        assert!(foreign.is_none(), "{name} holds the event of another stream");
    }
    assert_eq!(store.heads(&names).await.expect("heads"), vec![Version(2); names.len()]);
    let mut logged = 0;
    for partition in partitions(&*store).await {
        logged += read_log(&*store, partition, 3).await.len();
    }
    assert_eq!(logged, names.len() * 2);
    assert_eq!(store.head(&stream("chat")).await.expect("head"), Version::ZERO);
}

/// Ids are 128 bits without a meaning.
pub async fn ids_of_every_kind_are_kept(harness: &dyn StoreHarness) {
    let ids = [0, 1, u128::MAX, u128::MAX - 1, 1 << 127, 0x0190_0000_0000_4000_8000 << 48];
    let with =
        |(id, number): (&u128, _)| NewEvent { id: EventId(Uuid::from_u128(*id)), ..event(number) };
    keeps(harness, ids.iter().zip(1..).map(with).collect()).await;
}
