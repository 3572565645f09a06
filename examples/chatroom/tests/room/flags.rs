//! The program's flags, and the model behind the assistant.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use chatroom::{ChatRoom, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::tab::fresh_key;
use super::visitor::Visitor;
use super::within;

#[tokio::test]
async fn help_names_every_flag_and_shows_no_secret() {
    let output = Command::new(env!("CARGO_BIN_EXE_chatroom"))
        .arg("--help")
        .env("OPENAI_API_KEY", "sk-secret")
        .env("CHATROOM_DATABASE", "postgres://ann:hunter2@db/chat")
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for flag in ["--listen", "--database", "--public-url", "--openai-api-key", "--log"] {
        assert!(text.contains(flag), "{flag}");
    }
    for twin in ["CHATROOM_LISTEN", "CHATROOM_DATABASE", "OPENAI_API_KEY", "OPENAI_BASE_URL"] {
        assert!(text.contains(twin), "{twin}");
    }
    assert!(!text.contains("sk-secret") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn what_cannot_work_is_said_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let not_a_database = directory.path().join("text");
    std::fs::write(&not_a_database, "this is no database, this is text\n".repeat(100)).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = format!("--listen={}", taken.local_addr().unwrap());
    let file = format!("--database=sqlite:{}", not_a_database.display());
    for (argument, words) in [
        (taken.as_str(), "cannot listen on"),
        (file.as_str(), "the data cannot be opened"),
        ("--database=sqlite:x.db?speed=high", "speed"),
        ("--database=oracle://ann:hunter2@x", "this program has `memory:`, "),
        ("--database=ann:hunter2", "no store with the scheme `ann:`"),
        ("--database=//ann:hunter2@x", "begins with a scheme"),
        ("--database=memory://ann:hunter2@x", "names no place"),
        ("--openai-base-url=http://127.0.0.1:1/v1", "OPENAI_MODEL"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_chatroom"))
            .args(["--listen=127.0.0.1:0", "--database=memory:", argument])
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL")
            .env_remove("OPENAI_MODEL")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = within(argument, output).await.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{argument}");
        assert!(output.stdout.is_empty(), "{argument}");
        assert!(text.contains(words), "{argument}: {text}");
        assert!(!text.contains("panicked") && !text.contains("hunter2"), "{argument}: {text}");
    }
}

/// Answers every request with one streamed reply; keeps what it was asked.
async fn model(asked: Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            // The body is JSON, and nothing follows it.
            while !request.ends_with(b"}") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            asked.lock().unwrap().push(String::from_utf8(request).unwrap());
            let chunk = |delta: Value, reason: Value| {
                let chunk = json!({ "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] });
                format!("data: {chunk}\n\n")
            };
            let body = [
                chunk(json!({ "role": "assistant", "content": "Forty" }), Value::Null),
                chunk(json!({ "content": "-two <b>" }), Value::Null),
                chunk(json!({}), json!("stop")),
                "data: [DONE]\n\n".to_owned(),
            ]
            .concat();
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    format!("http://{address}/v1")
}

#[tokio::test]
async fn with_a_server_and_a_key_the_assistant_is_a_model() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut config = Config::in_memory();
    config.openai_base_url = Some(model(Arc::clone(&asked)).await);
    config.openai_api_key = Some("sk-test".parse().unwrap());
    config.openai_model = Some("small".to_owned());
    let room = ChatRoom::start(config).await.unwrap();
    let mut ann = Visitor::registered(&room.url(), "ann").await.tab().await;
    let lobby = ann.lobby().await;
    ann.ask("open", json!({ "room": lobby, "limit": 9 })).await;
    let text = "@assistant six times seven?";
    let question = json!({ "room": lobby, "client_message_id": fresh_key(), "text": text, "mentions": ["assistant"] });
    ann.ask("send", question).await;
    let answer = ann
        .pushed("the reply", |said| {
            let is = |event: &Value| {
                event["type"] == "message_sent" && event["data"]["by"] == "assistant"
            };
            said["events"].as_array().is_some_and(|events| events.iter().any(is))
        })
        .await;
    assert_eq!(answer["events"][0]["data"]["text"], "Forty-two <b>");
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "asked more than once");
    for part in ["POST /v1/chat/completions", "Bearer sk-test", "\"small\"", "six times seven"] {
        assert!(asked[0].to_lowercase().contains(&part.to_lowercase()), "{part}: {}", asked[0]);
    }
    room.shutdown().await;
}
