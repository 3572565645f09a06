//! A bot in a chat, with a scripted model.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use chat_core::domain::{ChatEvent, MessageSent, NewGroup, Role};
use chat_core::llm::{LlmScript, ScriptedLlm};
use chat_core::respond::Responder;
use chat_core::{
    ChatId, Delivery, Engine, NewMessage, SubscribeFrom, Subscription, UserHandle, UserId,
};

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

async fn next_by(subscription: &mut Subscription, author: &str) -> MessageSent {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), subscription.next());
        match next.await.expect("a delivery in time") {
            Some(Delivery::Events(events)) => {
                let sent = events.iter().find_map(|record| match &record.event {
                    ChatEvent::MessageSent(e) if e.by.as_str() == author => Some(e.clone()),
                    _ => None,
                });
                if let Some(sent) = sent {
                    return sent;
                }
            }
            Some(Delivery::Signal(_)) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

async fn room(engine: &Engine) -> (UserHandle, ChatId) {
    let ann = engine.user(user("ann"));
    let group = NewGroup::named("room").with_member(user("bot"), Role::Member);
    let chat = ann.create_group(group, None).await.unwrap().chat;
    (ann, chat)
}

fn question(text: &str) -> NewMessage {
    NewMessage::text(text).mention(user("bot"))
}

#[tokio::test]
async fn a_mention_gets_one_reply_and_other_messages_none() {
    let engine = Engine::builder().build().await.unwrap();
    let (ann, chat) = room(&engine).await;
    let llm = ScriptedLlm::new()
        .with_fallback(|request| LlmScript::reply(format!("I saw {}", request.messages.len())));
    let bot = Responder::builder(engine.user(user("bot")), Arc::new(llm.clone())).start();
    let mut live = ann.chat(&chat).subscribe(SubscribeFrom::Now).await.unwrap();
    ann.chat(&chat).send(NewMessage::text("nobody is asked")).await.unwrap();
    let asked = ann.chat(&chat).send(question("@bot hello")).await.unwrap();
    let reply = next_by(&mut live, "bot").await;
    assert_eq!(&*reply.text, "I saw 2");
    assert_eq!(reply.reply_to.unwrap().message, asked.message().unwrap());
    bot.stop().await;
    assert_eq!(llm.calls(), 1);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_question_from_before_the_start_is_answered_once() {
    let engine = Engine::builder().build().await.unwrap();
    let (ann, chat) = room(&engine).await;
    ann.chat(&chat).send(question("@bot hello")).await.unwrap();
    let mut live = ann.chat(&chat).subscribe(SubscribeFrom::Start).await.unwrap();
    let llm = ScriptedLlm::new().with_fallback(|_| LlmScript::reply("hello"));
    for _ in 0..2 {
        let bot = Responder::builder(engine.user(user("bot")), Arc::new(llm.clone())).start();
        if llm.calls() == 0 {
            assert_eq!(&*next_by(&mut live, "bot").await.text, "hello");
        }
        // What came after the first question shows that the second bot has looked.
        ann.chat(&chat).send(question("@bot again")).await.unwrap();
        assert_eq!(&*next_by(&mut live, "bot").await.text, "hello");
        bot.stop().await;
    }
    assert_eq!(llm.calls(), 3);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_model_that_fails_is_named_in_the_reply() {
    use chat_core::ports::{LlmError, LlmErrorKind};
    let engine = Engine::builder().build().await.unwrap();
    let (ann, chat) = room(&engine).await;
    let llm = ScriptedLlm::new().with_fallback(|_| {
        LlmScript::refusal(LlmError::new(LlmErrorKind::Authentication, "bad key sk-secret"))
    });
    let bot = Responder::builder(engine.user(user("bot")), Arc::new(llm)).start();
    let mut live = ann.chat(&chat).subscribe(SubscribeFrom::Now).await.unwrap();
    ann.chat(&chat).send(question("@bot hello")).await.unwrap();
    let reply = next_by(&mut live, "bot").await;
    assert_eq!(&*reply.text, "[the model could not answer: authentication failed]");
    bot.stop().await;
    engine.shutdown().await;
}
