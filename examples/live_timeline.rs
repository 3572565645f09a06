//! History, then live: what was said before, then everything that happens, each once, also across
//! a break.
//!
//! Run it with `cargo run -p examples --bin live_timeline`, or with the URL of a store behind `--`.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

use chat_core::domain::{ChatEvent, NewGroup};
use chat_core::{Delivery, Engine, Events, NewMessage, SubscribeFrom, Subscription, UserId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = examples::open(&examples::url("memory:")).await?;
    let engine = Engine::builder().opened(&store).build().await?;
    let (ann, bob) = (engine.user(UserId::new("ann")?), engine.user(UserId::new("bob")?));
    let chat = ann.create_group(NewGroup::named("news").open(), None).await?.chat;
    bob.chat(&chat).join(None).await?;
    ann.chat(&chat).send(NewMessage::text("before anybody looked")).await?;

    // One look: the newest messages, and the place to go on from.
    let opened = bob.chat(&chat).open(50).await?;
    for message in &opened.page.messages {
        println!("history  {}: {}", message.author, message.text);
    }
    let from = SubscribeFrom::Token(opened.token);
    let mut live = bob.chat(&chat).subscribe(from).await?;
    ann.chat(&chat).send(NewMessage::text("while bob listens")).await?;
    show("live", &next(&mut live).await?);

    // The connection breaks. The token, kept as text, tells where bob stood.
    let kept: String = live.token().to_string();
    drop(live);
    ann.chat(&chat).send(NewMessage::text("while bob was away")).await?;
    let mut live = bob.chat(&chat).subscribe(SubscribeFrom::Token(kept.parse()?)).await?;
    show("resumed", &next(&mut live).await?);
    engine.shutdown().await;
    store.close().await;
    Ok(())
}

async fn next(live: &mut Subscription) -> Result<Events, String> {
    loop {
        match live.next().await {
            Some(Delivery::Events(events)) => return Ok(events),
            Some(Delivery::Ended(end)) => return Err(format!("the subscription ended: {end:?}")),
            // Typing, presence: told, not stored.
            Some(_) => {}
            None => return Err("the subscription is over".into()),
        }
    }
}

fn show(how: &str, events: &Events) {
    for record in events.iter() {
        if let ChatEvent::MessageSent(message) = &record.event {
            println!("{how:8} {}: {}", message.by, message.text);
        }
    }
}
