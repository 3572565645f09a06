//! From what a provider, a proxy or the transport said to an [`LlmError`]. The one place where
//! codes and phrasings are known.

use std::error::Error as _;
use std::time::Duration;

use chat_core::ports::{LlmError, LlmErrorKind};
use serde_json::Value;

use crate::discretion::Discretion;

/// The error of an answer's body: JSON in any of the shapes that are in use, HTML or plain text.
/// `status` is 200 if it came inside a stream.
pub(crate) fn of_body(status: u16, body: &[u8], discretion: &Discretion) -> LlmError {
    let said = match serde_json::from_slice::<Value>(body) {
        Ok(json) => Said::of_json(&json),
        Err(_) => Said { message: plain(body), ..Said::default() },
    };
    let number = said.codes.iter().find_map(|code| code.parse::<u16>().ok());
    let number = number.filter(|number| (400..600).contains(number));
    let status = if status == 200 { number.unwrap_or(status) } else { status };
    let kind = said.kind(status);
    let message = match discretion.excerpt(&said.message) {
        empty if empty.is_empty() => format!("status {status} without a message"),
        message => message,
    };
    let codes: Vec<String> = said.codes.iter().map(|code| discretion.excerpt(code)).collect();
    let message =
        if codes.is_empty() { message } else { format!("{message} ({})", codes.join(", ")) };
    LlmError::new(kind, message).with_status(status).with_retry_after(said.retry_after)
}

/// Whether a body is a list that starts with an error.
pub(crate) fn is_error_list(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body)
        .is_ok_and(|json| json.get(0).is_some_and(|first| first.get("error").is_some()))
}

/// The error of a transport that failed, without the address, which may hold a key.
pub(crate) fn of_transport(error: &reqwest::Error, discretion: &Discretion) -> LlmError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    // The outermost message holds the URL; deeper ones do not.
    let cause = if error.source().is_some() { cause.to_string() } else { String::new() };
    let cause = discretion.excerpt(&cause);
    let kind = if error.is_timeout() {
        LlmErrorKind::Timeout
    } else if error.is_builder() {
        LlmErrorKind::Config
    } else {
        LlmErrorKind::Transport
    };
    let what = match (error.is_connect(), error.is_timeout()) {
        (true, true) => "no connection within the limit",
        (true, false) => "no connection",
        (false, true) => "no answer within the limit",
        (false, false) => "the connection broke",
    };
    let message = if cause.is_empty() { what.to_owned() } else { format!("{what}: {cause}") };
    LlmError::new(kind, message)
}

/// What an error says, apart from its status.
#[derive(Debug, Default)]
struct Said {
    message: String,
    /// `type` and `code`, as they are.
    codes: Vec<String>,
    retry_after: Option<Duration>,
}

impl Said {
    fn of_json(json: &Value) -> Self {
        let json = match json {
            Value::Array(items) => items.first().unwrap_or(json),
            other => other,
        };
        let error = match json.get("error") {
            Some(error) if !error.is_null() => error,
            _ => json,
        };
        let message = ["message", "detail", "error", "msg", "error_message"]
            .iter()
            .find_map(|name| text(error.get(name)?))
            .or_else(|| text(error))
            .unwrap_or_default();
        let mut codes: Vec<String> = Vec::new();
        for source in [error, json] {
            for name in ["type", "code", "status"] {
                let code = match source.get(name) {
                    Some(Value::String(code)) if !code.is_empty() => code.clone(),
                    Some(Value::Number(code)) => code.to_string(),
                    _ => continue,
                };
                if !codes.contains(&code) {
                    codes.push(code);
                }
            }
        }
        Self { message, codes, retry_after: retry_delay(error) }
    }

    fn kind(&self, status: u16) -> LlmErrorKind {
        let message = self.message.to_lowercase();
        let codes: Vec<String> = self.codes.iter().map(|code| code.to_lowercase()).collect();
        let has = |list: &[&str]| codes.iter().any(|code| list.contains(&code.as_str()));
        if has(QUOTA_CODES) || status == 402 {
            return LlmErrorKind::QuotaExhausted;
        }
        let overflow = || OVERFLOW_PHRASES.iter().any(|phrase| message.contains(phrase));
        if has(OVERFLOW_CODES) || (!matches!(status, 401 | 403 | 404 | 429) && overflow()) {
            return LlmErrorKind::ContextOverflow;
        }
        // Broad types such as "invalid_request_error" say less than a status does.
        let broad = if status == 200 { KINDS_OF_BROAD_CODES } else { &[] };
        let known = KINDS_OF_CODES.iter().chain(broad).find(|(_, list)| has(list));
        known.map_or_else(|| kind_of_status(status), |(kind, _)| *kind)
    }
}

fn kind_of_status(status: u16) -> LlmErrorKind {
    match status {
        401 => LlmErrorKind::Authentication,
        402 => LlmErrorKind::QuotaExhausted,
        403 => LlmErrorKind::Forbidden,
        404 | 410 => LlmErrorKind::NotFound,
        408 => LlmErrorKind::Timeout,
        429 => LlmErrorKind::RateLimited,
        503 | 529 => LlmErrorKind::Overloaded,
        300..=399 => LlmErrorKind::Protocol,
        // A lock that somebody else holds passes; so does what broke on the other side.
        409 | 500..=599 => LlmErrorKind::Server,
        400..=499 => LlmErrorKind::InvalidRequest,
        // An error inside a stream without a status: the provider failed.
        _ => LlmErrorKind::Server,
    }
}

/// A message: a string, or the `msg` of a list of complaints. Never the `input` that some
/// frameworks put beside it, which is what somebody wrote.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) => fields.get("message").or_else(|| fields.get("msg")).and_then(text),
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().filter_map(text).collect();
            (!texts.is_empty()).then(|| texts.join("; "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Google's way to say how long to wait: `details[].retryDelay`, such as `"17s"`.
fn retry_delay(error: &Value) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The words of a body that is no JSON; of HTML only what stands between the tags.
fn plain(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    if !body.trim_start().starts_with('<') {
        return body.into_owned();
    }
    let mut text = String::new();
    for part in body.split('<') {
        text.push_str(part.split_once('>').map_or("", |(_, behind)| behind));
        text.push(' ');
    }
    text
}

const QUOTA_CODES: &[&str] = &[
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
    "billing_not_active",
];

const OVERFLOW_CODES: &[&str] = &[
    "context_length_exceeded",
    "context_window_exceeded",
    "exceed_context_size_error",
    "model_context_window_exceeded",
    "contextwindowexceedederror",
    "prompt_too_long",
];

type KindsOfCodes = &'static [(LlmErrorKind, &'static [&'static str])];

const KINDS_OF_CODES: KindsOfCodes = &[
    (
        LlmErrorKind::RateLimited,
        &[
            "rate_limit_exceeded",
            "rate_limit_error",
            "slow_down",
            "resource_exhausted",
            "tokens",
            "requests",
        ],
    ),
    (
        LlmErrorKind::Overloaded,
        &["overloaded_error", "server_is_overloaded", "service_unavailable_error", "unavailable"],
    ),
    (
        LlmErrorKind::Authentication,
        &["invalid_api_key", "authentication_error", "unauthenticated", "account_deactivated"],
    ),
    (
        LlmErrorKind::Forbidden,
        &["permission_error", "permission_denied", "unsupported_country_region_territory"],
    ),
    (LlmErrorKind::NotFound, &["model_not_found", "not_found_error", "not_found"]),
    (LlmErrorKind::Timeout, &["timeout_error", "deadline_exceeded"]),
];

const KINDS_OF_BROAD_CODES: KindsOfCodes = &[
    (
        LlmErrorKind::Server,
        &["server_error", "internal_server_error", "internal_error", "api_error"],
    ),
    (
        LlmErrorKind::InvalidRequest,
        &[
            "invalid_request_error",
            "invalid_argument",
            "badrequesterror",
            "invalid_prompt",
            "content_policy_violation",
        ],
    ),
];

/// How servers say that a conversation does not fit, in lower case.
const OVERFLOW_PHRASES: &[&str] = &[
    "context length",
    "context window",
    "context size",
    "context limit",
    "maximum context",
    "contextwindowexceeded",
    "context_length_exceeded",
    "exceed_context_size",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "too many input tokens",
    "prompt has too many tokens",
    "maximum prompt length",
    "maximum model length",
    "model's maximum length",
    "prompt exceeds max length",
    "prompt token count",
    "input token count",
    "input length exceeds",
    "exceeded model token limit",
    "exceeds the model's token limit",
    "reduce the length of the messages",
    "reduce the length of your prompt",
    "range of input length should be",
    "`inputs` tokens + `max_new_tokens`",
    "inputs tokens + max_new_tokens",
    "`inputs` must have less than",
    "longer than the model's context",
    "too large for model with",
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chat_core::ports::LlmRequest;

    use super::*;

    fn of(status: u16, body: &str) -> LlmError {
        of_body(status, body.as_bytes(), &Discretion::new(Arc::from([]), LlmRequest::default()))
    }

    #[test]
    fn every_shape_of_an_error_body_is_read() {
        let shapes = [
            r#"{"error":{"message":"boom","type":"server_error","param":null,"code":null}}"#,
            r#"{"error":{"message":"boom","code":500}}"#,
            r#"{"error":"boom"}"#,
            r#"{"object":"error","message":"boom","type":"InternalServerError","code":500}"#,
            r#"[{"error":{"code":500,"message":"boom","status":"INTERNAL"}}]"#,
            r#"{"message":"boom"}"#,
            r#"{"detail":"boom"}"#,
            r#"{"detail":[{"loc":["body"],"msg":"boom","input":"what somebody wrote"}]}"#,
            r#"{"error":{"error":{"message":"boom"}}}"#,
            "boom",
            "<html><head><title>boom</title></head><body></body></html>",
        ];
        for body in shapes {
            let error = of(500, body);
            assert_eq!(error.kind, LlmErrorKind::Server, "{body}");
            assert!(error.message.starts_with("boom"), "{body}: {}", error.message);
            assert!(!error.message.contains("somebody"), "{}", error.message);
            assert_eq!(error.status, Some(500), "{body}");
        }
        assert_eq!(of(500, "").message, "status 500 without a message");
        assert_eq!(of(500, "{}").message, "status 500 without a message");
    }

    #[test]
    fn codes_win_over_the_status() {
        let table = [
            (429, "rate_limit_exceeded", LlmErrorKind::RateLimited),
            (429, "insufficient_quota", LlmErrorKind::QuotaExhausted),
            (429, "credit_balance_exhausted", LlmErrorKind::QuotaExhausted),
            (429, "organization_spend_limit_exceeded", LlmErrorKind::QuotaExhausted),
            (429, "project_spend_limit_exceeded", LlmErrorKind::QuotaExhausted),
            (429, "organization_usage_limit_exceeded", LlmErrorKind::QuotaExhausted),
            (400, "context_length_exceeded", LlmErrorKind::ContextOverflow),
            (400, "exceed_context_size_error", LlmErrorKind::ContextOverflow),
            (503, "slow_down", LlmErrorKind::RateLimited),
            (503, "server_is_overloaded", LlmErrorKind::Overloaded),
            (400, "invalid_api_key", LlmErrorKind::Authentication),
            (400, "model_not_found", LlmErrorKind::NotFound),
            (200, "server_error", LlmErrorKind::Server),
            (200, "429", LlmErrorKind::RateLimited),
            (200, "something new", LlmErrorKind::Server),
            (418, "something new", LlmErrorKind::InvalidRequest),
        ];
        for (status, code, kind) in table {
            let body = format!(r#"{{"error":{{"message":"m","code":"{code}"}}}}"#);
            assert_eq!(of(status, &body).kind, kind, "{status} {code}");
        }
    }

    #[test]
    fn the_status_decides_where_nothing_else_is_said() {
        let table = [
            (400, LlmErrorKind::InvalidRequest),
            (401, LlmErrorKind::Authentication),
            (402, LlmErrorKind::QuotaExhausted),
            (403, LlmErrorKind::Forbidden),
            (404, LlmErrorKind::NotFound),
            (408, LlmErrorKind::Timeout),
            (409, LlmErrorKind::Server),
            (413, LlmErrorKind::InvalidRequest),
            (422, LlmErrorKind::InvalidRequest),
            (429, LlmErrorKind::RateLimited),
            (500, LlmErrorKind::Server),
            (502, LlmErrorKind::Server),
            (503, LlmErrorKind::Overloaded),
            (504, LlmErrorKind::Server),
            (524, LlmErrorKind::Server),
            (529, LlmErrorKind::Overloaded),
            (307, LlmErrorKind::Protocol),
        ];
        for (status, kind) in table {
            assert_eq!(of(status, "x").kind, kind, "{status}");
        }
    }

    #[test]
    fn the_many_ways_to_say_that_a_conversation_does_not_fit() {
        let phrasings = [
            "This model's maximum context length is 8192 tokens, however you requested 9000",
            "prompt is too long: 210000 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            "Input is too long for requested model.",
            "The input token count (1196265) exceeds the maximum number of tokens allowed",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
            "Please reduce the length of the messages or completion.",
            "the request exceeds the available context size, try increasing it",
            "tokens to keep from the initial prompt is greater than the context length",
            "prompt token count of 140000 exceeds the limit of 128000",
            "invalid params, context window exceeds limit",
            "Your request exceeded model token limit: 262144",
            "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
            "The decoder prompt (length 5000) is longer than the maximum model length of 4096",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096",
            "Input validation error: `inputs` must have less than 1024 tokens",
            "The input (9000 tokens) is longer than the model's context length (8192 tokens)",
            "Prompt exceeds max length",
            "prompt too long; exceeded max context length by 12 tokens",
            "Range of input length should be [1, 129024]",
            "litellm.ContextWindowExceededError: litellm.BadRequestError: x",
        ];
        for phrasing in phrasings {
            let body = serde_json::json!({"error": {"message": phrasing, "type": "invalid_request_error"}});
            let error = of(400, &body.to_string());
            assert_eq!(error.kind, LlmErrorKind::ContextOverflow, "{phrasing}");
        }
        let pace =
            r#"{"error":{"message":"Request too large: reduce the length of the messages"}}"#;
        assert_eq!(of(429, pace).kind, LlmErrorKind::RateLimited);
    }

    #[test]
    fn the_wait_in_a_google_body_is_read() {
        let body = r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED",
            "details":[{"@type":"x"},{"retryDelay":"17.5s"}]}}]"#;
        let error = of(429, body);
        assert_eq!(error.kind, LlmErrorKind::RateLimited);
        assert_eq!(error.retry_after, Some(Duration::from_millis(17_500)));
    }
}
