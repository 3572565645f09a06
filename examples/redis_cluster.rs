//! Chats spread over the servers of a Redis Cluster: each chat lives whole in one of the store's
//! partitions, and the list of a person's chats is one list all the same.
//!
//! Run it with `cargo run -p examples --bin redis_cluster -- redis+cluster://localhost:7000`.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

use std::collections::BTreeSet;

use chat_core::domain::NewGroup;
use chat_core::{ChatListQuery, Engine, NewMessage, StreamId, UserId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = examples::open(&examples::url("redis+cluster://localhost:7000")).await?;
    let engine = Engine::builder().opened(&store).build().await?;
    let ann = engine.user(UserId::new("ann")?);

    let mut homes = BTreeSet::new();
    for number in 1..=12 {
        let group = NewGroup::named(format!("room {number}"));
        let chat = ann.create_group(group, None).await?.chat;
        ann.chat(&chat).send(NewMessage::text("the first word")).await?;
        homes.insert(store.events.partition_of(&StreamId::new(format!("chat/{chat}"))?));
    }
    println!("spread over several partitions: {}", if homes.len() > 1 { "yes" } else { "no" });
    for chat in ann.chats(ChatListQuery::top(3)).await?.chats {
        println!("{}", chat.name.unwrap_or_default());
    }
    engine.shutdown().await;
    store.close().await;
    Ok(())
}
