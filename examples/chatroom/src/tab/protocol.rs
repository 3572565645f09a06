//! What a tab may ask. Everything is parsed here, into types that hold only what is allowed.
//!
//! Question: `{"id": 7, "op": "send", ...}`. Answer: `{"re": 7, "ok": {...}}` or `{"re": 7, "error":
//! {"code", "message", "retry"}}`. Unasked: `{"push": "events", ...}`.

use chat_core::domain::MessageId;
use chat_core::{ChatId, ClientMessageId, CommandId, UserId, Version};
use serde::Deserialize;

/// The part of a question that makes an answer possible.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    pub(super) id: u64,
}

/// A message by its id; what else the page knows of it is not needed.
#[derive(Debug, Deserialize)]
pub(super) struct Reference {
    pub(super) message: MessageId,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Op {
    Ping,
    /// The chat as it is now; then its events.
    Open {
        room: ChatId,
        limit: usize,
    },
    /// The chat's events from where the tab stopped.
    Resume {
        room: ChatId,
        token: String,
    },
    Close {
        room: ChatId,
    },
    History {
        room: ChatId,
        before: Version,
        limit: usize,
    },
    Message {
        room: ChatId,
        message: MessageId,
    },
    Send {
        room: ChatId,
        client_message_id: ClientMessageId,
        #[serde(flatten)]
        content: Content,
        reply_to: Option<Reference>,
    },
    Edit {
        room: ChatId,
        message: MessageId,
        #[serde(flatten)]
        content: Content,
        command_id: CommandId,
    },
    Delete {
        room: ChatId,
        message: MessageId,
        command_id: CommandId,
    },
    React {
        room: ChatId,
        message: MessageId,
        key: String,
        command_id: CommandId,
    },
    Unreact {
        room: ChatId,
        message: MessageId,
        key: String,
        command_id: CommandId,
    },
    MarkRead {
        room: ChatId,
        up_to: Version,
        command_id: CommandId,
    },
    Typing {
        room: ChatId,
        on: bool,
    },
    Join {
        room: ChatId,
        command_id: CommandId,
    },
    Leave {
        room: ChatId,
        command_id: CommandId,
    },
    CreateRoom {
        name: String,
    },
    OpenDirect {
        user: String,
    },
    Chats {
        after: Option<String>,
        limit: usize,
    },
    Rooms,
    Members {
        room: ChatId,
        after: Option<UserId>,
    },
}

/// What a message says.
#[derive(Debug, Deserialize)]
pub(super) struct Content {
    pub(super) text: String,
    #[serde(default)]
    pub(super) mentions: Vec<UserId>,
    #[serde(default)]
    pub(super) mention_all: bool,
}

/// Reads a question; what is wrong with it is nobody's business but the sender's.
pub(super) fn parse(text: &str) -> (Option<u64>, Option<Op>) {
    let id = serde_json::from_str::<Envelope>(text).ok().map(|envelope| envelope.id);
    (id, serde_json::from_str(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_without_sense_still_gets_its_id_back() {
        for (text, id) in [
            (r#"{"id":1,"op":"fly"}"#, Some(1)),
            (r#"{"id":2}"#, Some(2)),
            (r#"{"id":3,"op":"join","room":"a/b","command_id":"1"}"#, Some(3)),
            (r#"{"id":4,"op":"history","room":"a","before":-1,"limit":5}"#, Some(4)),
            (r#"{"id":-1,"op":"rooms"}"#, None),
            ("[]", None),
            ("", None),
            ("{", None),
        ] {
            let (found, op) = parse(text);
            assert_eq!(found, id, "{text}");
            assert!(id.is_none() || op.is_none(), "{text}");
        }
    }

    #[test]
    fn a_message_is_taken_as_it_stands() {
        let text = r#"{"id":1,"op":"send","room":"a","client_message_id":"k","text":"  <b>\u0000 ",
            "reply_to":{"message":"00000000-0000-8000-8000-000000000000","seq":4}}"#;
        match parse(text) {
            (Some(1), Some(Op::Send { content, reply_to: Some(_), .. })) => {
                assert_eq!(content.text, "  <b>\0 ");
                assert!(content.mentions.is_empty() && !content.mention_all);
            }
            other => panic!("{other:?}"),
        }
    }
}
