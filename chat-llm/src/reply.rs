//! What the events of one answer add up to. No I/O, no clock.

use bytes::Bytes;
use chat_core::ports::{EndReason, LlmError, LlmErrorKind, LlmOutcome, LlmUsage};
use serde_json::Value;

use crate::config::DoneWithoutReason;
use crate::discretion::Discretion;
use crate::error;
use crate::sse::Frame;
use crate::wire::{self, Answer, Choice, Said, Unreadable, is_said};

/// What one event gave.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Pieces {
    pub(crate) reasoning: String,
    pub(crate) text: String,
    /// The provider closed the stream by `[DONE]`.
    pub(crate) done: bool,
}

/// How the answer stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// By `[DONE]`.
    Done,
    /// The bytes ended, or something broke behind the reason.
    Bytes,
}

/// The state of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    done_without_reason: DoneWithoutReason,
    reason: Option<String>,
    model: Option<String>,
    usage: Option<LlmUsage>,
    choice: Option<u64>,
    tool_calls: bool,
    refused: bool,
    odd_text: bool,
}

impl Reply {
    pub(crate) fn new(done_without_reason: DoneWithoutReason) -> Self {
        Self {
            done_without_reason,
            reason: None,
            model: None,
            usage: None,
            choice: None,
            tool_calls: false,
            refused: false,
            odd_text: false,
        }
    }

    /// Whether the provider has said why the reply ended.
    pub(crate) fn has_reason(&self) -> bool {
        self.reason.is_some()
    }

    /// Takes an event of a stream.
    pub(crate) fn take_frame(
        &mut self,
        frame: &Frame,
        discretion: &Discretion,
    ) -> Result<Pieces, LlmError> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || KEEP_ALIVES.contains(&frame.name.as_ref()) {
            return Ok(Pieces::default());
        }
        if data == b"[DONE]" {
            return Ok(Pieces { done: true, ..Pieces::default() });
        }
        if frame.name.as_ref() == b"error" {
            return Err(error::of_body(200, data, discretion));
        }
        self.take_json(data, discretion)
    }

    /// Takes an answer that came as one JSON document though a stream was asked for.
    pub(crate) fn take_whole(
        &mut self,
        body: &Bytes,
        discretion: &Discretion,
    ) -> Result<Pieces, LlmError> {
        let body = body.trim_ascii();
        let text = String::from_utf8_lossy(body);
        if let Err(Unreadable::Cut) = wire::read(&text) {
            // Nothing of a cut document is used; without a reason it ends as truncated.
            return Ok(Pieces::default());
        }
        let pieces = self.take_json(body, discretion)?;
        if self.choice.is_none() {
            return Err(protocol("a JSON answer without a choice"));
        }
        Ok(pieces)
    }

    /// The ending, once nothing more comes.
    pub(crate) fn outcome(&mut self, stop: Stop) -> LlmOutcome {
        let reason = self.reason.take();
        let end = match reason.as_deref() {
            None if stop == Stop::Done
                && self.done_without_reason == DoneWithoutReason::Complete =>
            {
                EndReason::Complete
            }
            None => EndReason::Truncated,
            Some(raw) => self.end_reason(raw),
        };
        let raw = if end == EndReason::Other && self.refused {
            Some("refusal".to_owned())
        } else {
            reason.map(|raw| raw.chars().take(LONGEST_REASON).collect())
        };
        LlmOutcome::new(end)
            .with_raw_reason(raw)
            .with_usage(self.usage)
            .with_model(self.model.take())
    }

    /// The ending by an error, with what is known besides.
    pub(crate) fn failed(&mut self, error: LlmError) -> LlmOutcome {
        LlmOutcome::new(EndReason::Failed(error))
            .with_raw_reason(self.reason.take())
            .with_usage(self.usage)
            .with_model(self.model.take())
    }

    fn end_reason(&self, raw: &str) -> EndReason {
        match raw.to_ascii_lowercase().as_str() {
            "stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn" => {
                if self.tool_calls {
                    // Some servers say "stop" although the model waits for a tool.
                    EndReason::ToolCalls
                } else if self.refused {
                    EndReason::Other
                } else {
                    EndReason::Complete
                }
            }
            "length" | "max_tokens" => EndReason::Length,
            "content_filter" => EndReason::ContentFilter,
            "tool_calls" | "function_call" => EndReason::ToolCalls,
            "error" => EndReason::Failed(LlmError::new(
                LlmErrorKind::Server,
                "the provider ended the reply with an error that it did not name",
            )),
            _ => EndReason::Other,
        }
    }

    fn take_json(&mut self, json: &[u8], discretion: &Discretion) -> Result<Pieces, LlmError> {
        let text = String::from_utf8_lossy(json);
        if matches!(text, std::borrow::Cow::Owned(_)) && !self.odd_text {
            self.odd_text = true;
            tracing::warn!("the reply holds bytes that are no UTF-8; they were replaced");
        }
        let answer = match wire::read(&text) {
            Ok(answer) => answer,
            // Some servers put an error into a list.
            Err(_) if error::is_error_list(json) => {
                return Err(error::of_body(200, json, discretion));
            }
            Err(Unreadable::Cut) => return Err(protocol("an event whose JSON is cut")),
            Err(Unreadable::Malformed(what)) => return Err(protocol(what)),
        };
        if answer.is_error() {
            return Err(error::of_body(200, json, discretion));
        }
        self.take_answer(answer)
    }

    fn take_answer(&mut self, answer: Answer) -> Result<Pieces, LlmError> {
        // The last count wins: some servers repeat a growing one with each chunk.
        if let Some((input, output)) = answer.usage() {
            self.usage = Some(LlmUsage::new(input, output));
        }
        if self.model.is_none()
            && let Value::String(model) = answer.model
            && !model.is_empty()
        {
            self.model = Some(model.chars().take(LONGEST_MODEL).collect());
        }
        let mut pieces = Pieces::default();
        for choice in answer.choices.unwrap_or_default() {
            self.take_choice(choice, &mut pieces)?;
        }
        Ok(pieces)
    }

    fn take_choice(&mut self, choice: Choice, pieces: &mut Pieces) -> Result<(), LlmError> {
        let index = choice.index.as_u64().unwrap_or(0);
        if *self.choice.get_or_insert(index) != index {
            // One choice was asked for; to mix two would be worse than to stop.
            return Err(protocol("a second choice that nobody asked for"));
        }
        for said in [choice.delta, choice.message].into_iter().flatten() {
            self.take_said(said, pieces)?;
        }
        let reason = match choice.finish_reason {
            Value::Null => None,
            Value::String(raw) => Some(raw).filter(|raw| !raw.is_empty()),
            other => Some(other.to_string()),
        };
        // The first reason wins: some servers send a second chunk with one.
        if self.reason.is_none() {
            self.reason = reason;
        }
        Ok(())
    }

    fn take_said(&mut self, said: Said, pieces: &mut Pieces) -> Result<(), LlmError> {
        // Two names for one thing; a server that sends both sends the same under both.
        for alias in [said.reasoning_content, said.reasoning] {
            if let Value::String(text) = alias
                && !text.is_empty()
            {
                pieces.reasoning.push_str(&text);
                break;
            }
        }
        match said.content {
            Value::Null => {}
            Value::String(text) if pieces.text.is_empty() => pieces.text = text,
            Value::String(text) => pieces.text.push_str(&text),
            Value::Array(parts) => {
                for part in &parts {
                    take_part(part, pieces)?;
                }
            }
            _ => return Err(protocol("content that is neither text nor parts")),
        }
        if let Value::String(text) = said.refusal
            && !text.is_empty()
        {
            self.refused = true;
            pieces.text.push_str(&text);
        }
        if !self.tool_calls && (is_said(&said.tool_calls) || is_said(&said.function_call)) {
            self.tool_calls = true;
            tracing::warn!("the model calls a tool though none was offered; the call is not read");
        }
        Ok(())
    }
}

/// One typed part of a content that comes as a list.
fn take_part(part: &Value, pieces: &mut Pieces) -> Result<(), LlmError> {
    if let Some(thinking) = part.get("thinking") {
        return take_thought(thinking, pieces);
    }
    match part.get("text").unwrap_or(part) {
        Value::String(text) => pieces.text.push_str(text),
        _ => return Err(protocol("a part of the content that is neither text nor thinking")),
    }
    Ok(())
}

fn take_thought(thinking: &Value, pieces: &mut Pieces) -> Result<(), LlmError> {
    let parts = match thinking {
        Value::Array(parts) => parts.as_slice(),
        part => std::slice::from_ref(part),
    };
    for part in parts {
        match part.get("text").unwrap_or(part) {
            Value::String(text) => pieces.reasoning.push_str(text),
            _ => return Err(protocol("a part of the thinking that is no text")),
        }
    }
    Ok(())
}

pub(crate) fn protocol(what: impl Into<String>) -> LlmError {
    LlmError::new(LlmErrorKind::Protocol, what)
}

const KEEP_ALIVES: [&[u8]; 4] = [b"keepalive", b"keep-alive", b"ping", b"heartbeat"];
const LONGEST_REASON: usize = 100;
const LONGEST_MODEL: usize = 200;
