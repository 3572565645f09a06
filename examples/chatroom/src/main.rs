//! The program: reads the flags, serves until it is told to stop, and stops in order.

use std::process::ExitCode;

use chatroom::{ChatRoom, Config};
use clap::Parser as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    let config = Config::parse();
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(format.with_filter(config.log.clone())).init();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let signal = stop_signal()?;
    let room = ChatRoom::start(config).await?;
    announce(&room);
    signal.await;
    tracing::info!("stopping");
    room.shutdown().await;
    Ok(())
}

/// The one line on the standard output: whoever started the program reads the address from it.
#[expect(clippy::print_stdout, reason = "the line is the program's interface")]
fn announce(room: &ChatRoom) {
    println!("Chat room ready at {}", room.url());
}

/// Ends at the first signal that asks the program to stop. A second one ends the program at once,
/// as nobody listens for it any more.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    })
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
