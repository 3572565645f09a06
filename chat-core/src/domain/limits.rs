//! How much of everything a chat allows.

use std::time::Duration;

use serde::Deserialize;

/// Bounds of the domain. Every refusal names the limit and its value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Characters (code points) of a message's text. Default 10,000.
    pub text_chars: usize,
    /// Bytes of one stored event, as JSON. Default 65,536.
    pub event_bytes: usize,
    /// Characters of a chat's name. Default 200.
    pub name_chars: usize,
    /// Characters of a topic or a reason. Default 2,000.
    pub topic_chars: usize,
    /// People whom one message names. Default 100.
    pub mentions: usize,
    /// Bytes of a reaction's key. Default 64.
    pub reaction_bytes: usize,
    /// Different reactions on one message. Default 50.
    pub reactions_per_message: usize,
    /// Reactions of one member on one message. Default 20.
    pub reactions_per_member: usize,
    /// Edits of one message. Default 1,000.
    pub edits_per_message: usize,
    /// Members of a direct chat. Default 32.
    pub direct_members: usize,
    /// Members named when a group is made; more can be added later. Default 1,000.
    pub initial_members: usize,
    /// Open invitations of one chat. Default 10,000.
    pub invites: usize,
    /// How long after sending a message may be edited; `None`: for ever. Default `None`.
    pub edit_window: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_chars: 10_000,
            event_bytes: 64 << 10,
            name_chars: 200,
            topic_chars: 2_000,
            mentions: 100,
            reaction_bytes: 64,
            reactions_per_message: 50,
            reactions_per_member: 20,
            edits_per_message: 1_000,
            direct_members: 32,
            initial_members: 1_000,
            invites: 10_000,
            edit_window: None,
        }
    }
}
