//! What somebody who means harm, or a broken program, can send.

use std::time::Duration;

use futures::SinkExt as _;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::tab::{Tab, fresh_key};
use super::visitor::{Visitor, room_in_memory};
use super::within;

#[tokio::test]
async fn nonsense_is_refused_and_the_connection_goes_on() {
    let room = room_in_memory().await;
    let mut tab = Visitor::registered(&room.url(), "ann").await.tab().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (text, id) in [
        ("", json!(null)),
        ("{", json!(null)),
        ("null", json!(null)),
        (deep.as_str(), json!(null)),
        (r#"{"id":1}"#, json!(1)),
        (r#"{"id":2,"op":"shutdown"}"#, json!(2)),
        (r#"{"id":3,"op":"open","room":"../../etc/passwd","limit":5}"#, json!(3)),
        (r#"{"id":4,"op":"open","room":"x","limit":-5}"#, json!(4)),
        (r#"{"id":5,"op":"send","room":"x","client_message_id":"","text":"x"}"#, json!(5)),
        (
            r#"{"id":6,"op":"edit","room":"x","message":"'; drop table chat_events; --","text":"","command_id":"1"}"#,
            json!(6),
        ),
        (r#"{"id":7,"op":"typing","room":"a{b}","on":true}"#, json!(7)),
        (r#"{"id":8,"op":"rooms","op":"chats"}"#, json!(8)),
    ] {
        tab.send_raw(text).await;
        let said = within("an answer", tab.read()).await.unwrap();
        assert_eq!(said["re"], id, "{text}");
        assert_eq!(said["error"]["code"], "bad_request", "{text}");
    }
    tab.ask("ping", json!({})).await;
    room.shutdown().await;
}

#[tokio::test]
async fn rooms_that_do_not_exist_and_rooms_of_others_look_the_same() {
    let room = room_in_memory().await;
    let mut ann = Visitor::registered(&room.url(), "ann").await.tab().await;
    let mut eve = Visitor::registered(&room.url(), "eve").await.tab().await;
    let bob = Visitor::registered(&room.url(), "bob").await;
    let direct = ann.ask("open_direct", json!({ "user": "bob" })).await["room"].clone();
    let sent = ann.say(direct.as_str().unwrap(), "secret").await;
    let opened = ann.ask("open", json!({ "room": direct, "limit": 5 })).await;
    let nowhere = json!("direct-00000000000000000000000000000000");
    let asks = |room: &serde_json::Value| {
        let message = &sent["message"];
        [
            ("open", json!({ "room": room, "limit": 5 })),
            ("history", json!({ "room": room, "before": 100, "limit": 5 })),
            ("message", json!({ "room": room, "message": message })),
            ("send", json!({ "room": room, "client_message_id": "k", "text": "x" })),
            ("edit", json!({ "room": room, "message": message, "text": "x", "command_id": "1" })),
            ("delete", json!({ "room": room, "message": message, "command_id": "2" })),
            ("react", json!({ "room": room, "message": message, "key": "x", "command_id": "3" })),
            ("mark_read", json!({ "room": room, "up_to": 5, "command_id": "4" })),
            ("typing", json!({ "room": room, "on": true })),
            ("join", json!({ "room": room, "command_id": "5" })),
            ("leave", json!({ "room": room, "command_id": "6" })),
            ("members", json!({ "room": room })),
        ]
    };
    for ((op, theirs), (_, none)) in asks(&direct).into_iter().zip(asks(&nowhere)) {
        let refusals = (eve.try_ask(op, theirs).await, eve.try_ask(op, none).await);
        assert!(refusals.0.is_err(), "{op} was allowed");
        assert_eq!(refusals.0, refusals.1, "{op} tells a room of others from none");
    }
    // A token is for the one who got it.
    let stolen = json!({ "room": direct, "token": opened["token"] });
    assert_eq!(eve.refused("resume", stolen.clone()).await, "invalid_token");
    assert_eq!(bob.tab().await.refused("resume", stolen).await, "invalid_token");
    room.shutdown().await;
}

#[tokio::test]
async fn a_message_of_another_room_is_out_of_reach() {
    let room = room_in_memory().await;
    let mut ann = Visitor::registered(&room.url(), "ann").await.tab().await;
    let mut eve = Visitor::registered(&room.url(), "eve").await.tab().await;
    let direct = ann.ask("open_direct", json!({ "user": "ann" })).await["room"].clone();
    let secret = ann.say(direct.as_str().unwrap(), "secret").await["message"].clone();
    let lobby = eve.lobby().await;
    assert_eq!(
        eve.refused("message", json!({ "room": lobby, "message": secret })).await,
        "no_message"
    );
    let answer = json!({ "room": lobby, "client_message_id": "k", "text": "x", "reply_to": { "message": secret } });
    assert_eq!(eve.refused("send", answer).await, "no_message");
    room.shutdown().await;
}

#[tokio::test]
async fn a_huge_message_ends_the_connection_and_nothing_else() {
    let room = room_in_memory().await;
    let visitor = Visitor::registered(&room.url(), "ann").await;
    let mut tab = visitor.tab().await;
    let lobby = tab.lobby().await;
    let text = "x".repeat(10_001);
    let long = json!({ "room": lobby, "client_message_id": "k", "text": text });
    assert_eq!(tab.refused("send", long).await, "limit_exceeded");
    // The longest text that is allowed, in the longest way to write it.
    let text = "\u{1f600}".repeat(10_000);
    let escaped = "\\ud83d\\ude00".repeat(10_000);
    tab.send_raw(&format!(
        r#"{{"id":900,"op":"send","room":{lobby:?},"client_message_id":"long","text":"{escaped}"}}"#
    ))
    .await;
    let said = within("the answer", tab.read()).await.unwrap();
    assert_eq!(said["re"], 900);
    assert!(said["ok"]["seq"].is_u64(), "{said}");
    let opened = tab.ask("open", json!({ "room": lobby, "limit": 1 })).await;
    assert_eq!(opened["messages"][0]["text"], text);

    // The server may be gone before everything is sent.
    let _ = tab.socket.send(Message::text("x".repeat(4 << 20))).await;
    let code = tab.close_code().await;
    assert!([1009, 1006].contains(&code), "{code}");
    visitor.tab().await.ask("ping", json!({})).await;
    room.shutdown().await;
}

#[tokio::test]
async fn binary_messages_are_not_spoken_here() {
    let room = room_in_memory().await;
    let mut tab = Visitor::registered(&room.url(), "ann").await.tab().await;
    tab.socket.send(Message::binary(vec![0_u8; 16])).await.unwrap();
    assert_eq!(tab.close_code().await, 1003);
    room.shutdown().await;
}

/// Reads nothing while others talk: it is cut off, the others notice nothing, and with its token it
/// gets what it missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_cut_off_and_can_resume() {
    let room = room_in_memory().await;
    let slow = Visitor::registered(&room.url(), "slow").await;
    let mut ann = Visitor::registered(&room.url(), "ann").await.tab().await;
    let mut bob = Visitor::registered(&room.url(), "bob").await.tab().await;
    let lobby = ann.lobby().await;
    bob.ask("open", json!({ "room": lobby, "limit": 1 })).await;
    let mut sleeper = Tab::with_small_buffer(&slow).await;
    let opened = sleeper.ask("open", json!({ "room": lobby, "limit": 1 })).await;

    let text = "z".repeat(10_000);
    let mut sent = Vec::new();
    for _ in 0..800 {
        let event = ann.say(&lobby, &text).await;
        sent.push(event["seq"].as_u64().unwrap());
        bob.event("message_sent").await;
    }
    let (mut seen, mut token) = (Vec::new(), opened["token"].clone());
    let mut take = |said: &serde_json::Value| {
        let Some(events) = said["events"].as_array() else { return };
        let events = events.iter().filter(|event| event["type"] == "message_sent");
        seen.extend(events.map(|event| event["v"].as_u64().unwrap()));
        if said["token"].is_string() {
            token = said["token"].clone();
        }
    };
    // It wakes up: what was on its way comes, then the end.
    let code = within("the cut", async {
        loop {
            match sleeper.read().await {
                Ok(said) => take(&said),
                Err(frame) => return frame.map_or(1006, |frame| u16::from(frame.code)),
            }
        }
    })
    .await;
    assert!([4408, 1006].contains(&code), "{code}");
    drop(sleeper);
    let mut again = slow.tab().await;
    again.ask("resume", json!({ "room": lobby, "token": token })).await;
    let last = sent.last().copied();
    assert_ne!(seen.last().copied(), last, "it was never behind");
    while seen.last().copied() != last {
        let said = again.pushed("what was missed", |said| said["push"] == "events").await;
        let events = said["events"].as_array().unwrap();
        let fresh = events.iter().filter(|event| event["type"] == "message_sent");
        seen.extend(fresh.map(|event| event["v"].as_u64().unwrap()));
    }
    seen.dedup();
    assert_eq!(seen, sent);
    room.shutdown().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let room = room_in_memory().await;
    let mut silent = TcpStream::connect(room.address()).await.unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    let mut tab = Visitor::registered(&room.url(), "ann").await.tab().await;
    let lobby = tab.lobby().await;
    tab.ask("send", json!({ "room": lobby, "client_message_id": fresh_key(), "text": "x" })).await;
    let (ended, code) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(30), room.shutdown()),
        tab.close_code()
    );
    assert!(ended.is_ok(), "the room did not end");
    assert_eq!(code, 1012);
}
