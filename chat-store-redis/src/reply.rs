//! Takes answers of the server apart. An answer of another shape than its script gives is a bug.

use chat_core::ports::StoreError;
use redis::Value;

/// The parts of a list; nothing is an empty one.
pub(crate) fn array(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        other => Err(unexpected("a list", &other)),
    }
}

/// A text of any bytes that must be there.
pub(crate) fn bytes(value: Option<Value>) -> Result<Vec<u8>, StoreError> {
    match value {
        Some(Value::BulkString(bytes)) => Ok(bytes),
        Some(Value::SimpleString(text)) => Ok(text.into_bytes()),
        other => Err(unexpected("a text", &other.unwrap_or_default())),
    }
}

/// A text of any bytes, or nothing.
pub(crate) fn optional_bytes(value: Option<Value>) -> Result<Option<Vec<u8>>, StoreError> {
    match value {
        None | Some(Value::Nil) => Ok(None),
        value => bytes(value).map(Some),
    }
}

/// A text, or nothing.
pub(crate) fn optional_text(value: Option<Value>) -> Result<Option<String>, StoreError> {
    let bytes = optional_bytes(value)?;
    let text = bytes.map(String::from_utf8).transpose();
    text.map_err(|_| StoreError::Bug { what: "the server's answer is not UTF-8".into() })
}

/// A text.
pub(crate) fn text(value: Option<Value>) -> Result<String, StoreError> {
    optional_text(value)?.ok_or_else(|| unexpected("a text", &Value::Nil))
}

/// A number, as such or in digits; nothing is zero.
pub(crate) fn number(value: Option<Value>) -> Result<u64, StoreError> {
    let parsed = match &value {
        None | Some(Value::Nil) => Some(0),
        Some(Value::Int(number)) => u64::try_from(*number).ok(),
        Some(Value::BulkString(digits)) => {
            std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok())
        }
        Some(_) => None,
    };
    parsed.ok_or_else(|| unexpected("a number", &value.unwrap_or_default()))
}

/// The value that a line of `INFO` gives to a name.
pub(crate) fn line(info: &Value, name: &str) -> Option<String> {
    let text = match info {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text,
        _ => return None,
    };
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next().map(|value| value.trim().to_owned())
}

fn unexpected(wanted: &str, found: &Value) -> StoreError {
    // The value itself may hold what people wrote.
    let found = match found {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "a text",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    StoreError::Bug { what: format!("the server answered {found} instead of {wanted}") }
}
