//! The fast way: what a group of appends will do if all is as the writer remembers. The database
//! compares that before it inserts, all that is not sure by itself; so what is assumed needs not to
//! be right, only precise.

use std::collections::HashMap;

use chat_core::ports::{Append, AppendResult, Appended, Expected, StoreError, WrittenStream};
use chat_core::{Position, StreamId, Version};

use super::heads::{Head, Heads};
use super::insert::{Claims, Rows, check};

/// A group, its assumptions and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    pub(super) claims: Claims<'a>,
    pub(super) rows: Rows<'a>,
    /// In the order of the claims: the streams and the versions that they have afterwards.
    streams: Vec<(&'a StreamId, i64)>,
    places: HashMap<&'a StreamId, usize>,
    outcomes: Vec<AppendResult>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(appends: &[&'a Append], heads: &mut Heads) -> Self {
        let mut plan = Self::default();
        plan.claims.known = heads.known();
        for append in appends {
            let outcome = plan.add(append, heads);
            if outcome.is_err() {
                // Refused, unless it is a repeat: its ids must not be there already.
                let events = append.writes().iter().flat_map(|write| &write.events);
                plan.claims.suspects.extend(events.map(|event| event.id.0));
            }
            plan.outcomes.push(outcome);
        }
        plan
    }

    /// Whether a refused append may repeat another one of this group.
    pub(super) fn repeats_itself(&self) -> bool {
        let suspects = &self.claims.suspects;
        !suspects.is_empty() && self.rows.ids().iter().any(|id| suspects.contains(id))
    }

    /// Whether all of it stands if the last position is the known one.
    pub(super) fn rests_on_the_end_alone(&self) -> bool {
        let claims = &self.claims;
        let compared = claims.suspects.is_empty() && claims.sure.iter().all(|sure| *sure);
        compared && claims.known >= 0 && self.rows.len() > 0
    }

    /// The answers, and what is remembered of the streams, now that the rows stand behind `base`.
    pub(super) fn done(mut self, base: i64, heads: &mut Heads) -> Vec<AppendResult> {
        heads.seen(base);
        for (stream, version) in &self.streams {
            heads.put(stream, *version);
        }
        heads.advance(base + i64::try_from(self.rows.len()).unwrap_or(0));
        let written = self.outcomes.iter_mut().flatten().flat_map(|done| &mut done.streams);
        for written in written {
            written.position.0 += base.unsigned_abs();
        }
        self.outcomes
    }

    /// Corrects what is remembered after the database found the streams otherwise. Says whether
    /// only guesses were wrong.
    pub(super) fn corrected(&self, base: i64, actual: &[Option<i64>], heads: &mut Heads) -> bool {
        let known = heads.known();
        let only_guesses = known == base || known < 0;
        heads.seen(base);
        let compared = self.streams.iter().zip(&self.claims.sure);
        // Where nobody else has written, the sure ones were not looked at.
        let compared = compared.filter(|(_, sure)| known != base || !**sure);
        for (((stream, _), _), version) in compared.zip(actual) {
            heads.put(stream, version.unwrap_or(0));
        }
        only_guesses
    }

    fn add(&mut self, append: &'a Append, heads: &mut Heads) -> AppendResult {
        check(append)?;
        let writes = append.writes().iter().map(|write| (&write.stream, write.expected));
        let guards = append.guards().iter().map(|guard| (&guard.stream, guard.expected));
        for (stream, expected) in writes.chain(guards) {
            let actual = Version(self.version(stream, expected, heads).unsigned_abs());
            if !expected.holds(actual) {
                let stream = stream.clone();
                return Err(StoreError::Conflict { stream, expected, actual });
            }
        }
        let mut streams = Vec::with_capacity(append.writes().len());
        for write in append.writes() {
            let before = self.version(&write.stream, write.expected, heads);
            self.rows.push(write, before);
            let after = before + i64::try_from(write.events.len()).unwrap_or(0);
            if let Some(place) = self.places.get(&write.stream).copied() {
                if let Some(entry) = self.streams.get_mut(place) {
                    entry.1 = after;
                }
                // The first event of a stream that has one already is refused by its version.
                if let Some(sure) = self.claims.sure.get_mut(place) {
                    *sure |= before == 0 && guess(write.expected) == Some(0);
                }
            }
            streams.push(WrittenStream {
                first: Version(before.unsigned_abs() + 1),
                last: Version(after.unsigned_abs()),
                // Behind the position that the database will say.
                position: Position(u64::try_from(self.rows.len()).unwrap_or(0)),
            });
        }
        Ok(Appended { streams, repeat: false })
    }

    /// The version of a stream at this place of the group.
    fn version(&mut self, stream: &'a StreamId, expected: Expected, heads: &mut Heads) -> i64 {
        let known = self.places.get(stream).and_then(|place| self.streams.get(*place));
        if let Some((_, version)) = known {
            return *version;
        }
        let guess = || Head { version: guess(expected).unwrap_or(0), sure: false };
        let head = heads.get(stream).unwrap_or_else(guess);
        self.places.insert(stream, self.streams.len());
        self.streams.push((stream, head.version));
        self.claims.streams.push(stream.as_str());
        self.claims.heads.push(head.version);
        self.claims.sure.push(head.sure);
        head.version
    }
}

/// The version that the caller expects of a stream, if it is a certain one: the likeliest version of
/// a stream of which nothing is known.
fn guess(expected: Expected) -> Option<i64> {
    match expected {
        Expected::Exactly(version) => i64::try_from(version.0).ok(),
        Expected::NoStream => Some(0),
        Expected::Any | Expected::Exists => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::{EventId, EventType, Json, NewEvent, Timestamp};
    use uuid::Uuid;

    fn name(name: &str) -> StreamId {
        StreamId::new(name).unwrap()
    }

    fn event(number: u128) -> NewEvent {
        NewEvent {
            id: EventId(Uuid::from_u128(number)),
            event_type: EventType::from_static("noted"),
            schema_version: 1,
            recorded_at: Timestamp(0),
            payload: Json::from_text("{}"),
            metadata: None,
        }
    }

    fn append(stream: &str, expected: Expected, ids: impl IntoIterator<Item = u128>) -> Append {
        Append::single(name(stream), expected, ids.into_iter().map(event).collect()).unwrap()
    }

    #[test]
    fn appends_of_a_group_follow_each_other_and_the_positions_follow_the_base() {
        let (one, two) = (append("a", Expected::Any, [1, 2]), append("b", Expected::NoStream, [3]));
        let three = append("a", Expected::Exactly(Version(7)), [4]);
        let mut heads = Heads::new();
        heads.seen(40);
        heads.put(&name("a"), 5);
        let plan = Plan::new(&[&one, &two, &three], &mut heads);
        assert_eq!(plan.claims.known, 40);
        assert_eq!(plan.claims.streams, ["a", "b"]);
        assert_eq!((&*plan.claims.heads, &*plan.claims.sure), (&[5, 0][..], &[true, true][..]));
        assert!(plan.rests_on_the_end_alone());
        let answers = plan.done(40, &mut heads);
        let places: Vec<_> = answers
            .iter()
            .map(|answer| answer.as_ref().unwrap().streams[0])
            .map(|at| (at.first.0, at.last.0, at.position.0))
            .collect();
        assert_eq!(places, [(6, 7, 42), (1, 1, 43), (8, 8, 44)]);
        assert_eq!(heads.known(), 44);
        assert_eq!(heads.get(&name("a")), Some(Head { version: 8, sure: true }));
    }

    #[test]
    fn the_database_compares_what_no_first_event_proves() {
        let guarded = |guard: Expected| {
            let write = chat_core::ports::StreamWrite {
                stream: name("b"),
                expected: Expected::NoStream,
                events: vec![event(9)],
            };
            let guard = chat_core::ports::Guard { stream: name("a"), expected: guard };
            Append::multi(vec![write], vec![guard]).unwrap()
        };
        let sure = |appends: &[&Append]| Plan::new(appends, &mut Heads::new()).claims.sure;
        assert_eq!(sure(&[&append("b", Expected::Any, [1])]), [false]);
        assert_eq!(sure(&[&append("b", Expected::Exactly(Version(3)), [1])]), [false]);
        assert_eq!(sure(&[&append("b", Expected::Exactly(Version(0)), [1])]), [true]);
        let new = append("b", Expected::NoStream, [1]);
        assert!(!Plan::new(&[&new], &mut Heads::new()).rests_on_the_end_alone(), "no end is known");
        assert_eq!(sure(&[&guarded(Expected::NoStream)]), [true, false]);
        // The append is refused, and writes no first event.
        assert_eq!(sure(&[&guarded(Expected::Exists)]), [false, false]);
    }

    #[test]
    fn a_refused_append_makes_its_ids_suspects() {
        let (one, two) = (append("a", Expected::Any, [1]), append("a", Expected::NoStream, [2]));
        let repeat = append("a", Expected::NoStream, [1]);
        let mut heads = Heads::new();
        let plan = Plan::new(&[&one, &two], &mut heads);
        assert_eq!(plan.claims.suspects, [Uuid::from_u128(2)]);
        assert!(!plan.repeats_itself());
        assert!(!plan.rests_on_the_end_alone());
        assert_eq!(plan.rows.len(), 1);
        assert!(Plan::new(&[&one, &two, &repeat], &mut heads).repeats_itself());
    }

    #[test]
    fn wrong_guesses_are_corrected_and_told_from_foreign_writes() {
        let (one, two) = (append("a", Expected::Any, [1]), append("b", Expected::Any, [2]));
        let mut heads = Heads::new();
        heads.seen(10);
        heads.put(&name("a"), 5);
        let plan = Plan::new(&[&one, &two], &mut heads);
        assert!(!plan.rests_on_the_end_alone());
        assert!(plan.corrected(10, &[Some(3)], &mut heads), "only b was a guess");
        assert_eq!(heads.get(&name("a")), Some(Head { version: 5, sure: true }));
        assert_eq!(heads.get(&name("b")), Some(Head { version: 3, sure: true }));
        let plan = Plan::new(&[&one, &two], &mut heads);
        assert!(!plan.corrected(12, &[Some(6), Some(3)], &mut heads));
        assert_eq!(heads.get(&name("a")), Some(Head { version: 6, sure: true }));
        assert_eq!(heads.known(), 12);
        // Where nothing is known all are compared, those also that a first event would prove.
        let (new, mut heads) = (append("c", Expected::NoStream, [3]), Heads::new());
        let plan = Plan::new(&[&new, &one], &mut heads);
        assert!(plan.corrected(12, &[Some(0), Some(6)], &mut heads));
        assert_eq!(heads.get(&name("c")), Some(Head { version: 0, sure: true }));
        assert_eq!(heads.get(&name("a")), Some(Head { version: 6, sure: true }));
    }
}
