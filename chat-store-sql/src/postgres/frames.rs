//! Signals as the text of notifications. A notification holds less than 8,000 bytes, so one
//! message may take several. They leave in one transaction, and PostgreSQL delivers what one
//! transaction sent in order and without anything between, so that putting them together again
//! needs neither a table nor a timer.

use chat_core::ports::{Signal, SignalBody};
use chat_core::{Json, Topic, Version};

/// Cuts signals into the texts of notifications. `token` is different for each message: PostgreSQL
/// drops the second of two equal notifications in one transaction.
pub(super) fn pieces<'s>(
    token: &str,
    signals: impl IntoIterator<Item = &'s Signal>,
) -> Vec<String> {
    let mut message = String::new();
    for signal in signals {
        push(&mut message, signal);
    }
    let mut rest = message.as_str();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
        parts.push(part);
        rest = behind;
    }
    let last = parts.len();
    let piece = |(number, part): (usize, &&str)| format!("{token} {number} {last} {part}");
    (1..).zip(&parts).map(piece).collect()
}

fn push(message: &mut String, signal: &Signal) {
    let topic = signal.topic.as_str();
    let record = match &signal.body {
        SignalBody::Ring(version) => format!("r{version} {} {topic}", topic.len()),
        SignalBody::Ephemeral(json) => {
            let body = json.as_str();
            format!("e{} {} {topic}{body}", body.len(), topic.len())
        }
        // A kind of signal that this release does not know cannot be sent by it.
        _ => return,
    };
    message.push_str(&record);
}

/// Puts messages together again.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    token: String,
    seen: usize,
    message: String,
}

/// What a notification brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Brought {
    Signals(Vec<Signal>),
    /// A part of a message that goes on.
    Part,
    /// Something that this release cannot read.
    Unreadable,
}

impl Assembler {
    pub(super) fn add(&mut self, piece: &str) -> Brought {
        let mut words = piece.splitn(4, ' ');
        let mut word = || words.next();
        let (Some(token), Some(number), Some(last), Some(part)) = (word(), word(), word(), word())
        else {
            return Brought::Unreadable;
        };
        let (Ok(number), Ok(last)) = (number.parse::<usize>(), last.parse::<usize>()) else {
            return Brought::Unreadable;
        };
        if number == 1 {
            (self.seen, self.token) = (0, token.to_owned());
            self.message.clear();
        }
        if token != self.token || number != self.seen + 1 || last > MOST_PIECES {
            return Brought::Unreadable;
        }
        self.seen = number;
        self.message.push_str(part);
        if number < last {
            return Brought::Part;
        }
        self.seen = 0;
        self.token.clear();
        signals(&self.message).map_or(Brought::Unreadable, Brought::Signals)
    }
}

/// Reads all records of a message, or nothing.
fn signals(mut rest: &str) -> Option<Vec<Signal>> {
    let mut signals = Vec::new();
    while let Some(kind) = rest.chars().next() {
        let (number, behind) = rest.get(kind.len_utf8()..)?.split_once(' ')?;
        let (length, behind) = behind.split_once(' ')?;
        let (topic, behind) = behind.split_at_checked(length.parse().ok()?)?;
        let topic = Topic::new(topic).ok()?;
        let body = match kind {
            'r' => {
                rest = behind;
                SignalBody::Ring(Version(number.parse().ok()?))
            }
            'e' => {
                let (body, behind) = behind.split_at_checked(number.parse().ok()?)?;
                rest = behind;
                SignalBody::Ephemeral(Json::from_text(body))
            }
            _ => return None,
        };
        signals.push(Signal { topic, body });
    }
    Some(signals)
}

/// Bytes of a message in one notification; its own words take less than the rest of the 8,000.
const PIECE_BYTES: usize = 7_800;
/// More than any message has: see what the publisher puts into one.
const MOST_PIECES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(topic: &str, version: u64) -> Signal {
        let topic = Topic::new(topic).unwrap();
        Signal { topic, body: SignalBody::Ring(Version(version)) }
    }

    fn ephemeral(topic: &str, text: &str) -> Signal {
        let topic = Topic::new(topic).unwrap();
        Signal { topic, body: SignalBody::Ephemeral(Json::from_text(text)) }
    }

    fn all(assembler: &mut Assembler, pieces: &[String]) -> Vec<Brought> {
        pieces.iter().map(|piece| assembler.add(piece)).collect()
    }

    #[test]
    fn signals_come_back_as_they_were() {
        let long = format!("\"{}\"", "語 ".repeat(5_000));
        let sent = [
            ring("a b", 7),
            ephemeral("日本", "{ \"a\" : 1,\n\"b\": \"x 1 2 y\" }"),
            ephemeral("long", &long),
            ring("r1 1 x", u64::MAX),
        ];
        let pieces = pieces("token", &sent);
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.len() < 8_000));
        let mut assembler = Assembler::default();
        let [Brought::Part, Brought::Part, Brought::Signals(got)] =
            &all(&mut assembler, &pieces)[..]
        else {
            panic!("three pieces make a message");
        };
        assert_eq!(got, &sent);
    }

    #[test]
    fn equal_parts_are_told_apart() {
        let pieces = pieces("token", [&ephemeral("t", &"x".repeat(16_000))]);
        let mut unique = pieces.clone();
        unique.dedup();
        assert_eq!(unique, pieces);
    }

    #[test]
    fn a_message_without_its_beginning_is_unreadable_and_the_next_is_read() {
        let long = pieces("one", [&ephemeral("t", &"x".repeat(16_000))]);
        let short = pieces("two", [&ring("t", 1)]);
        let mut assembler = Assembler::default();
        assert_eq!(assembler.add(&long[1]), Brought::Unreadable);
        assert_eq!(assembler.add(&long[0]), Brought::Part);
        assert_eq!(assembler.add(&short[0]), Brought::Signals(vec![ring("t", 1)]));
        assert_eq!(assembler.add(&long[1]), Brought::Unreadable);
        for wrong in
            ["", "a", "a 1", "a 1 1 q1 1 t", "a 1 1 r1 9 t", "a 1 1 rx 1 t", "a x 1 r1 1 t"]
        {
            assert_eq!(assembler.add(wrong), Brought::Unreadable, "{wrong}");
        }
    }
}
