//! The JSON of an answer, read as tolerantly as servers differ. Holds shapes only, no decisions.

use serde::Deserialize;
use serde_json::Value;

/// A chunk of a stream, a whole completion, or an error in the place of either.
///
/// What servers disagree on is taken as any JSON and looked at later; fields that are not named
/// here are skipped.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    pub(crate) object: Value,
    pub(crate) model: Value,
    pub(crate) choices: Option<Vec<Choice>>,
    pub(crate) usage: Value,
    pub(crate) x_groq: Value,
    pub(crate) error: Value,
    pub(crate) message: Value,
    pub(crate) detail: Value,
}

impl Answer {
    /// Whether this is an error by its shape.
    pub(crate) fn is_error(&self) -> bool {
        let bare = self.choices.is_none() && (is_said(&self.message) || is_said(&self.detail));
        is_said(&self.error) || self.object == "error" || bare
    }

    /// Token counts: input, output.
    pub(crate) fn usage(&self) -> Option<(u64, u64)> {
        counts(&self.usage).or_else(|| counts(self.x_groq.get("usage")?))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    pub(crate) index: Value,
    pub(crate) delta: Option<Said>,
    pub(crate) message: Option<Said>,
    pub(crate) finish_reason: Value,
}

/// What a delta or a message holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Said {
    pub(crate) content: Value,
    pub(crate) reasoning_content: Value,
    pub(crate) reasoning: Value,
    pub(crate) refusal: Value,
    pub(crate) tool_calls: Value,
    pub(crate) function_call: Value,
}

/// Why an answer could not be read. Quotes nothing of it.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The JSON ends too early.
    Cut,
    /// It is no JSON, or of another shape.
    Malformed(String),
}

/// Reads an answer. Arrays are refused here: serde would take one for a list of the fields.
pub(crate) fn read(json: &str) -> Result<Answer, Unreadable> {
    if !json.trim_start().starts_with('{') {
        return Err(Unreadable::Malformed("an answer that is no JSON object".to_owned()));
    }
    serde_json::from_str(json).map_err(|error| {
        if error.is_eof() {
            return Unreadable::Cut;
        }
        // serde_json's own message may quote what it found; the place is all that is safe to tell.
        let what = if error.is_data() { "JSON of another shape" } else { "malformed JSON" };
        Unreadable::Malformed(format!(
            "{what} at column {} of {} bytes",
            error.column(),
            json.len()
        ))
    })
}

/// Whether a value says anything: not null, false, "" or an empty collection.
pub(crate) fn is_said(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(said) => *said,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn counts(usage: &Value) -> Option<(u64, u64)> {
    let count = |names: [&str; 2]| names.iter().find_map(|name| whole(usage.get(name)?));
    let input = count(["prompt_tokens", "input_tokens"]);
    let output = count(["completion_tokens", "output_tokens"]);
    if input.is_none() && output.is_none() {
        return None;
    }
    Some((input.unwrap_or(0), output.unwrap_or(0)))
}

/// Some servers count in floats.
fn whole(number: &Value) -> Option<u64> {
    let float = || number.as_f64().filter(|float| (0.0..=1e15).contains(float));
    number.as_u64().or_else(|| float().map(|float| float as u64))
}
