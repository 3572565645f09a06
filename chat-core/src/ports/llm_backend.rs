//! The port to a language model: a request in, a stream of pieces and one honest ending out.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;
use serde::{Deserialize, Serialize};

/// A language model.
///
/// # Guarantees
///
/// 1. **One ending.** A stream gives any number of pieces and then exactly one
///    [`LlmEvent::End`]; nothing follows it, and the stream then ends.
/// 2. **Honest.** [`EndReason::Complete`] only if the provider said so. A stream that just stops
///    is [`EndReason::Truncated`]; an error after some text is [`EndReason::Failed`] behind that
///    text. Nothing is dropped in silence.
/// 3. **Valid text.** Pieces are whole UTF-8 and their concatenation is the reply.
/// 4. **Bounded in time and memory.** Connecting, the first byte, the silence between bytes and
///    the whole each have a limit; so has whatever the backend holds.
/// 5. **Dropping the stream stops the model**: the connection is closed at once.
///
/// # Errors
/// [`generate`](Self::generate) fails only before the first piece. [`LlmError::is_retryable`] says
/// whether the same request may succeed later.
///
/// # Cancel safety
/// Dropping the future or the stream stops the call; what it cost until then is spent.
///
/// # Cost
/// One request to the provider; retries before the first piece are the backend's business.
#[async_trait]
pub trait LlmBackend: Debug + Send + Sync + 'static {
    /// What to show as the model's name.
    fn model(&self) -> &str;

    /// Asks the model.
    ///
    /// # Errors
    /// [`LlmError`], before anything was generated.
    async fn generate(&self, request: LlmRequest) -> Result<LlmStream, LlmError>;
}

/// Pieces of a reply, then its end.
pub type LlmStream = Pin<Box<dyn Stream<Item = LlmEvent> + Send + 'static>>;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct LlmRequest {
    /// The conversation, oldest first.
    pub messages: Vec<LlmMessage>,
    /// Most tokens to generate; the provider's default if `None`.
    pub max_output_tokens: Option<u32>,
    /// Sampling temperature; the provider's default if `None`.
    pub temperature: Option<f32>,
}

impl LlmRequest {
    /// A request with this conversation and the provider's defaults.
    #[must_use]
    pub fn new(messages: Vec<LlmMessage>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// Bounds the length of the reply.
    #[must_use]
    pub fn with_max_output_tokens(mut self, tokens: u32) -> Self {
        self.max_output_tokens = Some(tokens);
        self
    }

    /// Sets the sampling temperature.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f32) -> Self {
        self.temperature = Some(temperature);
        self
    }
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq)]
pub struct LlmMessage {
    /// Who speaks.
    pub role: LlmRole,
    /// What is said.
    pub text: String,
}

impl LlmMessage {
    /// A message.
    #[must_use]
    pub fn new(role: LlmRole, text: impl Into<String>) -> Self {
        Self { role, text: text.into() }
    }
}

/// Shows the length only: logs must not hold what people wrote.
impl Debug for LlmMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LlmMessage({:?}, {} bytes)", self.role, self.text.len())
    }
}

/// Who speaks in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LlmRole {
    /// Instructions of the host.
    System,
    /// A person.
    User,
    /// The model.
    Assistant,
}

/// What a stream gives.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum LlmEvent {
    /// More of the reply.
    Text(String),
    /// More of what the model thinks before it answers; not part of the reply.
    Reasoning(String),
    /// The end; exactly once, last.
    End(LlmOutcome),
}

impl Debug for LlmEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Reasoning(text) => write!(f, "Reasoning({} bytes)", text.len()),
            Self::End(outcome) => f.debug_tuple("End").field(outcome).finish(),
        }
    }
}

/// How a reply ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LlmOutcome {
    /// Why it ended.
    pub reason: EndReason,
    /// The provider's own word for the reason.
    pub raw_reason: Option<String>,
    /// What was counted, if the provider said.
    pub usage: Option<LlmUsage>,
    /// The model that answered, if the provider said.
    pub model: Option<String>,
}

impl LlmOutcome {
    /// An ending of which nothing but the reason is known.
    #[must_use]
    pub fn new(reason: EndReason) -> Self {
        Self { reason, raw_reason: None, usage: None, model: None }
    }

    /// Adds the provider's own word.
    #[must_use]
    pub fn with_raw_reason(mut self, raw: Option<String>) -> Self {
        self.raw_reason = raw;
        self
    }

    /// Adds the usage.
    #[must_use]
    pub fn with_usage(mut self, usage: Option<LlmUsage>) -> Self {
        self.usage = usage;
        self
    }

    /// Adds the model.
    #[must_use]
    pub fn with_model(mut self, model: Option<String>) -> Self {
        self.model = model;
        self
    }
}

/// Why a reply ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EndReason {
    /// The provider said that the model had finished.
    Complete,
    /// The limit of output tokens was reached.
    Length,
    /// The provider withheld the rest.
    ContentFilter,
    /// The model wants a tool to be called.
    ToolCalls,
    /// The provider gave another reason, kept in [`LlmOutcome::raw_reason`].
    Other,
    /// The stream stopped without a word; the reply may be cut.
    Truncated,
    /// An error came behind the pieces given so far.
    Failed(LlmError),
}

/// Tokens, as the provider counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LlmUsage {
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Tokens of the reply, reasoning included.
    pub output_tokens: u64,
}

impl LlmUsage {
    /// A count.
    #[must_use]
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self { input_tokens, output_tokens }
    }
}

/// Why a model did not answer, or stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
#[non_exhaustive]
pub struct LlmError {
    /// The class of error, to act on.
    pub kind: LlmErrorKind,
    /// What the provider or the transport said, bounded, without secrets.
    pub message: String,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
}

impl LlmError {
    /// An error without a status.
    #[must_use]
    pub fn new(kind: LlmErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), status: None, retry_after: None }
    }

    /// Adds the HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds the wait that the provider asks for.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            LlmErrorKind::RateLimited
            | LlmErrorKind::Overloaded
            | LlmErrorKind::Server
            | LlmErrorKind::Transport
            | LlmErrorKind::Timeout => true,
            LlmErrorKind::InvalidRequest
            | LlmErrorKind::ContextOverflow
            | LlmErrorKind::Authentication
            | LlmErrorKind::Forbidden
            | LlmErrorKind::NotFound
            | LlmErrorKind::QuotaExhausted
            | LlmErrorKind::Protocol
            | LlmErrorKind::Config => false,
        }
    }
}

/// The class of an [`LlmError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LlmErrorKind {
    /// The provider refuses the request as it is.
    InvalidRequest,
    /// The conversation does not fit the model.
    ContextOverflow,
    /// The key is missing, wrong or revoked.
    Authentication,
    /// Not allowed: region, permission, moderation.
    Forbidden,
    /// No such model or address.
    NotFound,
    /// Too many requests; slower.
    RateLimited,
    /// The money or the quota is gone; waiting does not help.
    QuotaExhausted,
    /// The provider has too much to do.
    Overloaded,
    /// The provider failed.
    Server,
    /// The connection failed or broke.
    Transport,
    /// A time limit passed; the message says which.
    Timeout,
    /// The answer is not what the protocol says.
    Protocol,
    /// The backend is set up wrongly.
    Config,
}

impl std::fmt::Display for LlmErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InvalidRequest => "invalid request",
            Self::ContextOverflow => "context overflow",
            Self::Authentication => "authentication failed",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not found",
            Self::RateLimited => "rate limited",
            Self::QuotaExhausted => "quota exhausted",
            Self::Overloaded => "overloaded",
            Self::Server => "server error",
            Self::Transport => "transport error",
            Self::Timeout => "timed out",
            Self::Protocol => "protocol error",
            Self::Config => "configuration error",
        })
    }
}
