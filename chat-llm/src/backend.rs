//! The port over HTTP: one call is one request, repeated until its first piece has come.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chat_core::ports::{
    EndReason, LlmBackend, LlmError, LlmErrorKind, LlmEvent, LlmRequest, LlmStream,
};
use chat_core::{Clock, SystemClock};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, timeout_at};

use crate::config::{ConfigError, OpenAiConfig};
use crate::discretion::Discretion;
use crate::reader::{self, Body, Deadlines, Reader, after};
use crate::retry::{self, Failure, Retrier};
use crate::{error, http, request};

/// A model behind the OpenAI chat completions API, or behind a server that speaks it.
///
/// # What it does beyond the port's contract
///
/// - `generate` returns when the first piece has come, or the ending of a reply without any. Until
///   then it repeats the call as [`Retries`](crate::Retries) says; afterwards never.
/// - The reply is complete only if the server gave a `finish_reason` that says so. An error of the
///   transport behind that reason changes nothing any more.
/// - A whole JSON answer in the place of a stream is taken as one piece.
/// - Bytes that are no UTF-8 become U+FFFD.
/// - Error messages are bounded excerpts without keys and without longer runs of the request.
///   Nothing of a request or a reply is logged.
/// - Redirects are refused; compression is not offered.
///
/// # Cancel safety
/// Dropping the future or the stream closes the connection at once, which stops the model at
/// servers that notice.
///
/// # Cost
/// Clones share one connection pool. Up to 1 + [`Retries::most`](crate::Retries::most) requests.
/// Memory: what the network delivered at once, at most
/// [`max_line_bytes`](OpenAiConfig::max_line_bytes) of an unfinished line, and the request.
///
/// ```no_run
/// use chat_core::ports::{LlmBackend, LlmEvent, LlmMessage, LlmRequest, LlmRole};
/// use chat_llm::{OpenAiBackend, OpenAiConfig};
/// use futures::StreamExt;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = OpenAiBackend::new(OpenAiConfig::from_env()?)?;
/// let question = LlmMessage::new(LlmRole::User, "What is an event store?");
/// let mut reply = backend.generate(LlmRequest::new(vec![question])).await?;
/// let mut text = String::new();
/// while let Some(event) = reply.next().await {
///     match event {
///         LlmEvent::Text(piece) => text.push_str(&piece),
///         LlmEvent::End(outcome) => println!("{text}\n({:?})", outcome.reason),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OpenAiBackend {
    shared: Arc<Shared>,
}

impl OpenAiBackend {
    /// A backend that is ready to be asked. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ConfigError`] if the configuration cannot be used.
    pub fn new(config: OpenAiConfig) -> Result<Self, ConfigError> {
        Self::with_clock(config, Arc::new(SystemClock))
    }

    /// Like [`new`](Self::new), with the clock that dates in `Retry-After` are compared with.
    ///
    /// # Errors
    /// [`ConfigError`] if the configuration cannot be used.
    pub fn with_clock(config: OpenAiConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let url = http::endpoint(&config)?;
        let client = http::client(&config, &url)?;
        let secrets = http::secrets(&config);
        let retrier = Retrier::new(config.retries.clone());
        Ok(Self { shared: Arc::new(Shared { config, url, client, secrets, retrier, clock }) })
    }
}

struct Shared {
    config: OpenAiConfig,
    url: Url,
    client: Client,
    secrets: Arc<[String]>,
    retrier: Retrier,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.config.fmt(f)
    }
}

#[async_trait]
impl LlmBackend for OpenAiBackend {
    fn model(&self) -> &str {
        &self.shared.config.model
    }

    async fn generate(&self, request: LlmRequest) -> Result<LlmStream, LlmError> {
        let shared = &self.shared;
        let total = after(Instant::now(), shared.config.timeouts.total);
        let body = request::encode(&shared.config, &request)?;
        let discretion = Arc::new(Discretion::new(Arc::clone(&shared.secrets), request));
        let (mut attempt, mut empty_before) = (0_u32, false);
        loop {
            attempt = attempt.saturating_add(1);
            let failure = match shared.attempt(body.clone(), total, &discretion).await {
                Ok(Begun::Reply(reader)) => return Ok(reader.into_stream()),
                // A reply that ends before it began may be an accident, once.
                Ok(Begun::Nothing(reader)) if empty_before => return Ok(reader.into_stream()),
                Ok(Begun::Nothing(reader)) => {
                    empty_before = true;
                    let error =
                        LlmError::new(LlmErrorKind::Transport, "an answer without anything");
                    if !shared.pause(&error.into(), attempt, total).await {
                        return Ok(reader.into_stream());
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            if !shared.pause(&failure, attempt, total).await {
                return Err(failure.error);
            }
        }
    }
}

/// How an attempt began.
enum Begun {
    /// With a piece, or with an ending that the provider gave.
    Reply(Reader<HttpBody>),
    /// It ended without a word.
    Nothing(Reader<HttpBody>),
}

impl Shared {
    /// Sends the request and waits for the first piece.
    async fn attempt(
        &self,
        body: Bytes,
        total: Instant,
        discretion: &Arc<Discretion>,
    ) -> Result<Begun, Failure> {
        let limits = &self.config.timeouts;
        let deadlines = Deadlines { limits: limits.clone(), sent: Instant::now(), total };
        let response = self.send(body, &deadlines, discretion).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response, total, discretion).await);
        }
        let kind = response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes().to_vec());
        let event_stream = kind.is_some_and(|kind| kind.starts_with(b"text/event-stream"));
        let body = HttpBody { response, discretion: Arc::clone(discretion) };
        let discretion = Arc::clone(discretion);
        let mut reader = Reader::new(body, &self.config, deadlines, event_stream, discretion);
        match reader.next().await {
            Some(LlmEvent::End(outcome)) => match outcome.reason {
                EndReason::Failed(error) => Err(error.into()),
                EndReason::Truncated => {
                    reader.put_back(LlmEvent::End(outcome));
                    Ok(Begun::Nothing(reader))
                }
                _ => {
                    reader.put_back(LlmEvent::End(outcome));
                    Ok(Begun::Reply(reader))
                }
            },
            first => {
                first.into_iter().for_each(|event| reader.put_back(event));
                Ok(Begun::Reply(reader))
            }
        }
    }

    async fn send(
        &self,
        body: Bytes,
        deadlines: &Deadlines,
        discretion: &Discretion,
    ) -> Result<Response, LlmError> {
        let first_byte = after(deadlines.sent, deadlines.limits.first_byte);
        let (deadline, clock) = if deadlines.total <= first_byte {
            (deadlines.total, reader::Clock::Total)
        } else {
            (first_byte, reader::Clock::FirstByte)
        };
        let request = self.client.post(self.url.clone()).body(body);
        match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(error::of_transport(&error, discretion)),
            Err(_) => Err(clock.error(&deadlines.limits)),
        }
    }

    /// Reads why the provider refuses; as much of it as comes soon and fits.
    async fn refusal(
        &self,
        mut response: Response,
        total: Instant,
        discretion: &Discretion,
    ) -> Failure {
        let status = response.status().as_u16();
        let should_retry = retry::should_retry(response.headers());
        let asked = retry::retry_after(response.headers(), self.clock.now());
        let deadline = after(Instant::now(), REFUSAL_TIME).min(total);
        let mut body = Vec::new();
        while let Ok(Ok(Some(bytes))) = timeout_at(deadline, response.chunk()).await {
            let room = LONGEST_REFUSAL.saturating_sub(body.len());
            body.extend(bytes.iter().take(room));
            if bytes.len() >= room {
                break;
            }
        }
        let mut error = error::of_body(status, &body, discretion);
        error.retry_after = asked.or(error.retry_after);
        if response.status().is_redirection() {
            error = LlmError::new(LlmErrorKind::Protocol, "a redirect, which is not followed")
                .with_status(status);
        }
        Failure { error, should_retry }
    }

    /// Waits before another attempt; `false` if there shall be none.
    async fn pause(&self, failure: &Failure, attempt: u32, total: Instant) -> bool {
        let Some(wait) = self.retrier.wait(failure, attempt) else { return false };
        let until = after(Instant::now(), wait);
        if until >= total {
            return false;
        }
        tracing::warn!(
            attempt,
            kind = %failure.error.kind,
            status = failure.error.status,
            wait_ms = wait.as_millis(),
            "the model was not reached; trying again"
        );
        tokio::time::sleep_until(until).await;
        true
    }
}

/// The body of an HTTP response.
struct HttpBody {
    response: Response,
    discretion: Arc<Discretion>,
}

impl Body for HttpBody {
    async fn next(&mut self) -> Result<Option<Bytes>, LlmError> {
        let bytes = self.response.chunk().await;
        bytes.map_err(|error| error::of_transport(&error, &self.discretion))
    }
}

const LONGEST_REFUSAL: usize = 64 * 1024;
const REFUSAL_TIME: std::time::Duration = std::time::Duration::from_secs(10);
