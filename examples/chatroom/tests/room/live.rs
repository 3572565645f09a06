//! People in a room, live.

use serde_json::{Value, json};

use super::program::Program;
use super::tab::{Tab, fresh_key};
use super::visitor::{Visitor, room_in_memory};

/// Ann and Bob, both looking at the lobby.
async fn two_in_the_lobby(url: &str) -> (Tab, Tab, String) {
    let ann = Visitor::registered(url, "ann").await;
    let bob = Visitor::registered(url, "bob").await;
    let (mut ann, mut bob) = (ann.tab().await, bob.tab().await);
    let lobby = ann.lobby().await;
    for tab in [&mut ann, &mut bob] {
        tab.ask("open", json!({ "room": lobby, "limit": 50 })).await;
    }
    (ann, bob, lobby)
}

#[tokio::test]
async fn a_message_reaches_the_other_as_it_was_written() {
    let room = room_in_memory().await;
    let (mut ann, mut bob, lobby) = two_in_the_lobby(&room.url()).await;
    let texts = [
        "Hello!",
        "<script>alert(1)</script><img src=x onerror=alert(1)>",
        "  two\n\nlines\t and  spaces ",
        "\u{0}\u{7f}\u{202e}right to left\u{feff}",
        "e\u{301} and \u{e9} are not made the same; 👩\u{200d}👩\u{200d}👧 stays one",
        "\"quotes\" \\ back\\slashes \\u0041 </textarea> {\"json\":1}",
    ];
    for text in texts {
        let sent = ann.say(&lobby, text).await;
        let event = bob.event("message_sent").await;
        assert_eq!(event["data"]["text"], text);
        assert_eq!(event["data"]["by"], "ann");
        assert_eq!((&event["id"], &event["v"]), (&sent["message"], &sent["seq"]));
    }
    let opened = bob.ask("open", json!({ "room": lobby, "limit": 50 })).await;
    let messages = opened["messages"].as_array().unwrap();
    let found: Vec<_> = messages.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(found, texts);
    room.shutdown().await;
}

#[tokio::test]
async fn edits_reactions_answers_and_deletions_are_seen_live() {
    let room = room_in_memory().await;
    let (mut ann, mut bob, lobby) = two_in_the_lobby(&room.url()).await;
    let message = ann.say(&lobby, "Teh answer").await["message"].clone();
    let about = |more: Value| {
        let mut fields = json!({ "room": lobby, "message": message, "command_id": fresh_key() });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };

    ann.ask("edit", about(json!({ "text": "The answer, @bob", "mentions": ["bob"] }))).await;
    let edited = bob.event("message_edited").await;
    assert_eq!(edited["data"]["text"], "The answer, @bob");
    assert_eq!(edited["data"]["mentions"], json!(["bob"]));

    bob.ask("react", about(json!({ "key": "🎉" }))).await;
    assert_eq!(ann.event("reaction_added").await["data"]["key"], "🎉");
    bob.ask("unreact", about(json!({ "key": "🎉" }))).await;
    assert_eq!(ann.event("reaction_removed").await["data"]["by"], "bob");

    let answer = json!({ "room": lobby, "client_message_id": fresh_key(), "text": "Right", "reply_to": { "message": message, "seq": 0 } });
    bob.ask("send", answer).await;
    let event = ann.event("message_sent").await;
    assert_eq!(
        (&event["data"]["by"], &event["data"]["reply_to"]["message"]),
        (&json!("bob"), &message)
    );

    assert_eq!(bob.refused("edit", about(json!({ "text": "mine now" }))).await, "forbidden");
    assert_eq!(bob.refused("delete", about(json!({}))).await, "forbidden");
    ann.ask("delete", about(json!({}))).await;
    bob.event("message_deleted").await;
    assert_eq!(bob.refused("react", about(json!({ "key": "👍" }))).await, "message_gone");
    let found = bob.ask("message", json!({ "room": lobby, "message": message })).await;
    assert_eq!(
        (found["message"]["text"].as_str(), &found["message"]["deleted"]["by"]),
        (Some(""), &json!("ann"))
    );
    room.shutdown().await;
}

#[tokio::test]
async fn a_command_that_is_repeated_happens_once() {
    let room = room_in_memory().await;
    let (mut ann, mut bob, lobby) = two_in_the_lobby(&room.url()).await;
    let fields = json!({ "room": lobby, "client_message_id": "key", "text": "once" });
    let first = ann.ask("send", fields.clone()).await;
    let second = ann.ask("send", fields).await;
    assert_eq!((&first["deduplicated"], &second["deduplicated"]), (&json!(false), &json!(true)));
    assert_eq!((&first["message"], &first["seq"]), (&second["message"], &second["seq"]));
    let other = json!({ "room": lobby, "client_message_id": "key", "text": "other" });
    assert_eq!(ann.refused("send", other).await, "key_reused");
    ann.say(&lobby, "end").await;
    assert_eq!(bob.event("message_sent").await["data"]["text"], "once");
    assert_eq!(bob.event("message_sent").await["data"]["text"], "end");
    room.shutdown().await;
}

#[tokio::test]
async fn typing_and_presence_are_told() {
    let room = room_in_memory().await;
    let (mut ann, mut bob, lobby) = two_in_the_lobby(&room.url()).await;
    ann.ask("typing", json!({ "room": lobby, "on": true })).await;
    let typing = |said: &Value, on: bool| {
        said["push"] == "typing" && said["user"] == "ann" && said["on"] == on
    };
    bob.pushed("typing", |said| typing(said, true)).await;
    ann.ask("typing", json!({ "room": lobby, "on": false })).await;
    bob.pushed("the end of typing", |said| typing(said, false)).await;

    let carol = Visitor::registered(&room.url(), "carol").await.tab().await;
    let online = |said: &Value| {
        said["push"] == "presence" && said["user"] == "carol" && said["online"] == true
    };
    bob.pushed("carol", online).await;
    let opened = bob.ask("open", json!({ "room": lobby, "limit": 1 })).await;
    let members = opened["members"].as_array().unwrap();
    assert!(members.iter().all(|member| member["online"] == true), "{members:?}");
    drop(carol);
    room.shutdown().await;
}

#[tokio::test]
async fn two_tabs_of_one_person_are_in_step() {
    let room = room_in_memory().await;
    let visitor = Visitor::registered(&room.url(), "ann").await;
    let (mut here, mut there) = (visitor.tab().await, visitor.tab().await);
    let lobby = here.lobby().await;
    there.ask("open", json!({ "room": lobby, "limit": 50 })).await;
    let sent = here.say(&lobby, "from here").await;
    assert_eq!(there.event("message_sent").await["id"], sent["message"]);

    // Read in one tab, the badge goes in the other.
    let mut bob = Visitor::registered(&room.url(), "bob").await.tab().await;
    let sent = bob.say(&lobby, "to both").await;
    let badge =
        |said: &Value, unread: u64| said["push"] == "chat" && said["chat"]["unread"] == unread;
    there.pushed("the badge", |said| badge(said, 1)).await;
    let read = json!({ "room": lobby, "up_to": sent["seq"], "command_id": fresh_key() });
    here.ask("mark_read", read).await;
    there.pushed("the badge's end", |said| badge(said, 0)).await;
    room.shutdown().await;
}

#[tokio::test]
async fn the_list_counts_unread_messages_and_mentions() {
    let room = room_in_memory().await;
    let mut ann = Visitor::registered(&room.url(), "ann").await.tab().await;
    let mut bob = Visitor::registered(&room.url(), "bob").await.tab().await;
    let lobby = ann.lobby().await;
    ann.say(&lobby, "one").await;
    let mention = json!({ "room": lobby, "client_message_id": fresh_key(), "text": "@bob", "mentions": ["bob"] });
    ann.ask("send", mention).await;
    let list = bob.ask("chats", json!({ "limit": 50 })).await;
    let chat = &list["chats"][0];
    assert_eq!((&chat["unread"], &chat["mentions"]), (&json!(2), &json!(1)));
    assert_eq!(chat["preview"], json!({ "author": "ann", "text": "@bob" }));
    room.shutdown().await;
}

#[tokio::test]
async fn everybody_can_open_a_room_enter_it_and_leave_it() {
    let room = room_in_memory().await;
    let (mut ann, mut bob, _) = two_in_the_lobby(&room.url()).await;
    let made = ann.ask("create_room", json!({ "name": "  Tea   time " })).await["room"].clone();
    bob.pushed("the new room", |said| said["push"] == "rooms").await;
    let rooms = bob.ask("rooms", json!({})).await;
    assert_eq!(rooms["rooms"], json!([{ "room": made, "name": "Tea time", "members": 2 }]));
    assert_eq!(bob.refused("create_room", json!({ "name": "TEA TIME" })).await, "name_taken");
    assert_eq!(ann.ask("create_room", json!({ "name": "Tea time" })).await["room"], made);
    assert_eq!(ann.refused("create_room", json!({ "name": "\u{202e}" })).await, "bad_name");

    assert_eq!(bob.refused("open", json!({ "room": made, "limit": 9 })).await, "not_member");
    bob.ask("join", json!({ "room": made, "command_id": fresh_key() })).await;
    let opened = bob.ask("open", json!({ "room": made, "limit": 9 })).await;
    assert_eq!(opened["chat"]["name"], "Tea time");
    assert_eq!(bob.ask("rooms", json!({})).await["rooms"], json!([]));

    bob.ask("leave", json!({ "room": made, "command_id": fresh_key() })).await;
    bob.pushed("the end", |said| said["push"] == "ended" && said["reason"] == "left").await;
    bob.pushed("the end in the list", |said| said["push"] == "chat_gone" && said["room"] == made)
        .await;
    let rooms = bob.ask("rooms", json!({})).await;
    assert_eq!(rooms["rooms"][0]["room"], made, "it can be entered again");
    assert_eq!(
        bob.refused("send", json!({ "room": made, "client_message_id": "k", "text": "x" })).await,
        "not_member"
    );
    assert_eq!(
        ann.refused("leave", json!({ "room": made, "command_id": fresh_key() })).await,
        "last_owner"
    );
    room.shutdown().await;
}

#[tokio::test]
async fn a_direct_chat_is_the_same_from_both_sides_and_hidden_until_somebody_writes() {
    let room = room_in_memory().await;
    let (mut ann, mut bob, _) = two_in_the_lobby(&room.url()).await;
    let direct = ann.ask("open_direct", json!({ "user": "bob" })).await["room"].clone();
    let before = bob.ask("chats", json!({ "limit": 50 })).await;
    assert_eq!(before["chats"].as_array().unwrap().len(), 1, "an empty direct chat");
    ann.say(direct.as_str().unwrap(), "psst").await;
    let told = bob
        .pushed("the direct chat", |said| said["push"] == "chat" && said["chat"]["room"] == direct)
        .await;
    assert_eq!((&told["chat"]["unread"], &told["chat"]["others"]), (&json!(1), &json!(["ann"])));
    assert_eq!(bob.ask("open_direct", json!({ "user": "ann" })).await["room"], direct);
    assert_eq!(ann.refused("open_direct", json!({ "user": "nobody" })).await, "no_user");

    let mut carol = Visitor::registered(&room.url(), "carol").await.tab().await;
    assert_eq!(carol.refused("open", json!({ "room": direct, "limit": 9 })).await, "not_member");
    assert_eq!(
        carol.refused("join", json!({ "room": direct, "command_id": "j" })).await,
        "not_member"
    );
    room.shutdown().await;
}

#[tokio::test]
async fn history_pages_give_every_message_once() {
    let room = room_in_memory().await;
    let (mut ann, mut bob, lobby) = two_in_the_lobby(&room.url()).await;
    for n in 0..57 {
        ann.say(&lobby, &n.to_string()).await;
    }
    let opened = bob.ask("open", json!({ "room": lobby, "limit": 10 })).await;
    let mut pages = vec![opened.clone()];
    while pages.last().unwrap()["found_oldest"] == false {
        let before = pages.last().unwrap()["before"].clone();
        pages.push(
            bob.ask("history", json!({ "room": lobby, "before": before, "limit": 10 })).await,
        );
    }
    let messages = pages.iter().rev().flat_map(|page| page["messages"].as_array().unwrap());
    let texts: Vec<_> = messages.map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, (0..57).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(pages.len(), 6);
    room.shutdown().await;
}

#[tokio::test]
async fn the_assistant_answers_when_mentioned_and_says_that_it_is_offline() {
    let room = room_in_memory().await;
    let (mut ann, mut bob, lobby) = two_in_the_lobby(&room.url()).await;
    ann.say(&lobby, "not to you").await;
    let question = json!({ "room": lobby, "client_message_id": fresh_key(), "text": "@assistant, what is 6 × 7?", "mentions": ["assistant"] });
    let question = ann.ask("send", question).await;
    for text in ["not to you", "@assistant, what is 6 × 7?"] {
        assert_eq!(bob.event("message_sent").await["data"]["text"], text);
    }
    let answer = bob.event("message_sent").await;
    assert_eq!(answer["data"]["by"], "assistant");
    assert_eq!(answer["data"]["reply_to"]["message"], question["message"]);
    let text = answer["data"]["text"].as_str().unwrap();
    assert!(text.contains("OPENAI_API_KEY") && !text.contains("42"), "{text}");

    let direct = ann.ask("open_direct", json!({ "user": "assistant" })).await["room"].clone();
    ann.ask("open", json!({ "room": direct, "limit": 9 })).await;
    ann.say(direct.as_str().unwrap(), "hello").await;
    ann.pushed("the answer", |said| {
        said["room"] == direct
            && said["events"].as_array().is_some_and(|events| {
                events.iter().any(|event| {
                    event["type"] == "message_sent" && event["data"]["by"] == "assistant"
                })
            })
    })
    .await;
    room.shutdown().await;
}

/// Opening, writing and the pushes of the list meet in every connection, on one chat.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tabs_that_open_and_write_at_once_all_get_their_answers() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start(&directory.path().join("room.db"), 0).await;
    let visitor = Visitor::registered(&program.url, "ann").await;
    let lobby = visitor.tab().await.lobby().await;
    let tabs = (0..8).map(|n| {
        let (visitor, lobby) = (visitor.clone(), lobby.clone());
        tokio::spawn(async move {
            let mut tab = visitor.tab().await;
            for _ in 0..60 {
                tab.ask("open", json!({ "room": lobby, "limit": 5 })).await;
                tab.say(&lobby, &format!("of tab {n}")).await;
            }
        })
    });
    for tab in futures::future::join_all(tabs).await {
        tab.unwrap();
    }
    program.terminate().await;
}
