//! An AI as a participant: a member of chats like any other, that answers when it is spoken to.
//!
//! What is still to be answered follows from the bot's own read position, so that nothing needs to
//! be kept beside the chat: after a crash the same unread messages are found again, and a reply's
//! key follows from its question, so that a question has one reply.

mod prompt;
mod responder;

pub use responder::{Responder, ResponderBuilder};
