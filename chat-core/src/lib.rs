//! A chat engine that a program embeds: every chat is an append-only stream of events, on the store
//! that the host already has.
//!
//! | to | see |
//! |---|---|
//! | use it | [`Engine`], [`UserHandle`], [`ChatHandle`], [`Subscription`], [`Follower`] |
//! | know the rules | [`domain`] |
//! | follow every event, durably | [`durable`] |
//! | add an AI | [`respond::Responder`] |
//! | write an adapter | [`ports`], and the feature `testkit` to prove it |
//! | open one by URL | [`connect`] |
//! | move to another | [`copy`] |
//! | wrap one | [`decorate`] |
//! | do without one | [`memory`], [`llm`] |
//!
//! Features: `testkit` brings the test kit; nothing else is optional.
#![cfg_attr(doctest, doc = include_str!("../../README.md"))]

mod clock;
pub mod connect;
pub mod copy;
pub mod decorate;
pub mod domain;
pub mod durable;
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
