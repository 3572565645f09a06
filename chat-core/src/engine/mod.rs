//! The engine: from a command to its place in the log, and from the log to everybody who reads.
//!
//! In the order of the data's way: `execute` decides, `committer` appends, `tail` and
//! `subscription` deliver, `follow_log` and `list` project; `load` and `history` read.

mod builder;
mod cell;
mod chat;
mod committer;
mod config;
mod error;
mod execute;
mod follow_log;
mod follower;
mod handle;
mod history;
mod list;
mod load;
mod presence;
mod shared;
mod subscription;
mod tail;
mod token;
mod watch;

pub use builder::{Engine, EngineBuilder, EngineMetrics};
pub use chat::{ChatHandle, ChatUpdate, MessageEdit, NewMessage, OpenChat};
pub use config::EngineConfig;
pub use error::ChatError;
pub use execute::Ack;
pub use follower::{FollowEnd, Followed, Follower};
pub use handle::{Created, UserHandle};
pub use history::{
    HistoryPage, HistoryQuery, MemberInfo, MemberPage, MemberQuery, MessageVersion, ReadState,
};
pub use list::{ChatCursor, ChatListQuery, ChatPage, ChatSummary};
pub use presence::PresenceGuard;
pub use subscription::{
    Delivery, Events, ResetReason, SubscribeFrom, Subscription, SubscriptionEnd,
};
pub use tail::{ChatRecord, ChatSignal};
pub use token::SyncToken;
pub use watch::ChatWatch;
