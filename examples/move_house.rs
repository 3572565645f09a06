//! Moves everything from one store to another while the old one is in use.
//!
//! Run it with `cargo run -p examples --bin move_house -- sqlite:chat.db postgres://me@db/chat`, as
//! often as you like, also after it was stopped; each run copies what has come since. When all
//! programs that write to the old store have been stopped, run it with `--finish`.
//! [`chat_core::copy`] says what is kept, and what is not.
#![expect(clippy::print_stdout, reason = "a program that shows what it does")]

use std::sync::Arc;

use chat_core::connect::{Opened, StoreUrl};
use chat_core::copy::{Copier, CopyError, Progress};
use chat_core::decorate::{RetryPolicy, Retrying};
use clap::Parser;
use examples::InWords;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

/// Copies all chats, and whatever else is in the old store's events, into a new and empty one.
#[derive(Debug, Parser)]
#[command(name = "move_house")]
struct Arguments {
    /// The URL of the old store. It is only read; a file must be there, and is not opened to write.
    old: String,
    /// The URL of the new store; its namespace is empty, or holds what an earlier run copied.
    new: String,
    /// The programs that write to the old store have been stopped: copy the rest, and make sure
    /// that nothing comes any more.
    #[arg(long)]
    finish: bool,
    /// Compare every event of both stores afterwards.
    #[arg(long)]
    verify: bool,
}

#[tokio::main]
async fn main() -> Result<(), InWords> {
    let arguments = Arguments::parse();
    let old = examples::open(&only_to_read(&arguments.old)).await?;
    let new = examples::open(&arguments.new).await?;
    let moved = move_house(&arguments, &old, &new).await;
    new.close().await;
    old.close().await;
    moved.map_err(|error| InWords::of(&error))
}

/// A file that is opened to be written is made if it is not there: an empty house to move out of,
/// where somebody mistyped its name.
fn only_to_read(url: &str) -> String {
    match url.parse::<StoreUrl>() {
        Ok(url)
            if url.scheme() == "sqlite" && !url.parameters().any(|(name, _)| name == "mode") =>
        {
            url.with_parameter("mode", "ro").expose().to_owned()
        }
        Ok(_) | Err(_) => url.to_owned(),
    }
}

async fn move_house(arguments: &Arguments, old: &Opened, new: &Opened) -> Result<(), CopyError> {
    // A store that does not answer for a moment is asked again.
    let policy = RetryPolicy::default();
    let source = Arc::new(Retrying::new(Arc::clone(&old.events), policy));
    let target = Arc::new(Retrying::new(Arc::clone(&new.events), policy));
    let views = Arc::new(Retrying::new(Arc::clone(&new.views), policy));
    let mut copier = Copier::begin(source, target, views).await?;

    let bar = bar("copying");
    let copied = if arguments.finish {
        copier.finish(|progress| show(&bar, progress)).await?
    } else {
        copier.catch_up(|progress| show(&bar, progress)).await?
    };
    bar.finish_and_clear();
    let (events, bytes) = (HumanCount(copied.events), HumanBytes(copied.bytes));
    println!("copied   {events} events, {bytes}");
    let behind = copier.look().await?.behind();
    println!("behind   {} positions of the old store's log", HumanCount(behind));

    if arguments.verify {
        let bar = self::bar("verifying");
        let same = copier.verify(|progress| show(&bar, progress)).await?;
        bar.finish_and_clear();
        let (streams, events) = (HumanCount(same.streams), HumanCount(same.events));
        println!("verified {events} events, streams: {streams}; the same in both stores");
    }
    println!("{}", if copier.is_finished() { FINISHED } else { NOT_YET });
    Ok(())
}

const NOT_YET: &str = "\
next     stop every program that writes to the old store, and take its right to write away;
         then run this again with --finish --verify";
const FINISHED: &str = "\
next     start the programs on the new store. Lists of chats are made anew by the first one; pages
         that are open begin anew. Keep the old store, read-only, until you are sure";

/// On the standard error, and only if that is a terminal.
fn bar(what: &'static str) -> ProgressBar {
    let look = "{prefix:9} {wide_bar} {percent:>3} %  {msg}  {eta:>4} left";
    let style = ProgressStyle::with_template(look).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_prefix(what)
}

fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_length(progress.total);
    bar.set_position(progress.position);
    bar.set_message(format!("{} events", HumanCount(progress.events)));
}
