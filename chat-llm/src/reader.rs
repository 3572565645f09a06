//! From the body of an answer to events, under clocks. Knows no HTTP: the body is a trait, so that
//! tests can drive every split and every clock without a socket.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use chat_core::ports::{LlmError, LlmErrorKind, LlmEvent, LlmOutcome, LlmStream};
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use crate::config::{OpenAiConfig, Timeouts};
use crate::discretion::Discretion;
use crate::reply::{Pieces, Reply, Stop, protocol};
use crate::sse::SseDecoder;

/// Where bytes come from. Dropping it closes the connection.
pub(crate) trait Body: Send + 'static {
    /// More bytes, or `None` at a clean end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, LlmError>> + Send;
}

/// The moments by which a call must have got somewhere.
#[derive(Debug, Clone)]
pub(crate) struct Deadlines {
    pub(crate) limits: Timeouts,
    /// When the request was sent.
    pub(crate) sent: Instant,
    /// When the whole call must be over.
    pub(crate) total: Instant,
}

/// Reads an answer and gives its events, the ending exactly once.
pub(crate) struct Reader<B> {
    /// Gone once the ending is known, whether or not it was taken.
    body: Option<B>,
    deadlines: Deadlines,
    shape: Shape,
    limit: usize,
    event_stream: bool,
    reply: Reply,
    began: bool,
    out: VecDeque<LlmEvent>,
    discretion: Arc<Discretion>,
}

/// What the bytes turned out to be; the content type is not trusted.
enum Shape {
    /// Only white space so far, or part of a byte order mark.
    Unknown(BytesMut),
    Events(SseDecoder, Seen),
    Json(BytesMut),
    /// Markup in the place of an answer.
    Html,
}

/// Whether any event was seen.
type Seen = bool;

impl<B: Body> Reader<B> {
    pub(crate) fn new(
        body: B,
        config: &OpenAiConfig,
        deadlines: Deadlines,
        event_stream: bool,
        discretion: Arc<Discretion>,
    ) -> Self {
        Self {
            body: Some(body),
            deadlines,
            shape: Shape::Unknown(BytesMut::new()),
            limit: config.max_line_bytes,
            event_stream,
            reply: Reply::new(config.done_without_reason),
            began: false,
            out: VecDeque::new(),
            discretion,
        }
    }

    /// The next event; `None` behind the ending.
    pub(crate) async fn next(&mut self) -> Option<LlmEvent> {
        loop {
            if let Some(event) = self.out.pop_front() {
                return Some(event);
            }
            self.body.as_ref()?;
            if let Err(error) = self.advance().await {
                let outcome = self.reply.failed(error);
                self.end(outcome);
            }
        }
    }

    /// Puts an event back in front.
    pub(crate) fn put_back(&mut self, event: LlmEvent) {
        self.out.push_front(event);
    }

    /// The rest of the answer as a stream that may also be polled behind its end.
    pub(crate) fn into_stream(self) -> LlmStream {
        let events = stream::unfold(self, |mut reader| async move {
            let event = reader.next().await?;
            Some((event, reader))
        });
        Box::pin(events.fuse())
    }

    /// Handles one event if the bytes hold one, else waits for bytes.
    async fn advance(&mut self) -> Result<(), LlmError> {
        if let Shape::Events(decoder, seen) = &mut self.shape {
            let too_long = |_| protocol("a line that is longer than the limit");
            if let Some(frame) = decoder.next().map_err(too_long)? {
                *seen = true;
                let pieces = self.reply.take_frame(&frame, &self.discretion)?;
                if pieces.done {
                    self.linger().await;
                    let outcome = self.reply.outcome(Stop::Done);
                    self.end(outcome);
                } else {
                    self.give(pieces);
                }
                return Ok(());
            }
        }
        match self.read().await? {
            Some(bytes) => self.push(bytes),
            None => self.finish(),
        }
    }

    /// More bytes, within the clock that runs now.
    async fn read(&mut self) -> Result<Option<Bytes>, LlmError> {
        let (deadline, clock) = self.clock();
        let Some(body) = &mut self.body else { return Ok(None) };
        // Bytes that are always there win over a timer, so a flood is checked by hand.
        let result = if deadline <= Instant::now() {
            Err(clock.error(&self.deadlines.limits))
        } else {
            let late = |_| Err(clock.error(&self.deadlines.limits));
            timeout_at(deadline, body.next()).await.unwrap_or_else(late)
        };
        match result {
            // The provider has said how the reply ended; what breaks behind it breaks nothing.
            Err(_) if self.reply.has_reason() => Ok(None),
            result => result,
        }
    }

    fn clock(&self) -> (Instant, Clock) {
        let limits = &self.deadlines.limits;
        let now = Instant::now();
        let (deadline, clock) = if self.reply.has_reason() {
            (after(now, AFTER_REASON), Clock::Idle)
        } else if self.began {
            (after(now, limits.idle), Clock::Idle)
        } else {
            (after(self.deadlines.sent, limits.first_token), Clock::FirstToken)
        };
        if self.deadlines.total <= deadline {
            (self.deadlines.total, Clock::Total)
        } else {
            (deadline, clock)
        }
    }

    fn push(&mut self, bytes: Bytes) -> Result<(), LlmError> {
        match &mut self.shape {
            Shape::Unknown(start) => {
                start.extend_from_slice(&bytes);
                self.shape = Shape::of(std::mem::take(start), self.limit);
            }
            Shape::Events(decoder, _) => decoder.push(bytes),
            Shape::Json(document) => document.extend_from_slice(&bytes),
            Shape::Html => {}
        }
        match &self.shape {
            Shape::Json(document) if document.len() > self.limit => {
                Err(protocol("an answer that is longer than the limit"))
            }
            Shape::Html => Err(protocol("markup in the place of an answer; is the address right?")),
            _ => Ok(()),
        }
    }

    /// The bytes have ended.
    fn finish(&mut self) -> Result<(), LlmError> {
        let pieces = match &mut self.shape {
            Shape::Json(document) => {
                let document = std::mem::take(document).freeze();
                self.reply.take_whole(&document, &self.discretion)?
            }
            // Text that holds no event is no answer, unless it claims to be a stream.
            Shape::Events(_, false) if !self.event_stream => {
                return Err(protocol("an answer that is neither events nor JSON"));
            }
            Shape::Events(..) | Shape::Unknown(_) | Shape::Html => Pieces::default(),
        };
        self.give(pieces);
        let outcome = self.reply.outcome(Stop::Bytes);
        self.end(outcome);
        Ok(())
    }

    fn give(&mut self, pieces: Pieces) {
        for event in [
            (!pieces.reasoning.is_empty()).then_some(LlmEvent::Reasoning(pieces.reasoning)),
            (!pieces.text.is_empty()).then_some(LlmEvent::Text(pieces.text)),
        ] {
            self.began |= event.is_some();
            self.out.extend(event);
        }
    }

    /// If the body ends right behind `[DONE]`, as it mostly does, its connection can be used again
    /// and the next call saves a handshake. What else comes is not looked at.
    async fn linger(&mut self) {
        let deadline = after(Instant::now(), LINGER).min(self.deadlines.total);
        if let Some(body) = &mut self.body {
            let _ = timeout_at(deadline, body.next()).await;
        }
    }

    fn end(&mut self, outcome: LlmOutcome) {
        self.body = None;
        self.shape = Shape::Unknown(BytesMut::new());
        self.out.push_back(LlmEvent::End(outcome));
    }
}

impl Shape {
    /// Looks at the first byte that says something.
    fn of(mut start: BytesMut, limit: usize) -> Self {
        if start.starts_with(BOM) {
            start.advance(BOM.len());
        } else if BOM.starts_with(&start) {
            return Self::Unknown(start);
        }
        let blank = start.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        start.advance(blank);
        match start.first() {
            None => Self::Unknown(start),
            Some(b'{' | b'[') => Self::Json(start),
            Some(b'<') => Self::Html,
            Some(_) => {
                let mut decoder = SseDecoder::new(limit);
                decoder.push(start.freeze());
                Self::Events(decoder, false)
            }
        }
    }
}

/// Which clock ran out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    FirstByte,
    FirstToken,
    Idle,
    Total,
}

impl Clock {
    pub(crate) fn error(self, limits: &Timeouts) -> LlmError {
        let (what, limit) = match self {
            Self::FirstByte => ("no answer within the first-byte limit", limits.first_byte),
            Self::FirstToken => ("no text within the first-token limit", limits.first_token),
            Self::Idle => ("silence for longer than the idle limit", limits.idle),
            Self::Total => ("the call took longer than the total limit", limits.total),
        };
        LlmError::new(LlmErrorKind::Timeout, format!("{what} of {limit:?}"))
    }
}

/// A moment later on; far away instead of past the end of time.
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    start.checked_add(wait).unwrap_or_else(|| start + FAR_AWAY)
}

const BOM: &[u8] = b"\xEF\xBB\xBF";
/// How long the token counts and the end of the stream may take once the reason is known.
const AFTER_REASON: Duration = Duration::from_secs(5);
/// How long the end of the body may take behind `[DONE]`.
const LINGER: Duration = Duration::from_millis(10);
const FAR_AWAY: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
