//! Two processes on one PostgreSQL: what is sent through one is heard in the other at once, as the
//! database itself rings (LISTEN/NOTIFY).
//!
//! Run it with `cargo run -p examples --bin postgres -- postgres://me:secret@localhost/chat`. Each
//! process is played by an engine with connections of its own.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

use std::time::Duration;

use chat_core::domain::{ChatEvent, NewGroup, Role};
use chat_core::{Delivery, Engine, EngineConfig, NewMessage, SubscribeFrom, UserId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = examples::url("postgres://postgres@localhost/postgres");
    let (here, there) = (examples::open(&url).await?, examples::open(&url).await?);
    println!("the database brings a bus: {}", if here.bus.is_some() { "yes" } else { "no" });
    // Nobody looks by himself for an hour, so what is heard was rung.
    let mut config = EngineConfig::default();
    config.poll_interval = Duration::from_secs(60 * 60);
    let engine_here = Engine::builder().opened(&here).config(config.clone()).build().await?;
    let engine_there = Engine::builder().opened(&there).config(config).build().await?;

    let (ann, bob) = (UserId::new("ann")?, UserId::new("bob")?);
    let group = NewGroup::named("tea").with_member(bob.clone(), Role::Member);
    let ann = engine_here.user(ann);
    let chat = ann.create_group(group, None).await?.chat;
    let mut bobs = engine_there.user(bob).chat(&chat).subscribe(SubscribeFrom::Now).await?;
    ann.chat(&chat).send(NewMessage::text("Is there any tea left?")).await?;

    'reading: while let Some(delivery) = bobs.next().await {
        let Delivery::Events(events) = delivery else { continue };
        for record in events.iter() {
            if let ChatEvent::MessageSent(message) = &record.event {
                println!("heard in the other process: {}: {}", message.by, message.text);
                break 'reading;
            }
        }
    }
    engine_here.shutdown().await;
    engine_there.shutdown().await;
    here.close().await;
    there.close().await;
    Ok(())
}
