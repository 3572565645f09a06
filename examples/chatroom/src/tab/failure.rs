//! Why a tab's question was not answered: a code for the page, a sentence for people.

use chat_core::domain::Rejection;
use chat_core::ports::StoreError;
use chat_core::{ChatError, InvalidId};
use serde::Serialize;

use crate::directory::DirectoryError;
use crate::site::RoomError;

/// The answer that says no.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    code: &'static str,
    message: String,
    /// The same question may be answered later.
    retry: bool,
}

impl Failure {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry: false }
    }

    pub(super) fn bad_request() -> Self {
        Self::new("bad_request", "This page asked something that the server does not understand.")
    }

    fn later() -> Self {
        let message = "The server cannot do this at this moment.";
        Self { retry: true, ..Self::new("unavailable", message) }
    }
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Rejected(rejection) => rejection.into(),
            ChatError::IdempotencyConflict { .. } => {
                Self::new("key_reused", "This was sent before with other words.")
            }
            ChatError::InvalidToken => Self::new("invalid_token", "This place is not known."),
            ChatError::ShuttingDown => Self::later(),
            other if other.is_retryable() => Self::later(),
            other => {
                tracing::error!(error = %other, "a command failed");
                Self::new("failed", "Something went wrong on the server.")
            }
        }
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let (code, message) = match &rejection {
            // One answer for both: who is not in a room does not learn whether there is one.
            Rejection::ChatNotFound | Rejection::NotMember => {
                ("not_member", "You are not in this room.")
            }
            Rejection::Forbidden { .. } => ("forbidden", "You may not do this here."),
            Rejection::LastOwner => {
                ("last_owner", "You own this room. Somebody has to take it over before you leave.")
            }
            Rejection::MessageNotFound => ("no_message", "There is no such message."),
            Rejection::MessageGone => ("message_gone", "This message was deleted."),
            Rejection::RevisionConflict { .. } => {
                ("revision_conflict", "Somebody else edited this message meanwhile.")
            }
            Rejection::EditWindowPassed { .. } => {
                ("edit_window_passed", "This message can no longer be edited.")
            }
            Rejection::LimitExceeded { name, limit, .. } => {
                return Self::new(
                    "limit_exceeded",
                    format!("Too much: the {name} may be {limit}."),
                );
            }
            _ => return Self::new("rejected", format!("Not possible: {rejection}.")),
        };
        Self::new(code, message)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        ChatError::from(error).into()
    }
}

impl From<RoomError> for Failure {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Chat(error) => error.into(),
            RoomError::Directory(DirectoryError::Store(error)) => error.into(),
            RoomError::Directory(DirectoryError::Full) => Self::new("full", error.to_string()),
            RoomError::BadName => Self::new("bad_name", error.to_string()),
            RoomError::NameTaken => Self::new("name_taken", error.to_string()),
        }
    }
}

impl From<InvalidId> for Failure {
    fn from(_: InvalidId) -> Self {
        Self::bad_request()
    }
}
