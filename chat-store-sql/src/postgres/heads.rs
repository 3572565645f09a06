//! What the writer remembers between groups, so that it need not ask the database for every
//! append. The database compares it before it writes, so being wrong costs time only; what is sure
//! is compared by the end of the log alone, so that must be true for as long as nobody else writes.

use chat_core::StreamId;

use crate::recent::Recent;

/// The last versions of streams.
#[derive(Debug)]
pub(super) struct Heads {
    /// The last position in the log as far as this writer knows; -1 if it knows nothing.
    known: i64,
    /// Counts how often somebody else was seen to have written.
    era: u64,
    /// Counts the groups since then.
    calm: u32,
    /// How many of them it takes to be taken for alone.
    calm_enough: u32,
    streams: Recent<StreamId, Remembered>,
}

/// A stream's last version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Zero if the stream has no event.
    pub(super) version: i64,
    /// Whether this is true for as long as nobody else has written; else it is a guess.
    pub(super) sure: bool,
}

impl Heads {
    pub(super) fn new() -> Self {
        Self {
            known: UNKNOWN,
            era: 0,
            calm: 0,
            calm_enough: CALM_GROUPS,
            streams: Recent::new(REMEMBERED_STREAMS),
        }
    }

    pub(super) fn known(&self) -> i64 {
        self.known
    }

    pub(super) fn get(&mut self, stream: &StreamId) -> Option<Head> {
        let remembered = self.streams.get(stream)?;
        let sure = self.known != UNKNOWN && remembered.era == self.era;
        Some(Head { version: remembered.version, sure })
    }

    /// Notes the last position that the database was seen to have, before any
    /// [`put`](Self::put). If it is not the known one, somebody else has written, and what was
    /// remembered is a guess from now on.
    pub(super) fn seen(&mut self, base: i64) {
        if self.known != base {
            self.era += 1;
            self.calm = 0;
            self.known = base;
        }
    }

    /// Notes the last version of a stream, as it is now.
    pub(super) fn put(&mut self, stream: &StreamId, version: i64) {
        self.streams.put(stream, Remembered { version, era: self.era });
    }

    /// Notes that this writer has brought the log to this position.
    pub(super) fn advance(&mut self, position: i64) {
        self.known = position;
        self.calm = self.calm.saturating_add(1);
    }

    /// Whether nobody else seems to write at the moment.
    pub(super) fn alone(&self) -> bool {
        self.known != UNKNOWN && self.calm >= self.calm_enough
    }

    /// Notes that it was not so, though it seemed so: it takes longer the next time.
    pub(super) fn was_not_alone(&mut self) {
        self.calm = 0;
        self.calm_enough = (self.calm_enough * 2).min(MOST_CALM_GROUPS);
    }

    /// Trusts nothing any more: the server may not be the same.
    pub(super) fn doubt(&mut self) {
        self.known = UNKNOWN;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remembered {
    version: i64,
    era: u64,
}

const UNKNOWN: i64 = -1;
/// Groups of this writer between which nobody else wrote.
const CALM_GROUPS: u32 = 8;
const MOST_CALM_GROUPS: u32 = 8_192;
/// Heads kept in memory, at most twice as many: 10 to 20 MB.
const REMEMBERED_STREAMS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: i64) -> StreamId {
        StreamId::new(format!("chat/{number}")).unwrap()
    }

    #[test]
    fn a_writer_is_alone_a_few_groups_after_the_last_foreign_write() {
        let mut heads = Heads::new();
        let mut known = 40;
        for _ in 0..2 {
            heads.seen(known);
            for _ in 0..CALM_GROUPS {
                assert!(!heads.alone());
                known += 1;
                heads.advance(known);
                heads.seen(known);
            }
            assert!(heads.alone());
            // Somebody else.
            known += 1;
        }
        heads.doubt();
        assert!(!heads.alone());
        for refusals in 1..20 {
            heads.was_not_alone();
            heads.seen(known);
            let enough = (CALM_GROUPS << refusals).min(MOST_CALM_GROUPS);
            for _ in 0..enough {
                assert!(!heads.alone());
                known += 1;
                heads.advance(known);
            }
            assert!(heads.alone());
        }
    }

    #[test]
    fn a_foreign_write_makes_guesses_of_what_was_sure() {
        let mut heads = Heads::new();
        heads.put(&name(1), 5);
        assert_eq!(heads.get(&name(1)), Some(Head { version: 5, sure: false }), "known of nothing");
        heads.seen(10);
        heads.put(&name(1), 5);
        heads.put(&name(2), 7);
        heads.advance(11);
        heads.seen(11);
        assert_eq!(heads.get(&name(1)), Some(Head { version: 5, sure: true }));
        heads.seen(12);
        heads.put(&name(1), 6);
        assert_eq!(heads.get(&name(1)), Some(Head { version: 6, sure: true }));
        assert_eq!(heads.get(&name(2)), Some(Head { version: 7, sure: false }));
        heads.doubt();
        heads.seen(12);
        assert_eq!(heads.get(&name(1)), Some(Head { version: 6, sure: false }));
    }
}
