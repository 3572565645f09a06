//! Two processes on one database are one room: whoever registers with one is known to the other, and
//! what is written in one is read in the other.

use chat_core::connect::StoreUrl;
use serde_json::{Value, json};

use super::program::Program;
use super::tab::{Tab, fresh_key};
use super::visitor::{PASSWORD, Visitor};

#[tokio::test]
async fn two_processes_on_one_sqlite_file_are_one_room() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("room.db").display());
    are_one_room(&url).await;
}

#[tokio::test]
async fn two_processes_on_one_postgres_are_one_room() {
    are_one_room(&server("CHAT_TEST_POSTGRES")).await;
}

#[tokio::test]
async fn two_processes_on_one_mysql_are_one_room() {
    are_one_room(&server("CHAT_TEST_MYSQL")).await;
}

#[tokio::test]
async fn two_processes_on_one_redis_are_one_room() {
    are_one_room(&server("CHAT_TEST_REDIS")).await;
}

#[tokio::test]
async fn two_processes_on_one_redis_cluster_are_one_room() {
    let url = server("CHAT_TEST_REDIS_CLUSTER");
    are_one_room(&url.replacen("redis:", "redis+cluster:", 1)).await;
}

/// The URL of a test server, with a namespace that nobody else uses.
fn server(variable: &str) -> String {
    let url = std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set; run `cargo xtask services up` and set what it prints, or run \
             `cargo xtask test`"
        )
    });
    let namespace = format!("room{}", &uuid::Uuid::new_v4().simple().to_string()[..20]);
    StoreUrl::parse(&url).unwrap().with_parameter("namespace", &namespace).expose().to_owned()
}

/// Waits for a message by its text; each must come once.
async fn reads(tab: &mut Tab, text: &str) -> Value {
    let event = tab.event("message_sent").await;
    assert_eq!(event["data"]["text"], text);
    event
}

/// What holds on any database, with a bus or by polling.
async fn are_one_room(url: &str) {
    // Both make the first room at once; one of them is the first.
    let (here, there) = tokio::join!(Program::start_on(url, 0), Program::start_on(url, 0));

    // Registered here; the session and the password are good there.
    let ann_here = Visitor::registered(&here.url, "ann").await;
    let mut ann_there = Visitor::new(&there.url);
    ann_there.cookie.clone_from(&ann_here.cookie);
    assert_eq!(ann_there.me().await, "ann");
    let login = Visitor::new(&there.url).login("ann", PASSWORD).await;
    assert_eq!(login.status, 200);
    assert_eq!(Visitor::new(&there.url).register("ann", PASSWORD).await.status, 409);

    // A message sent here is read there, and the answer here; both have one order.
    let bob = Visitor::registered(&there.url, "bob").await;
    let (mut ann_tab, mut bob_tab) = (ann_here.tab().await, bob.tab().await);
    let lobby = ann_tab.lobby().await;
    assert_eq!(bob_tab.lobby().await, lobby);
    for tab in [&mut ann_tab, &mut bob_tab] {
        tab.ask("open", json!({ "room": lobby, "limit": 50 })).await;
    }
    for n in 0..5 {
        let (question, answer) = (format!("question {n}"), format!("answer {n}"));
        ann_tab.say(&lobby, &question).await;
        for tab in [&mut ann_tab, &mut bob_tab] {
            reads(tab, &question).await;
        }
        bob_tab.say(&lobby, &answer).await;
        for tab in [&mut ann_tab, &mut bob_tab] {
            reads(tab, &answer).await;
        }
    }
    let history = async |tab: &mut Tab| {
        let page = tab.ask("open", json!({ "room": lobby, "limit": 50 })).await;
        page["messages"].clone()
    };
    assert_eq!(history(&mut ann_tab).await, history(&mut bob_tab).await);

    // A key is one message, whichever process it is sent to.
    let once = json!({ "room": lobby, "client_message_id": fresh_key(), "text": "once" });
    let first = ann_tab.ask("send", once.clone()).await;
    let mut ann_there_tab = ann_there.tab().await;
    assert_eq!(ann_there_tab.ask("send", once).await["seq"], first["seq"]);

    // A room made here can be entered there.
    let made = ann_tab.ask("create_room", json!({ "name": "Tea" })).await["room"].clone();
    let rooms = bob_tab.ask("rooms", json!({})).await;
    assert_eq!(rooms["rooms"][0]["room"], made);
    bob_tab.ask("join", json!({ "room": made, "command_id": fresh_key() })).await;

    // The assistant of both answers once.
    let question = json!({ "room": lobby, "client_message_id": fresh_key(), "text": "@assistant, who is there?", "mentions": ["assistant"] });
    ann_tab.ask("send", question).await;
    let by_assistant = |said: &Value| {
        let is =
            |event: &Value| event["type"] == "message_sent" && event["data"]["by"] == "assistant";
        said["events"].as_array().is_some_and(|events| events.iter().any(is))
    };
    ann_tab.pushed("the answer", by_assistant).await;
    bob_tab.pushed("the answer", by_assistant).await;

    // Logging out here ends the session there.
    assert_eq!(ann_here.post("/api/logout", json!({})).await.status, 200);
    assert_eq!(ann_there.me().await, Value::Null);

    let (code, lines) = here.terminate().await;
    assert_eq!((code, lines), (Some(0), Vec::new()));
    // The other goes on alone, and has everything.
    let answers = history(&mut bob_tab).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.iter().filter(|message| message["author"] == "assistant").count(), 1);
    assert_eq!(answers.iter().filter(|message| message["text"] == "once").count(), 1);
    there.terminate().await;
}
