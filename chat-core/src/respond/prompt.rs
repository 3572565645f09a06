//! From the messages of a chat to a request: a pure function.

use std::sync::Arc;

use crate::domain::MessageState;
use crate::id::UserId;
use crate::ports::{LlmMessage, LlmRequest, LlmRole};

/// Asks for the bot's next message in a conversation, oldest message first. Deleted messages are
/// left out; what others wrote is prefixed with who wrote it.
pub(super) fn request(
    system: Option<&str>,
    bot: &UserId,
    conversation: &[Arc<MessageState>],
    max_output_tokens: Option<u32>,
) -> LlmRequest {
    let mut messages = Vec::with_capacity(conversation.len() + 1);
    messages.extend(system.map(|text| LlmMessage::new(LlmRole::System, text)));
    for message in conversation.iter().filter(|message| message.deleted.is_none()) {
        messages.push(if message.author == *bot {
            LlmMessage::new(LlmRole::Assistant, &*message.text)
        } else {
            LlmMessage::new(LlmRole::User, format!("{}: {}", message.author, message.text))
        });
    }
    let request = LlmRequest::new(messages);
    match max_output_tokens {
        Some(tokens) => request.with_max_output_tokens(tokens),
        None => request,
    }
}
