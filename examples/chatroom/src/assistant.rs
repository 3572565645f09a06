//! The participant that a model speaks for; without a model, one that says so.

use std::sync::Arc;

use chat_core::llm::OfflineLlm;
use chat_core::ports::LlmBackend;
use chat_core::respond::Responder;
use chat_core::{PresenceGuard, UserHandle};
use chat_llm::{ConfigError, OpenAiBackend, OpenAiConfig};

use crate::config::{Config, Secret};

const SYSTEM_PROMPT: &str = "You are \"assistant\", a participant in a chat room of several people. \
     Answer the last message that is addressed to you, briefly and to the point, in its language. \
     Your answer is shown as plain text. Mention nobody unless it is needed.";
const HINT: &str = "Whoever runs this room can set OPENAI_API_KEY (or --openai-base-url for another \
     server) and start it again.";

/// At work until it is stopped.
#[derive(Debug)]
pub(crate) struct Assistant {
    responder: Responder,
    /// It is there as long as the room is.
    _online: PresenceGuard,
}

impl Assistant {
    pub(crate) fn start(user: UserHandle, backend: Arc<dyn LlmBackend>) -> Self {
        let online = user.connect();
        let responder = Responder::builder(user, backend).with_system_prompt(SYSTEM_PROMPT).start();
        Self { responder, _online: online }
    }

    pub(crate) async fn stop(self) {
        self.responder.stop().await;
    }
}

/// The model that the flags name.
pub(crate) fn backend(config: &Config) -> Result<Arc<dyn LlmBackend>, ConfigError> {
    let given =
        |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let key = given(config.openai_api_key.as_ref().map(Secret::expose));
    let url = given(config.openai_base_url.as_deref());
    if key.is_none() && url.is_none() {
        return Ok(Arc::new(OfflineLlm::new().with_hint(HINT)));
    }
    let model = given(config.openai_model.as_deref());
    let config = OpenAiConfig::from_lookup(|name| match name {
        "OPENAI_API_KEY" => key.clone(),
        "OPENAI_BASE_URL" => url.clone(),
        "OPENAI_MODEL" => model.clone(),
        _ => None,
    })?;
    Ok(Arc::new(OpenAiBackend::new(config)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(arguments: &[&str]) -> Result<String, ConfigError> {
        use clap::Parser as _;
        let nothing = ["chatroom", "--openai-api-key=", "--openai-base-url=", "--openai-model="];
        let arguments = nothing.iter().chain(arguments);
        let config = Config::try_parse_from(arguments).unwrap();
        backend(&config).map(|backend| backend.model().to_owned())
    }

    #[test]
    fn without_a_key_the_assistant_is_offline() {
        assert_eq!(model(&[]), Ok("offline".into()));
        assert_eq!(model(&["--openai-model=m"]), Ok("offline".into()));
    }

    #[test]
    fn a_key_or_a_server_brings_a_model() {
        assert_eq!(model(&["--openai-api-key=k"]), Ok(chat_llm::DEFAULT_MODEL.into()));
        assert_eq!(model(&["--openai-api-key=k", "--openai-model=m"]), Ok("m".into()));
        let local = "--openai-base-url=http://127.0.0.1:11434/v1";
        assert_eq!(model(&[local, "--openai-model=m"]), Ok("m".into()));
        assert_eq!(model(&[local]), Err(ConfigError::MissingModel));
    }
}
