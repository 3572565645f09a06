//! The page itself, in a real browser.

use serde_json::json;

use super::driver::{Browser, Driver};
use super::program::Program;
use super::tab::fresh_key;
use super::visitor::{PASSWORD, Visitor, room_in_memory};

async fn enter(browser: &Browser, url: &str, name: &str) {
    browser.goto(url).await;
    browser.click("#mode-register").await;
    browser.keys("#name", name).await;
    browser.keys("#password", PASSWORD).await;
    browser.click("#login-submit").await;
    browser.shows("#chat-name", "Lobby").await;
    browser.until("document.querySelector('#beginning')?.checkVisibility()").await;
}

/// Writes a message and waits until the server has it.
async fn say(browser: &Browser, text: &str) {
    browser.keys("#text", &format!("{text}\u{e007}")).await;
    browser.shows("#messages .message.own:not(.pending) .text", text).await;
}

/// Uses a tool of a message, found by a piece of its text.
async fn tool(browser: &Browser, text: &str, tool: &str) {
    let (text, tool) = (json!(text), json!(tool));
    browser
        .eval(&format!(
            "[...document.querySelectorAll('.message')].find((found) => found.querySelector('.text').textContent.includes({text}))
              .querySelector(`[data-focus=\"${{{tool}}}\"]`).click()"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_talk_in_their_browsers() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start(&directory.path().join("room.db"), 0).await;
    let driver = Driver::start().await;
    let (ann, bob) = (driver.browser().await, driver.browser().await);
    ann.goto(&program.url).await;
    ann.shows("#login-title", "Welcome").await;
    ann.picture("login").await;
    enter(&ann, &program.url, "ann").await;
    enter(&bob, &program.url, "bob").await;

    // They see each other.
    ann.shows(".member[data-user='bob'][data-online='true']", "bob").await;
    bob.shows(".member[data-user='ann'][data-online='true']", "ann").await;
    ann.shows(".notice", "bob entered").await;

    // What one types the other sees coming, and then has.
    ann.keys("#text", "Hello").await;
    bob.shows("#typing", "ann is typing").await;
    ann.keys("#text", ", is anybody here?\u{e007}").await;
    bob.shows(".message:not(.own) .text", "Hello, is anybody here?").await;
    bob.until("document.querySelector('#typing').textContent === ''").await;
    say(&bob, "I am, @ann!").await;
    ann.shows(".message.to-me .mention.mine", "@ann").await;

    // Reactions, both ways.
    tool(&bob, "is anybody here", "react").await;
    bob.click(".tools .pick[aria-label='React with 👍']").await;
    ann.shows(".message.own .chip", "👍1").await;
    ann.click(".message.own .chip").await;
    bob.shows(".message:not(.own) .chip", "👍2").await;

    // Answers, edits, deletions.
    tool(&ann, "I am, @ann!", "reply").await;
    say(&ann, "Good to see you").await;
    bob.shows(".message:not(.own) .quote", "I am, @ann!").await;
    ann.keys("#text", "\u{e013}").await;
    ann.shows("#context-text", "Editing").await;
    ann.keys("#text", " here\u{e007}").await;
    bob.shows(".message:not(.own) .text", "Good to see you here").await;
    bob.shows(".message:not(.own) .edited", "edited").await;
    tool(&ann, "is anybody here", "delete").await;
    ann.click("#dialog-ok").await;
    bob.shows(".message .text.gone", "This message was deleted").await;

    // The assistant is one of them, and says what it is.
    say(&bob, "@assistant, what do you know of https://example.org/tea?").await;
    ann.shows(".message .badge.bot", "bot").await;
    ann.shows(".message .text", "OPENAI_API_KEY").await;
    ann.shows(".message .quote", "what do you know").await;
    ann.keys("#text", "Two lines\u{e008}\u{e007}\u{e008}in one message\u{e007}").await;
    bob.shows(".message:not(.own) .text", "Two lines\nin one message").await;
    for key in ["👍", "😂"] {
        tool(&bob, "Two lines", "react").await;
        bob.click(&format!(".tools .pick[aria-label='React with {key}']")).await;
        ann.shows(".chip", &format!("{key}1")).await;
    }
    ann.until("!document.querySelector('#chats .badge')").await;
    ann.picture("room").await;
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    ann.devtools("Emulation.setEmulatedMedia", dark).await;
    ann.picture("room-dark").await;

    assert_eq!(ann.complaints().await, Vec::<String>::new());
    assert_eq!(bob.complaints().await, Vec::<String>::new());
    ann.close().await;
    bob.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_write_is_shown_as_it_is_and_never_runs() {
    let room = room_in_memory().await;
    let driver = Driver::start().await;
    let ann = driver.browser().await;
    enter(&ann, &room.url(), "ann").await;
    let mut eve = Visitor::registered(&room.url(), "eve").await.tab().await;
    let lobby = eve.lobby().await;
    let texts = [
        "<script>window.hacked = 1</script>",
        "<img src=x onerror=\"window.hacked = 1\">",
        "<svg/onload=window.hacked=1> &lt;b&gt; &amp;",
        "javascript:window.hacked=1 [x](javascript:window.hacked=1)",
        "https://example.org/\"onmouseover=\"window.hacked=1 and https://example.org/?a=1&b=<2>.",
        "  spaces  \n\n\tand\r\nlines\n",
        "\u{202e}backwards\u{202c} \u{0}\u{1b}[31m \u{feff}e\u{301}",
        "@ann @ann. @all @nobody x@ann {{7*7}} ${7*7} %s",
        "</textarea></script><style>*{display:none}</style>",
    ];
    for text in texts {
        let key = fresh_key();
        let message = json!({ "room": lobby, "client_message_id": key, "text": text, "mentions": ["ann"], "mention_all": true });
        eve.ask("send", message).await;
    }
    eve.ask("create_room", json!({ "name": "<img src=x onerror=window.hacked=1>" })).await;
    ann.until(&format!("document.querySelectorAll('.message .text').length === {}", texts.len()))
        .await;
    ann.shows("#rooms .name", "<img src=x onerror=window.hacked=1>").await;
    assert_eq!(ann.texts(".message .text").await, texts);
    // Only http links became links, and they are what they say.
    let links =
        ann.eval("[...document.querySelectorAll('.text a')].map((link) => link.href)").await;
    assert_eq!(links, json!(["https://example.org/", "https://example.org/?a=1&b="]));
    let strange = ann
        .eval("document.querySelectorAll('#app :is(script, style, img, svg[onload])').length")
        .await;
    assert_eq!(strange, 0);
    assert_eq!(ann.eval("window.hacked === undefined").await, true);
    assert_eq!(ann.complaints().await, Vec::<String>::new());
    ann.close().await;
    room.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_goes_on_after_the_server_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("room.db");
    let program = Program::start(&file, 0).await;
    let (url, port) = (program.url.clone(), program.port());
    let driver = Driver::start().await;
    let (ann, bob) = (driver.browser().await, driver.browser().await);
    enter(&ann, &url, "ann").await;
    enter(&bob, &url, "bob").await;
    let carol = Visitor::registered(&url, "carol").await;
    let lobby = carol.tab().await.lobby().await;
    say(&ann, "before").await;
    bob.shows(".message .text", "before").await;

    program.kill().await;
    ann.shows("#banner", "Reconnecting").await;
    ann.keys("#text", "while it was gone\u{e007}").await;
    ann.shows(".message.pending .text", "while it was gone").await;
    // This one's page is closed with the message unsent.
    bob.keys("#text", "kept for later\u{e007}").await;
    bob.shows(".message.pending .text", "kept for later").await;
    bob.goto("about:blank").await;

    let program = Program::start(&file, port).await;
    let mut tab = carol.tab().await;
    tab.say(&lobby, "first after").await;
    ann.shows(".message.own:not(.pending) .text", "while it was gone").await;
    ann.shows(".message .text", "first after").await;
    ann.until("document.querySelector('#banner').hidden").await;
    bob.goto(&url).await;
    bob.shows(".message.own:not(.pending) .text", "kept for later").await;
    ann.shows(".message:not(.own) .text", "kept for later").await;

    tab.say(&lobby, "end").await;
    let opened = tab.ask("open", json!({ "room": lobby, "limit": 50 })).await;
    let messages = opened["messages"].as_array().unwrap();
    let stored: Vec<_> = messages.iter().map(|message| message["text"].as_str().unwrap()).collect();
    let mut sorted = stored.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["before", "end", "first after", "kept for later", "while it was gone"]);
    for browser in [&ann, &bob] {
        browser.shows(".message .text", "end").await;
        assert_eq!(browser.texts(".message .text").await, stored);
    }
    // It stops in order, with pages open.
    assert_eq!(program.terminate().await.0, Some(0));
    ann.shows("#banner", "Reconnecting").await;
    ann.close().await;
    bob.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_direct_chats_and_badges() {
    let room = room_in_memory().await;
    let driver = Driver::start().await;
    let (ann, bob) = (driver.browser().await, driver.browser().await);
    enter(&ann, &room.url(), "ann").await;
    enter(&bob, &room.url(), "bob").await;

    ann.click("#new-room").await;
    ann.keys("#dialog-input", "Tea time\u{e007}").await;
    ann.shows("#chat-name", "Tea time").await;
    say(&ann, "Anybody for tea?").await;
    bob.shows("#rooms .name", "Tea time").await;
    bob.click("#rooms .chat").await;
    bob.shows(".message .text", "Anybody for tea?").await;
    ann.shows(".notice", "bob entered").await;

    // Bob is in the new room; what is said in the lobby is counted.
    ann.click("#chats .chat:not(.current)").await;
    ann.shows("#chat-name", "Lobby").await;
    say(&ann, "In the lobby").await;
    ann.keys("#text", "@bo").await;
    ann.shows("#suggestions [role=option]", "bob").await;
    ann.keys("#text", "\u{e007}come here\u{e007}").await;
    bob.shows("#chats .chat.unread .badge", "2").await;
    bob.shows("#chats .chat.unread .badge.at", "@").await;
    bob.until("document.title.startsWith('(2) Tea time')").await;
    bob.picture("badges").await;
    bob.click("#chats .chat.unread").await;
    bob.shows("#chat-name", "Lobby").await;
    bob.shows(".unread-line", "New").await;
    bob.shows(".message.to-me .mention.mine", "@bob").await;
    bob.until("!document.querySelector('#chats .badge')").await;
    bob.until("document.title === 'Lobby · Chat room'").await;

    // A direct chat, from the list of members.
    bob.click(".member[data-user='ann'] button").await;
    bob.shows("#chat-name", "ann").await;
    say(&bob, "Just between us").await;
    ann.shows("#chats .chat.unread .name", "bob").await;
    ann.click("#chats .chat.unread").await;
    ann.shows(".message .text", "Just between us").await;
    ann.click("#new-direct").await;
    ann.keys("#dialog-input", "nobody\u{e007}").await;
    ann.shows("#dialog-error", "Nobody here has this name").await;
    ann.click("#dialog-cancel").await;

    // Going back in the browser goes back to the room before; a reload stays.
    ann.eval("history.back()").await;
    ann.shows("#chat-name", "Lobby").await;
    ann.reload().await;
    ann.shows("#chat-name", "Lobby").await;
    ann.shows(".message .text", "In the lobby").await;

    // Leaving.
    bob.click("#chats .chat:nth-child(1)").await;
    bob.until("document.querySelector('#chat-name').textContent.length > 0").await;
    bob.eval("[...document.querySelectorAll('#chats .chat')].find((chat) => chat.textContent.includes('Tea time')).click()").await;
    bob.shows("#chat-name", "Tea time").await;
    bob.click("#leave").await;
    bob.click("#dialog-ok").await;
    bob.shows("#rooms .name", "Tea time").await;
    assert_eq!(ann.complaints().await, Vec::<String>::new());
    assert_eq!(bob.complaints().await, Vec::<String>::new());
    ann.close().await;
    bob.close().await;
    room.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_messages_come_when_one_scrolls_up() {
    let room = room_in_memory().await;
    let mut bob = Visitor::registered(&room.url(), "bob").await.tab().await;
    let lobby = bob.lobby().await;
    let first = bob.say(&lobby, "0").await["message"].clone();
    for n in 1..180 {
        bob.say(&lobby, &n.to_string()).await;
    }
    bob.ask("send", json!({ "room": lobby, "client_message_id": "answer", "text": "180", "reply_to": { "message": first } })).await;
    let driver = Driver::start().await;
    let ann = driver.browser().await;
    ann.goto(&room.url()).await;
    ann.click("#mode-register").await;
    ann.keys("#name", "ann").await;
    ann.keys("#password", &format!("{PASSWORD}\u{e007}")).await;
    ann.shows(".message .text", "180").await;
    ann.shows(".message .quote", "bob0").await;
    assert_eq!(ann.texts(".message .text").await.len(), 50);
    // What changes while the older page is on its way is in it.
    ann.eval("document.querySelector('#timeline').scrollTop = 0").await;
    bob.ask("react", json!({ "room": lobby, "message": first, "key": "👍", "command_id": "r" }))
        .await;
    // The answer's quote leads to the very first message, wherever it is.
    ann.click(".message .quote").await;
    ann.shows(".message.found .text", "0").await;
    ann.shows(".message .chip", "👍1").await;
    ann.shows("#beginning", "begins").await;
    let expected: Vec<_> = (0..=180).map(|n| n.to_string()).collect();
    assert_eq!(ann.texts(".message .text").await, expected);
    ann.click("#jump-latest").await;
    ann.until("document.querySelector('#jump-latest').hidden").await;
    ann.close().await;
    room.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_in_and_out_on_the_page() {
    let room = room_in_memory().await;
    let url = room.url();
    let ann = Visitor::registered(&url, "ann").await;
    let driver = Driver::start().await;
    let browser = driver.browser().await;
    browser.goto(&url).await;
    browser.keys("#name", "ann").await;
    browser.keys("#password", "not the password\u{e007}").await;
    browser.shows("#login-error", "The name or the password is wrong.").await;
    browser.eval("document.querySelector('#password').value = ''").await;
    browser.keys("#password", &format!("{PASSWORD}\u{e007}")).await;
    browser.shows("#chat-name", "Lobby").await;
    browser.shows("#me", "ann").await;
    // A script cannot read the session.
    assert_eq!(browser.eval("document.cookie").await, "");
    browser.click("#logout").await;
    browser.shows("#login-title", "Welcome").await;
    browser.reload().await;
    browser.shows("#login-title", "Welcome").await;

    // Logged out elsewhere, with the page open.
    browser.keys("#name", "ann").await;
    browser.keys("#password", &format!("{PASSWORD}\u{e007}")).await;
    browser.shows("#chat-name", "Lobby").await;
    let cookies = browser.devtools("Storage.getCookies", json!({})).await;
    let token = cookies["cookies"][0]["value"].as_str().unwrap();
    let same = Visitor { cookie: Some(format!("chatroom={token}")), ..ann };
    assert_eq!(same.post("/api/logout", json!({})).await.status, 200);
    browser.shows("#login-error", "Your session has ended").await;
    browser.close().await;
    room.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_phone_the_list_and_the_chat_take_turns() {
    let room = room_in_memory().await;
    let mut bob = Visitor::registered(&room.url(), "bob").await.tab().await;
    let lobby = bob.lobby().await;
    let driver = Driver::start().await;
    let ann = driver.browser().await;
    let phone = json!({ "width": 390, "height": 780, "deviceScaleFactor": 2, "mobile": true });
    ann.devtools("Emulation.setDeviceMetricsOverride", phone).await;
    ann.goto(&room.url()).await;
    ann.click("#mode-register").await;
    ann.keys("#name", "ann").await;
    ann.picture("phone-login").await;
    ann.keys("#password", &format!("{PASSWORD}\u{e007}")).await;
    ann.shows("#chats .name", "Lobby").await;
    ann.until("!document.querySelector('#conversation').checkVisibility()").await;
    for text in [
        "Good morning!",
        "Has anybody seen the keys to the shed? They were on the hook yesterday, I am quite sure of it.",
        "@ann, have you?",
    ] {
        let message = json!({ "room": lobby, "client_message_id": fresh_key(), "text": text, "mentions": ["ann"] });
        bob.ask("send", message).await;
    }
    ann.shows("#chats .badge", "3").await;
    ann.picture("phone-list").await;
    ann.click("#chats .chat").await;
    ann.shows(".message .text", "Good morning!").await;
    ann.until("!document.querySelector('#sidebar').checkVisibility()").await;
    let overflow = ann
        .eval("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        .await;
    assert_eq!(overflow, false, "it scrolls sideways");
    ann.keys("#text", "They are in my pocket, sorry").await;
    ann.click("#send").await;
    ann.shows(".message.own:not(.pending) .text", "in my pocket").await;
    tool(&ann, "keys to the shed", "react").await;
    ann.picture("phone-chat").await;
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    ann.devtools("Emulation.setEmulatedMedia", dark).await;
    ann.picture("phone-dark").await;
    ann.click("#show-members").await;
    ann.shows(".member .name", "bob").await;
    ann.picture("phone-members").await;
    ann.click("#hide-members").await;
    ann.click("#back").await;
    ann.until("document.querySelector('#sidebar').checkVisibility()").await;
    ann.close().await;
    room.shutdown().await;
}
