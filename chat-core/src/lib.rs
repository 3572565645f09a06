//! An embeddable chat engine: every chat is an append-only stream of events.

mod clock;
pub mod decorate;
pub mod domain;
mod engine;
mod event;
mod id;
pub mod llm;
pub mod memory;
pub mod ports;
pub mod respond;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use clock::{Clock, IdSource, ManualClock, RandomIds, SeededIds, SystemClock, Timestamp};
pub use engine::{
    Ack, ChatCursor, ChatError, ChatHandle, ChatListQuery, ChatPage, ChatRecord, ChatSignal,
    ChatSummary, ChatUpdate, ChatWatch, Created, Delivery, Engine, EngineBuilder, EngineConfig,
    EngineMetrics, Events, FollowEnd, Followed, Follower, HistoryPage, HistoryQuery, MemberInfo,
    MemberPage, MemberQuery, MessageEdit, MessageVersion, NewMessage, OpenChat, PresenceGuard,
    ReadState, ResetReason, SubscribeFrom, Subscription, SubscriptionEnd, SyncToken, UserHandle,
};
pub use event::{EventType, Json, NewEvent, RecordedEvent};
pub use id::{
    ChatId, Checkpoint, ClientMessageId, CommandId, Epoch, EventId, InvalidId, Namespace,
    PartitionId, Position, ProjectionName, Scope, StreamId, Topic, UserId, Version, ViewKey,
};
