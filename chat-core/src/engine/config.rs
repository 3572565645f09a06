//! The engine's knobs, as plain data.

use std::time::Duration;

use serde::Deserialize;

/// How much the engine holds, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Chats whose state is kept in memory. Default 10,000.
    pub cached_chats: usize,
    /// Events after which a chat's state is written to the views, so that loading it reads at most
    /// about that many events. Default 256.
    pub snapshot_every: u64,
    /// Commands that may be under way at once; one more is refused as overloaded. Default 65,536.
    pub pending_commands: usize,
    /// Most appends in one batch for the store. Default 1,024.
    pub batch_appends: usize,
    /// Bytes after which a batch for the store is full. Default 4 MiB.
    pub batch_bytes: usize,
    /// How often the log is read without being rung. Bounds how late an event of another process
    /// is delivered when the bus fails or there is none. Default 200 ms.
    pub poll_interval: Duration,
    /// How long changes are gathered before chat lists are brought up to date; a reader of a list
    /// never waits for it. Default 250 ms.
    pub list_delay: Duration,
    /// Events of a chat that wait for its slowest live subscriber. Default 4,096.
    pub tail_events: usize,
    /// Bytes of text in those events. Default 4 MiB.
    pub tail_bytes: usize,
    /// Events in one page while a subscription catches up. Default 500.
    pub catch_up_page: usize,
    /// Messages in one page of history, at most. Default 1,000.
    pub history_page: usize,
    /// How often a command is decided anew when others change the chat at the same time, or the
    /// store is unsure. The waits in between grow to 70 ms. Default 32.
    pub command_attempts: u32,
    /// How long "is typing" lasts without being said again. Default 6 s.
    pub typing_ttl: Duration,
    /// How long a user stays online after the last device went. Default 10 s.
    pub presence_grace: Duration,
    /// How long another process's word that a user is online lasts; it is renewed at half of it.
    /// Default 60 s.
    pub presence_ttl: Duration,
    /// How long `shutdown` waits for commands under way, and again for the lists and snapshots to
    /// be written. Default 30 s.
    pub shutdown_wait: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cached_chats: 10_000,
            snapshot_every: 256,
            pending_commands: 65_536,
            batch_appends: 1_024,
            batch_bytes: 4 << 20,
            poll_interval: Duration::from_millis(200),
            list_delay: Duration::from_millis(250),
            tail_events: 4_096,
            tail_bytes: 4 << 20,
            catch_up_page: 500,
            history_page: 1_000,
            command_attempts: 32,
            typing_ttl: Duration::from_secs(6),
            presence_grace: Duration::from_secs(10),
            presence_ttl: Duration::from_secs(60),
            shutdown_wait: Duration::from_secs(30),
        }
    }
}
