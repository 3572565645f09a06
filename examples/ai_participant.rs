//! An AI as a member of a chat: it answers when it is mentioned.
//!
//! Run it with `cargo run -p examples --bin ai_participant`. With `OPENAI_API_KEY` (and, for other
//! servers that speak the same API, `OPENAI_BASE_URL` and `OPENAI_MODEL`) set it asks that model;
//! without, an offline stand-in answers, and says so. The URL of a store may follow behind `--`.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

use std::sync::Arc;

use chat_core::domain::{ChatEvent, NewGroup, Role};
use chat_core::llm::OfflineLlm;
use chat_core::ports::LlmBackend;
use chat_core::respond::Responder;
use chat_core::{Delivery, Engine, NewMessage, SubscribeFrom, UserId};
use chat_llm::{OpenAiBackend, OpenAiConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let asked_for = ["OPENAI_API_KEY", "OPENAI_BASE_URL"];
    let model: Arc<dyn LlmBackend> =
        if asked_for.iter().any(|name| std::env::var_os(name).is_some()) {
            Arc::new(OpenAiBackend::new(OpenAiConfig::from_env()?)?)
        } else {
            Arc::new(OfflineLlm::new())
        };
    println!("the model is {}", model.model());

    let store = examples::open(&examples::url("memory:")).await?;
    let engine = Engine::builder().opened(&store).build().await?;
    let (ann, bot) = (engine.user(UserId::new("ann")?), UserId::new("assistant")?);
    let group = NewGroup::named("help").with_member(bot.clone(), Role::Member);
    let chat = ann.chat(&ann.create_group(group, None).await?.chat);
    let responder = Responder::builder(engine.user(bot.clone()), model)
        .with_system_prompt("You are a helpful member of a chat. Be brief.")
        .start();

    let mut live = chat.subscribe(SubscribeFrom::Now).await?;
    chat.send(NewMessage::text("@assistant what can you do?").mention(bot.clone())).await?;
    'reading: while let Some(delivery) = live.next().await {
        let Delivery::Events(events) = delivery else { continue };
        for record in events.iter() {
            if let ChatEvent::MessageSent(message) = &record.event {
                println!("{}: {}", message.by, message.text);
                if message.by == bot {
                    break 'reading;
                }
            }
        }
    }
    responder.stop().await;
    engine.shutdown().await;
    store.close().await;
    Ok(())
}
