//! A history that survives a restart: run it twice, and the second run knows the first.
//!
//! Run it with `cargo run -p examples --bin sqlite_history -- sqlite:notes.db "remember the milk"`;
//! any other store's URL will do as well. The file can be looked into: `sqlite3 notes.db 'select author, text from chat_messages'`.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

use chat_core::{Engine, HistoryQuery, NewMessage, UserId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(2).unwrap_or_else(|| "hello again".into());

    let store = examples::open(&examples::url("sqlite:notes.db")).await?;
    let engine = Engine::builder().opened(&store).build().await?;

    // Everybody has one chat with oneself; opening it again finds it.
    let me = engine.user(UserId::new("me")?);
    let notes = me.chat(&me.open_direct(&[]).await?.chat);
    notes.send(NewMessage::text(text)).await?;
    for note in notes.history(HistoryQuery::Latest, 100).await?.messages {
        println!("{}: {}", note.seq, note.text);
    }
    engine.shutdown().await;
    store.close().await;
    Ok(())
}
