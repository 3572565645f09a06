//! Who types, and what is sent: signals that nobody keeps and messages that everybody does, between
//! two processes on one Redis.
//!
//! Run it with `cargo run -p examples --bin redis -- redis://localhost`. Each process is played by an
//! engine with connections of its own.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

use std::time::Duration;

use chat_core::domain::ChatEvent;
use chat_core::{ChatRecord, ChatSignal, Delivery, Engine, NewMessage, SubscribeFrom, UserId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = examples::url("redis://localhost");
    let (here, there) = (examples::open(&url).await?, examples::open(&url).await?);
    if here.bus.is_none() {
        return Err("this store carries no signals between processes".into());
    }
    let engine_here = Engine::builder().opened(&here).build().await?;
    let engine_there = Engine::builder().opened(&there).build().await?;

    let (ann, bob) =
        (engine_here.user(UserId::new("ann")?), engine_there.user(UserId::new("bob")?));
    let chat = ann.open_direct(&[bob.user().clone()]).await?.chat;
    let (anns, bobs) = (ann.chat(&chat), bob.chat(&chat));
    let mut live = bobs.subscribe(SubscribeFrom::Now).await?;
    // As a page does while somebody types: said again now and then, as it may get lost.
    let mut typing = tokio::time::interval(Duration::from_secs(1));
    let mut seen_typing = false;
    loop {
        let delivery = tokio::select! {
            delivery = live.next() => delivery.ok_or("the subscription is over")?,
            _ = typing.tick(), if !seen_typing => {
                anns.typing(true).await?;
                continue;
            }
        };
        match delivery {
            Delivery::Signal(ChatSignal::Typing { user, on: true }) if !seen_typing => {
                seen_typing = true;
                println!("{user} is typing …");
                anns.send(NewMessage::text("psst")).await?;
            }
            Delivery::Events(events) => {
                if let Some(text) = events.iter().find_map(text) {
                    println!("ann: {text}");
                    break;
                }
            }
            _ => {}
        }
    }
    engine_here.shutdown().await;
    engine_there.shutdown().await;
    here.close().await;
    there.close().await;
    Ok(())
}

fn text(record: &ChatRecord) -> Option<&str> {
    match &record.event {
        ChatEvent::MessageSent(message) => Some(&message.text),
        _ => None,
    }
}
