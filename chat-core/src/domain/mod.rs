//! The rules of a chat, pure: no I/O, no clock, no randomness, no port.
//!
//! Events hold what a command said; everything that follows from it (ordinals, revisions, clamped
//! positions, who is mentioned by "everyone") is derived by the fold. So a repeated command makes
//! the same event, byte for byte, and the store can tell a repeat from a misuse.

mod chat;
mod command;
mod decide;
mod derive;
mod event;
mod limits;
mod member;
mod message;
mod rejection;
mod snapshot;
mod tally;
mod wire;

pub use chat::ChatState;
pub use command::{ChatCommand, EditMessage, Mentions, NewGroup, SendMessage};
pub use decide::{Context, Decision, decide, decide_creation};
pub use derive::{
    chat_id_for_direct, chat_id_for_external_key, command_event_id, creation_event_id,
    message_event_id,
};
pub use event::{
    Access, ChatCreated, ChatEvent, ChatHidden, ChatKind, ChatUpdated, HistoryVisibility,
    InviteDeclined, InviteRevoked, InvitedMember, MarkedUnread, MemberInvited, MemberJoined,
    MemberLeft, MemberRemoved, MessageDeleted, MessageEdited, MessageId, MessageRef, MessageSent,
    OwnershipTransferred, ReactionAdded, ReactionPolicy, ReactionRemoved, ReadAdvanced, Role,
    RoleChanged,
};
pub use limits::Limits;
pub use member::{Member, Membership, readable};
pub use message::{Deletion, MessageState};
pub use rejection::{LimitName, Rejection};
pub use tally::Tally;
pub use wire::{EncodedEvent, WireError, decode, encode};
