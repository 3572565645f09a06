//! The room from outside: real HTTP, real WebSockets, a real browser, real kills.
#![cfg(test)]

mod accounts;
mod crash;
mod driver;
mod flags;
mod four_processes;
mod hostile;
mod http;
mod live;
mod page;
mod processes;
mod program;
mod resume;
mod tab;
mod visitor;

use std::time::Duration;

/// Far above what anything here takes, so that only a hang runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that has to happen.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}
