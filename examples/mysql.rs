//! A message that is sent twice is one message, also when the second try goes to another process: its
//! key is kept with it in MySQL or MariaDB, for ever.
//!
//! Run it with `cargo run -p examples --bin mysql -- mysql://me:secret@localhost/chat`.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

use chat_core::{ClientMessageId, Engine, HistoryQuery, NewMessage, UserId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = examples::url("mysql://root@localhost/test");
    // What a phone that got no answer does: the same message again, under the same key.
    let key = ClientMessageId::new(uuid::Uuid::new_v4().to_string())?;
    for process in ["the first process", "another process"] {
        let store = examples::open(&url).await?;
        let engine = Engine::builder().opened(&store).build().await?;
        let me = engine.user(UserId::new("me")?);
        let notes = me.chat(&me.open_direct(&[]).await?.chat);

        let note = NewMessage::text("remember the milk").with_client_id(key.clone());
        let sent = notes.send(note).await?;
        let how = if sent.deduplicated { "had it already" } else { "took it" };
        println!("{process} {how}");

        if sent.deduplicated {
            let history = notes.history(HistoryQuery::Latest, 100).await?.messages;
            let same = history.iter().filter(|note| Some(note.id) == sent.event.map(Into::into));
            println!("times in the history: {}", same.count());
        }
        engine.shutdown().await;
        store.close().await;
    }
    Ok(())
}
