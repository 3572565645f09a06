//! After a cut: nothing missing, nothing doubled.

use serde_json::{Value, json};

use super::tab::{Tab, fresh_key};
use super::visitor::{Visitor, room_in_memory};

/// The versions and texts of messages up to one with this text, and the token behind them.
async fn messages_up_to(tab: &mut Tab, end: &str) -> (Vec<(u64, String)>, Value) {
    let mut found = Vec::new();
    loop {
        let said = tab.pushed(end, |said| said["push"] == "events").await;
        for event in said["events"].as_array().unwrap() {
            if event["type"] == "message_sent" {
                let text = event["data"]["text"].as_str().unwrap().to_owned();
                found.push((event["v"].as_u64().unwrap(), text));
            }
        }
        if found.last().is_some_and(|(_, text)| text == end) {
            return (found, said["token"].clone());
        }
    }
}

#[tokio::test]
async fn a_token_brings_what_was_missed_and_nothing_else() {
    let room = room_in_memory().await;
    let visitor = Visitor::registered(&room.url(), "ann").await;
    let mut bob = Visitor::registered(&room.url(), "bob").await.tab().await;
    let mut ann = visitor.tab().await;
    let lobby = ann.lobby().await;
    ann.ask("open", json!({ "room": lobby, "limit": 50 })).await;
    bob.say(&lobby, "seen").await;
    let (_, token) = messages_up_to(&mut ann, "seen").await;
    drop(ann);

    let missed = bob.say(&lobby, "missed").await;
    let edit = json!({ "room": lobby, "message": missed["message"], "text": "missed, edited", "command_id": fresh_key() });
    bob.ask("edit", edit).await;
    let mut expected = vec!["missed".to_owned()];
    for n in 0..300 {
        bob.say(&lobby, &n.to_string()).await;
        expected.push(n.to_string());
    }
    // Two tabs resume from the same place at once, and each gets everything.
    let (mut here, mut there) = (visitor.tab().await, visitor.tab().await);
    for tab in [&mut here, &mut there] {
        let resumed = tab.ask("resume", json!({ "room": lobby, "token": token })).await;
        assert_eq!(resumed["chat"]["unread"], 302);
    }
    bob.say(&lobby, "live").await;
    expected.push("live".to_owned());
    for tab in [&mut here, &mut there] {
        let (found, _) = messages_up_to(tab, "live").await;
        let versions: Vec<_> = found.iter().map(|(version, _)| *version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        let texts: Vec<_> = found.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, expected);
    }
    room.shutdown().await;
}

#[tokio::test]
async fn a_token_that_was_changed_is_refused_and_opening_anew_works() {
    let room = room_in_memory().await;
    let mut ann = Visitor::registered(&room.url(), "ann").await.tab().await;
    let lobby = ann.lobby().await;
    let opened = ann.ask("open", json!({ "room": lobby, "limit": 50 })).await;
    let token = opened["token"].as_str().unwrap();
    let changed = format!("{}{}", if token.starts_with('A') { "B" } else { "A" }, &token[1..]);
    let other = ann.ask("create_room", json!({ "name": "Other" })).await["room"].clone();
    for (room, token) in
        [(json!(lobby), changed.as_str()), (json!(lobby), ""), (json!(lobby), "x"), (other, token)]
    {
        let refused = ann.refused("resume", json!({ "room": room, "token": token })).await;
        assert_eq!(refused, "invalid_token", "{room} {token}");
    }
    ann.ask("open", json!({ "room": lobby, "limit": 50 })).await;
    ann.say(&lobby, "works").await;
    ann.event("message_sent").await;
    room.shutdown().await;
}

#[tokio::test]
async fn a_room_that_is_closed_in_a_tab_is_silent_and_goes_on_where_it_was() {
    let room = room_in_memory().await;
    let mut ann = Visitor::registered(&room.url(), "ann").await.tab().await;
    let lobby = ann.lobby().await;
    let opened = ann.ask("open", json!({ "room": lobby, "limit": 50 })).await;
    ann.ask("close", json!({ "room": lobby })).await;
    ann.say(&lobby, "unheard").await;
    // The list still tells, the room does not.
    let said =
        ann.pushed("the list", |said| said["push"] == "chat" || said["push"] == "events").await;
    assert_eq!(said["push"], "chat");
    ann.ask("resume", json!({ "room": lobby, "token": opened["token"] })).await;
    assert_eq!(ann.event("message_sent").await["data"]["text"], "unheard");
    room.shutdown().await;
}
