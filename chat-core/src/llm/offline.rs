//! The stand-in for hosts without a model: says so, and never pretends to be one.

use async_trait::async_trait;

use super::script::LlmScript;
use crate::ports::{LlmBackend, LlmError, LlmRequest, LlmStream};

/// A backend for people who have no model configured: every question gets the same short text that
/// says so.
///
/// It reads nothing of the question, waits for nothing and costs nothing. The text comes in a few
/// pieces, so that a host can see streaming work. The text says nothing that a model might have
/// said; [`model`](LlmBackend::model) is `"offline"`.
///
/// ```
/// use chat_core::llm::OfflineLlm;
/// use chat_core::ports::LlmBackend;
///
/// let llm = OfflineLlm::new().with_hint("Set OPENAI_API_KEY and start again.");
/// assert_eq!(llm.model(), "offline");
/// assert!(llm.text().ends_with("Set OPENAI_API_KEY and start again."));
/// ```
#[derive(Debug, Clone)]
pub struct OfflineLlm {
    text: String,
}

impl OfflineLlm {
    /// Says that no model is configured.
    #[must_use]
    pub fn new() -> Self {
        Self { text: format!("{FACT} {DEFAULT_HINT}") }
    }

    /// Replaces the second sentence: how somebody configures a model in this host.
    #[must_use]
    pub fn with_hint(self, hint: impl AsRef<str>) -> Self {
        Self { text: format!("{FACT} {}", hint.as_ref()) }
    }

    /// The whole reply, for example to recognise it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Default for OfflineLlm {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl LlmBackend for OfflineLlm {
    fn model(&self) -> &'static str {
        MODEL
    }

    async fn generate(&self, _request: LlmRequest) -> Result<LlmStream, LlmError> {
        let script = LlmScript::pieces(pieces(&self.text)).with_model(MODEL);
        script.start(()).await
    }
}

/// Cuts behind spaces: concatenated, the pieces are the text, bit for bit.
fn pieces(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    words.chunks(WORDS_PER_PIECE).map(<[&str]>::concat).collect()
}

const MODEL: &str = "offline";
const WORDS_PER_PIECE: usize = 4;
const FACT: &str = "This is an automatic notice, not a model's answer: no language model is \
                    configured here, so the chat runs offline.";
const DEFAULT_HINT: &str = "Whoever runs this chat can configure a model; people can go on \
                            writing to each other meanwhile.";

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;
    use crate::ports::{EndReason, LlmEvent, LlmMessage, LlmRole};

    async fn reply(llm: &OfflineLlm, question: &str) -> Vec<LlmEvent> {
        let request = LlmRequest::new(vec![LlmMessage::new(LlmRole::User, question)]);
        llm.generate(request).await.unwrap().collect().await
    }

    #[tokio::test]
    async fn says_that_it_is_offline_in_several_pieces() {
        let llm = OfflineLlm::new();
        let events = reply(&llm, "who are you?").await;
        let mut text = String::new();
        for event in &events {
            if let LlmEvent::Text(piece) = event {
                text.push_str(piece);
            }
        }
        assert_eq!(text, llm.text());
        assert!(text.contains("no language model is configured"), "{text}");
        assert!(events.len() > 3, "{} events", events.len());
        let Some(LlmEvent::End(outcome)) = events.last() else { panic!("no ending") };
        assert_eq!(outcome.reason, EndReason::Complete);
        assert_eq!(outcome.model.as_deref(), Some("offline"));
    }

    #[tokio::test]
    async fn every_question_gets_the_same_reply() {
        let llm = OfflineLlm::new().with_hint("Set a key.");
        assert_eq!(reply(&llm, "one").await, reply(&llm, "two").await);
    }
}
