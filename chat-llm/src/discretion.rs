//! Keeps keys and what people wrote out of error messages, which end up in logs and in events.

use std::collections::HashMap;
use std::sync::Arc;

use chat_core::ports::LlmRequest;

/// What must not be repeated to anybody.
pub(crate) struct Discretion {
    secrets: Arc<[String]>,
    request: LlmRequest,
}

impl Discretion {
    pub(crate) fn new(secrets: Arc<[String]>, request: LlmRequest) -> Self {
        Self { secrets, request }
    }

    /// A bounded excerpt of what a provider or a proxy said, in one line, without keys and without
    /// longer runs of the request's text.
    pub(crate) fn excerpt(&self, said: &str) -> String {
        let mut text: String = said.chars().take(LONGEST_LOOK).collect();
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret.as_str(), MASK);
        }
        let text = self.without_quotes(&text);
        let words = text.split(|c: char| c.is_whitespace() || c.is_control());
        let mut line = String::new();
        for word in words.filter(|word| !word.is_empty()) {
            if !line.is_empty() {
                line.push(' ');
            }
            // A key that is not ours, or ours as the provider shortened it.
            let key = word.trim_start_matches(|c: char| !c.is_alphanumeric()).starts_with("sk-");
            line.push_str(if key { MASK } else { word });
        }
        match line.char_indices().nth(LONGEST_EXCERPT) {
            Some((cut, _)) => format!("{}…", line.get(..cut).unwrap_or_default()),
            None => line,
        }
    }

    /// Masks the runs that the text has in common with the request.
    fn without_quotes(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (place, block) in bytes.windows(BLOCK).enumerate() {
            let places = places.entry(block).or_default();
            // A text that repeats itself must not make the search quadratic.
            if places.len() < MOST_PLACES {
                places.push(place);
            }
        }
        let mut quoted = vec![false; bytes.len()];
        for message in &self.request.messages {
            let source = message.text.as_bytes();
            // Blocks at a fixed stride are enough: a run of twice the length holds a whole one.
            for (number, block) in source.chunks_exact(BLOCK).enumerate() {
                for place in places.get(block).into_iter().flatten() {
                    if quoted.get(*place) == Some(&true) {
                        continue;
                    }
                    let run = common_run(bytes, *place, source, number * BLOCK);
                    if run.len() >= QUOTE {
                        quoted.get_mut(run).unwrap_or_default().fill(true);
                    }
                }
            }
        }
        let mut out = String::with_capacity(text.len());
        let mut masked = false;
        for (place, character) in text.char_indices() {
            let hide = quoted.get(place..place + character.len_utf8());
            let hide = hide.is_some_and(|bytes| bytes.contains(&true));
            if !hide {
                out.push(character);
            } else if !masked {
                out.push_str("[…]");
            }
            masked = hide;
        }
        out
    }
}

impl std::fmt::Debug for Discretion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Discretion")
    }
}

/// The longest run of `text` around `place` that equals the one of `source` around `other`.
fn common_run(text: &[u8], place: usize, source: &[u8], other: usize) -> std::ops::Range<usize> {
    let before = text.iter().take(place).rev().zip(source.iter().take(other).rev());
    let after = text.iter().skip(place).zip(source.iter().skip(other));
    let start = place - before.take_while(|(a, b)| a == b).count();
    let end = place + after.take_while(|(a, b)| a == b).count();
    start..end
}

const MASK: &str = "***";
/// How much of what was said is looked at.
const LONGEST_LOOK: usize = 2000;
const LONGEST_EXCERPT: usize = 300;
/// A run of this many bytes counts as a quote; shorter ones are ordinary words.
const QUOTE: usize = 16;
const BLOCK: usize = 8;
const MOST_PLACES: usize = 8;

#[cfg(test)]
mod tests {
    use chat_core::ports::{LlmMessage, LlmRole};

    use super::*;

    fn discretion() -> Discretion {
        let question = "My bank password is correct horse battery staple, é ü ok?";
        let request = LlmRequest::new(vec![LlmMessage::new(LlmRole::User, question)]);
        Discretion::new(Arc::from(["key-123".to_owned()]), request)
    }

    #[test]
    fn keys_are_masked() {
        let said = "Incorrect key: key-123, \"sk-proj-abc****7890\" is wrong";
        assert_eq!(discretion().excerpt(said), "Incorrect key: ***, *** is wrong");
    }

    #[test]
    fn what_was_asked_is_not_repeated() {
        let said = "invalid input: 'bank password is correct horse battery staple, é' at 3";
        assert_eq!(discretion().excerpt(said), "invalid input: '[…]' at 3");
        let words = "a password that is ok stays";
        assert_eq!(discretion().excerpt(words), words);
    }

    #[test]
    fn excerpts_are_one_bounded_line() {
        let long = "é\r\n\t".repeat(10_000);
        let excerpt = discretion().excerpt(&long);
        assert_eq!(excerpt.chars().count(), LONGEST_EXCERPT + 1);
        assert!(!excerpt.contains('\n'), "{excerpt}");
    }
}
