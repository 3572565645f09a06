//! How to reach a server that speaks the OpenAI API, and how long to wait for it.

use std::fmt::Debug;
use std::time::Duration;

use chat_core::ports::{LlmError, LlmErrorKind};

/// How to reach a model. Plain data: any combination is legal until
/// [`OpenAiBackend::new`](crate::OpenAiBackend::new) has looked at it.
///
/// ```
/// use std::time::Duration;
/// use chat_llm::{OpenAiBackend, OpenAiConfig};
///
/// # fn main() -> Result<(), chat_llm::ConfigError> {
/// let mut config = OpenAiConfig::new("qwen3").with_base_url("http://127.0.0.1:8080/v1");
/// config.timeouts.idle = Duration::from_secs(20);
/// let backend = OpenAiBackend::new(config)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct OpenAiConfig {
    /// Which model to ask for; also its name to show.
    pub model: String,
    /// What `/chat/completions` is appended to; a query is kept. Default: [`OPENAI_URL`].
    pub base_url: String,
    /// Sent as a bearer token. Default: none, as local servers want none.
    pub api_key: Option<String>,
    /// Sent as `OpenAI-Organization`. Default: none.
    pub organization: Option<String>,
    /// More headers, for example Azure's `api-key`. Their values are treated as secrets.
    pub extra_headers: Vec<(String, String)>,
    /// More fields of the request's body, for example `reasoning_effort`. They win over the
    /// backend's own.
    pub extra_body: serde_json::Map<String, serde_json::Value>,
    /// Through which proxy. Default: what the environment says.
    pub proxy: ProxyChoice,
    /// The clocks. All run by default.
    pub timeouts: Timeouts,
    /// What happens when the first piece does not come.
    pub retries: Retries,
    /// Whether to ask for token counts. Default: [`UsageRequest::Ask`].
    pub usage: UsageRequest,
    /// How the limit of output tokens is called. Default: [`OutputLimitField::ByHost`].
    pub output_limit: OutputLimitField,
    /// What `[DONE]` means without a reason. Default: [`DoneWithoutReason::Truncated`].
    pub done_without_reason: DoneWithoutReason,
    /// Longest line and longest whole answer that is accepted. Default: 16 MiB.
    pub max_line_bytes: usize,
}

/// OpenAI's own address.
pub const OPENAI_URL: &str = "https://api.openai.com/v1";

/// The model that [`OpenAiConfig::from_env`] takes if nothing else is said.
pub const DEFAULT_MODEL: &str = "gpt-4.1-mini";

impl OpenAiConfig {
    /// This model at OpenAI, without a key.
    #[must_use]
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            base_url: OPENAI_URL.to_owned(),
            api_key: None,
            organization: None,
            extra_headers: Vec::new(),
            extra_body: serde_json::Map::new(),
            proxy: ProxyChoice::Environment,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            usage: UsageRequest::Ask,
            output_limit: OutputLimitField::ByHost,
            done_without_reason: DoneWithoutReason::Truncated,
            max_line_bytes: 16 * 1024 * 1024,
        }
    }

    /// Reads the variables that most tools share:
    ///
    /// - `OPENAI_API_KEY`: the key. Needed unless `OPENAI_BASE_URL` is set, as local servers want
    ///   none.
    /// - `OPENAI_BASE_URL`: another server. Default: [`OPENAI_URL`].
    /// - `OPENAI_MODEL`: the model. Default: [`DEFAULT_MODEL`] at OpenAI; needed elsewhere.
    /// - `OPENAI_ORG_ID`: the organization, if any.
    ///
    /// An empty variable counts as not set. The proxy's variables (`HTTPS_PROXY`, `NO_PROXY`, ...)
    /// are read by [`ProxyChoice::Environment`].
    ///
    /// # Errors
    /// [`ConfigError::MissingKey`] or [`ConfigError::MissingModel`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Like [`from_env`](Self::from_env), with the variables looked up by the caller.
    ///
    /// # Errors
    /// [`ConfigError::MissingKey`] or [`ConfigError::MissingModel`].
    pub fn from_lookup(
        lookup: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let read = |name| lookup(name).filter(|value| !value.trim().is_empty());
        let (key, url) = (read("OPENAI_API_KEY"), read("OPENAI_BASE_URL"));
        let model = match (read("OPENAI_MODEL"), &url) {
            (Some(model), _) => model,
            (None, None) => DEFAULT_MODEL.to_owned(),
            (None, Some(_)) => return Err(ConfigError::MissingModel),
        };
        if key.is_none() && url.is_none() {
            return Err(ConfigError::MissingKey);
        }
        let mut config = Self::new(model);
        config.api_key = key.map(|key| key.trim().to_owned());
        config.organization = read("OPENAI_ORG_ID");
        Ok(match url {
            Some(url) => config.with_base_url(url),
            None => config,
        })
    }

    /// Sets the key.
    #[must_use]
    pub fn with_api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Sets the server.
    #[must_use]
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra_headers.push((name.into(), value.into()));
        self
    }

    /// Chooses the proxy.
    #[must_use]
    pub fn with_proxy(mut self, proxy: ProxyChoice) -> Self {
        self.proxy = proxy;
        self
    }
}

/// Hides the key and the values of headers and body fields.
impl Debug for OpenAiConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<&str> = self.extra_headers.iter().map(|(name, _)| name.as_str()).collect();
        let fields: Vec<&String> = self.extra_body.keys().collect();
        f.debug_struct("OpenAiConfig")
            .field("model", &self.model)
            .field("base_url", &without_credentials(&self.base_url))
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .field("organization", &self.organization)
            .field("extra_headers", &headers)
            .field("extra_body", &fields)
            .field("proxy", &self.proxy)
            .field("timeouts", &self.timeouts)
            .field("retries", &self.retries)
            .field("usage", &self.usage)
            .field("output_limit", &self.output_limit)
            .field("done_without_reason", &self.done_without_reason)
            .field("max_line_bytes", &self.max_line_bytes)
            .finish()
    }
}

/// A URL without its user, password and query, which may hold secrets.
fn without_credentials(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    if url.contains('@') { "***" } else { url }
}

/// Through which proxy requests go.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProxyChoice {
    /// What `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// None, whatever the environment says.
    Direct,
    /// This one for everything; the URL may hold a user and a password.
    Url(String),
}

/// Hides the user and password.
impl Debug for ProxyChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::Direct => f.write_str("Direct"),
            Self::Url(url) => f.debug_tuple("Url").field(&without_credentials(url)).finish(),
        }
    }
}

/// The clocks of a call. Each ends it with [`LlmErrorKind::Timeout`] and a message that names it.
///
/// Until the first piece of the reply only `first_byte`, `first_token` and `total` run: a model
/// may think in silence, and a queue may send comments. From the first piece on, `idle` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Name look-up, TCP and TLS together. Default: 10 s.
    pub connect: Duration,
    /// From sending to the first byte of the answer's head. Default: 120 s.
    pub first_byte: Duration,
    /// From sending to the first piece of the reply. Default: 300 s.
    pub first_token: Duration,
    /// Silence between bytes, comments included, once the reply has begun. Default: 60 s.
    pub idle: Duration,
    /// The whole call, retries and waiting included. Default: 900 s.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(120),
            first_token: Duration::from_secs(300),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(900),
        }
    }
}

/// How often and when a call is repeated before its first piece. After it, nothing is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retries {
    /// How many times the call is repeated. Default: 2.
    pub most: u32,
    /// The wait before the first repetition; it doubles each time. Default: 0.5 s.
    pub first_wait: Duration,
    /// The longest wait of the backend's own choice. Default: 8 s.
    pub longest_wait: Duration,
    /// The longest wait that is granted when the provider asks for one. If it asks for more, the
    /// error is given at once, with that wait in it. Default: 120 s.
    pub longest_asked_wait: Duration,
    /// What the jitter of the waits follows from. Default: something new in each backend.
    pub jitter_seed: Option<u64>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            most: 2,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(8),
            longest_asked_wait: Duration::from_secs(120),
            jitter_seed: None,
        }
    }
}

/// Whether to ask for token counts at the end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsageRequest {
    /// Sends `stream_options.include_usage`.
    Ask,
    /// Does not: some servers refuse the field.
    DoNotAsk,
}

/// How the limit of output tokens is called in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputLimitField {
    /// `max_completion_tokens` at OpenAI and Azure, `max_tokens` elsewhere.
    ByHost,
    /// `max_completion_tokens`, which OpenAI's newer models demand.
    MaxCompletionTokens,
    /// `max_tokens`, the only name that many other servers know.
    MaxTokens,
}

/// What a stream means that is closed by `[DONE]` though no `finish_reason` came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DoneWithoutReason {
    /// The reply may be cut.
    Truncated,
    /// The reply is whole: for servers that are known never to give a reason.
    Complete,
}

/// What is wrong with an [`OpenAiConfig`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Neither a key nor another server.
    #[error("no API key: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server that needs none")]
    MissingKey,
    /// Another server, but no model.
    #[error("no model: set OPENAI_MODEL to a model that the server of OPENAI_BASE_URL has")]
    MissingModel,
    /// Not an address that can be asked.
    #[error("the base URL is not usable: {0}")]
    BaseUrl(String),
    /// The key or a header cannot be sent.
    #[error("the header {0} cannot be sent")]
    Header(String),
    /// Not a proxy's address.
    #[error("the proxy's URL is not usable")]
    Proxy,
    /// No secure connection can be made from this machine.
    #[error("no TLS: {0}")]
    Tls(String),
}

impl From<ConfigError> for LlmError {
    fn from(error: ConfigError) -> Self {
        Self::new(LlmErrorKind::Config, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_pairs(pairs: &[(&str, &str)]) -> Result<OpenAiConfig, ConfigError> {
        OpenAiConfig::from_lookup(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_key_alone_is_enough_for_openai() {
        let config = from_pairs(&[("OPENAI_API_KEY", " sk-1\n")]).unwrap();
        assert_eq!(config.api_key.as_deref(), Some("sk-1"));
        assert_eq!((config.base_url.as_str(), config.model.as_str()), (OPENAI_URL, DEFAULT_MODEL));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(from_pairs(&[]).err(), Some(ConfigError::MissingKey));
        assert_eq!(from_pairs(&[("OPENAI_API_KEY", "")]).err(), Some(ConfigError::MissingKey));
        let local = ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1");
        assert_eq!(from_pairs(&[local]).err(), Some(ConfigError::MissingModel));
        let config = from_pairs(&[local, ("OPENAI_MODEL", "m")]).unwrap();
        assert_eq!((config.api_key, config.model.as_str()), (None, "m"));
    }

    #[test]
    fn debug_hides_every_secret() {
        let mut config = OpenAiConfig::new("m")
            .with_api_key("secret-a")
            .with_header("api-key", "secret-b")
            .with_base_url("https://u:secret-c@example.org/v1?k=secret-d")
            .with_proxy(ProxyChoice::Url("http://u:secret-e@proxy:1".to_owned()));
        config.extra_body.insert("user".to_owned(), "secret-f".into());
        let shown = format!("{config:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("api-key"), "{shown}");
    }
}
