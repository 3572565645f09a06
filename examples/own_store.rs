//! An event store of one's own: the whole contract in one list, and the engine on top. It is slow on
//! purpose; `tests/own_store_kit.rs` proves it with the public test kit.
//!
//! Run it with `cargo run -p examples --bin own_store`.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

mod plain_store;

use std::sync::Arc;

use chat_core::{Engine, HistoryQuery, NewMessage, UserId};
use plain_store::PlainStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Arc::new(PlainStore::default());
    let engine = Engine::builder().store(store).build().await?;
    let ann = engine.user(UserId::new("ann")?);
    let chat = ann.chat(&ann.open_direct(&[UserId::new("bob")?]).await?.chat);
    chat.send(NewMessage::text("kept in a list of my own")).await?;
    for message in chat.history(HistoryQuery::Latest, 10).await?.messages {
        println!("{}: {}", message.author, message.text);
    }
    engine.shutdown().await;
    Ok(())
}
