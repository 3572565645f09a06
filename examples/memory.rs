//! The engine in its shortest form: two people, one group, everything in memory.
//!
//! Run it with `cargo run -p examples --bin memory`.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

use chat_core::domain::{NewGroup, Role};
use chat_core::{ChatListQuery, Engine, HistoryQuery, NewMessage, UserId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder().build().await?;
    let ann = engine.user(UserId::new("ann")?);
    let bob = engine.user(UserId::new("bob")?);

    let group = NewGroup::named("tea").with_member(bob.user().clone(), Role::Member);
    let chat = ann.create_group(group, None).await?.chat;
    let sent = ann.chat(&chat).send(NewMessage::text("Is there any tea left?")).await?;
    bob.chat(&chat).send(NewMessage::text("Plenty.")).await?;

    for message in bob.chat(&chat).history(HistoryQuery::Latest, 50).await?.messages {
        println!("{}: {}", message.author, message.text);
    }
    bob.chat(&chat).mark_read(sent.version, None).await?;
    for chat in ann.chats(ChatListQuery::top(10)).await?.chats {
        println!("ann has {} unread in {}", chat.unread, chat.name.unwrap_or_default());
    }
    engine.shutdown().await;
    Ok(())
}
