//! The rules of a chat: given what happened, when somebody asks for something, then this event or
//! this refusal.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod asking;
mod counts;
mod creation;
mod direct;
mod edits;
mod ids;
mod invitations;
mod limits;
mod members;
mod messages;
mod reactions;
mod reading;
mod roles;
mod sight;
mod wire;
