//! From a request of the port to the JSON of the API.

use bytes::Bytes;
use chat_core::ports::{LlmError, LlmErrorKind, LlmMessage, LlmRequest, LlmRole};
use serde_json::{Map, Value, json};

use crate::config::{OpenAiConfig, OutputLimitField, UsageRequest};

/// The body of a request.
pub(crate) fn encode(config: &OpenAiConfig, request: &LlmRequest) -> Result<Bytes, LlmError> {
    let messages: Result<Vec<Value>, LlmError> = request.messages.iter().map(message).collect();
    let mut body = Map::new();
    body.insert("model".to_owned(), config.model.as_str().into());
    body.insert("messages".to_owned(), messages?.into());
    body.insert("stream".to_owned(), true.into());
    if config.usage == UsageRequest::Ask {
        body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    if let Some(tokens) = request.max_output_tokens {
        body.insert(output_limit(config).to_owned(), tokens.into());
    }
    if let Some(temperature) = request.temperature {
        body.insert("temperature".to_owned(), number(temperature)?);
    }
    body.extend(config.extra_body.clone());
    let body = serde_json::to_vec(&body);
    body.map(Bytes::from).map_err(|error| refused(format!("the request is not writable: {error}")))
}

fn message(message: &LlmMessage) -> Result<Value, LlmError> {
    let role = match message.role {
        LlmRole::System => "system",
        LlmRole::User => "user",
        LlmRole::Assistant => "assistant",
        // Roles may be added to the port; one that is not known here cannot be sent.
        _ => return Err(refused("a role that this backend does not know")),
    };
    Ok(json!({ "role": role, "content": message.text }))
}

/// The number as somebody would write it: 0.7, not the binary fraction next to it.
fn number(value: f32) -> Result<Value, LlmError> {
    let written: f64 =
        value.to_string().parse().map_err(|_| refused("a temperature that is no number"))?;
    serde_json::Number::from_f64(written)
        .map(Value::Number)
        .ok_or_else(|| refused("a temperature that is not finite"))
}

fn output_limit(config: &OpenAiConfig) -> &'static str {
    match config.output_limit {
        OutputLimitField::MaxCompletionTokens => "max_completion_tokens",
        OutputLimitField::MaxTokens => "max_tokens",
        OutputLimitField::ByHost => {
            let url = reqwest::Url::parse(&config.base_url).ok();
            let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
            let known = ["openai.com", "openai.azure.com"];
            let is_known = |domain: &&str| {
                host.strip_suffix(*domain)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            if known.iter().any(is_known) { "max_completion_tokens" } else { "max_tokens" }
        }
    }
}

fn refused(what: impl Into<String>) -> LlmError {
    LlmError::new(LlmErrorKind::InvalidRequest, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(config: &OpenAiConfig, request: &LlmRequest) -> Value {
        serde_json::from_slice(&encode(config, request).unwrap()).unwrap()
    }

    #[test]
    fn everything_that_is_asked_is_sent() {
        let request = LlmRequest::new(vec![
            LlmMessage::new(LlmRole::System, "be brief"),
            LlmMessage::new(LlmRole::User, "hi \"you\""),
            LlmMessage::new(LlmRole::Assistant, "yes?"),
        ])
        .with_max_output_tokens(9)
        .with_temperature(0.7);
        let mut config = OpenAiConfig::new("m");
        config.extra_body.insert("seed".to_owned(), 3.into());
        let expected = json!({
            "model": "m",
            "messages": [
                { "role": "system", "content": "be brief" },
                { "role": "user", "content": "hi \"you\"" },
                { "role": "assistant", "content": "yes?" },
            ],
            "stream": true,
            "stream_options": { "include_usage": true },
            "max_completion_tokens": 9,
            "temperature": 0.7,
            "seed": 3,
        });
        assert_eq!(encoded(&config, &request), expected);
    }

    #[test]
    fn what_is_not_asked_is_not_sent() {
        let mut config = OpenAiConfig::new("m");
        config.usage = UsageRequest::DoNotAsk;
        let body = encoded(&config, &LlmRequest::default());
        assert_eq!(body, json!({ "model": "m", "messages": [], "stream": true }));
    }

    #[test]
    fn the_name_of_the_limit_follows_the_host() {
        let request = LlmRequest::default().with_max_output_tokens(1);
        let hosts = [
            ("https://api.openai.com/v1", "max_completion_tokens"),
            ("https://x.openai.azure.com/openai/v1", "max_completion_tokens"),
            ("https://notopenai.com/v1", "max_tokens"),
            ("http://127.0.0.1:8080/v1", "max_tokens"),
        ];
        for (url, field) in hosts {
            let config = OpenAiConfig::new("m").with_base_url(url);
            assert!(encoded(&config, &request).get(field).is_some(), "{url}");
        }
    }

    #[test]
    fn a_temperature_that_json_cannot_hold_is_refused() {
        for odd in [f32::NAN, f32::INFINITY] {
            let request = LlmRequest::default().with_temperature(odd);
            let error = encode(&OpenAiConfig::new("m"), &request).err().unwrap();
            assert_eq!(error.kind, LlmErrorKind::InvalidRequest);
        }
    }
}
