//! What this program does when another one of it has started it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use chat_core::{ChatId, Delivery, SubscribeFrom, UserId};
use tokio::io::AsyncBufReadExt as _;

use crate::child::READY;
use crate::measure::{resident_bytes, shared_clock};
use crate::questions::{Target, append_to, fill_streams};
use crate::stores::{engine_on, open_url, shared_config};

/// Plays a role: `write URL WRITER CALLERS SECONDS`, `follow URL CHAT USER` or `hold EVENTS`.
///
/// # Errors
/// If the role is not known or the store fails.
pub async fn play(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["write", url, writer, callers, seconds] => {
            let time = Duration::from_secs_f64(seconds.parse()?);
            write(url, writer.parse()?, callers.parse()?, time).await
        }
        ["follow", url, chat, user] => follow(url, chat, user).await,
        ["hold", events] => hold(events.parse()?).await,
        _ => bail!("there is no such role: {}", words.join(" ")),
    }
}

/// Appends by callers to streams of its own; says how many events, and in how many seconds.
async fn write(url: &str, writer: usize, callers: usize, time: Duration) -> Result<()> {
    let store = open_url(url).await?;
    say(READY)?;
    wait().await?;
    let prefix = format!("chat/writer-{writer}-");
    let events = Arc::clone(&store.events);
    let (written, took) = append_to(events, &prefix, Target::Many, callers, time).await?;
    say(&format!("{written} {}", took.as_secs_f64()))?;
    store.close().await;
    Ok(())
}

/// Says when each event of a chat arrives, by the clock that all processes share.
async fn follow(url: &str, chat: &str, user: &str) -> Result<()> {
    let store = open_url(url).await?;
    let engine = engine_on(&store, shared_config()).await?;
    let chat = engine.user(UserId::new(user)?).chat(&ChatId::new(chat)?);
    let mut subscription = chat.subscribe(SubscribeFrom::Now).await?;
    say(READY)?;
    let mut end = std::pin::pin!(wait());
    loop {
        tokio::select! {
            _ = &mut end => break,
            delivery = subscription.next() => match delivery {
                Some(Delivery::Events(events)) => {
                    let now = shared_clock();
                    for _ in events.iter() {
                        say(&now.to_string())?;
                    }
                }
                Some(Delivery::Ended(end)) => bail!("the subscription ended: {end:?}"),
                Some(_) => {}
                None => bail!("the subscription ended"),
            }
        }
    }
    engine.shutdown().await;
    store.close().await;
    Ok(())
}

/// Says how many bytes the process grows by while it takes events into memory.
async fn hold(events: usize) -> Result<()> {
    say(READY)?;
    let store = open_url("memory:").await?;
    fill_streams(&*store.events, 100).await?;
    let before = resident_bytes()?;
    fill_streams(&*store.events, events).await?;
    say(&(resident_bytes()? - before).to_string())
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Waits for a line, or for the end of the other process.
async fn wait() -> Result<()> {
    let stdin = tokio::io::BufReader::new(tokio::io::stdin());
    stdin.lines().next_line().await.context("read the standard input")?;
    Ok(())
}
