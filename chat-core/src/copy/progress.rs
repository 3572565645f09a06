//! How far a copy has come, as numbers to show.

use crate::id::Position;

/// How far a copy or a verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Events copied or compared so far, earlier runs included.
    pub events: u64,
    /// Their bytes, as [`NewEvent::size`](crate::NewEvent::size) counts.
    pub bytes: u64,
    /// How far the logs have been gone through: the sum of the positions in all partitions.
    pub position: u64,
    /// The sum of the last positions seen in them.
    pub total: u64,
}

impl Progress {
    /// Positions that are left; at least as many as events, as positions may have holes. Zero: caught
    /// up, as of the last look.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.total.saturating_sub(self.position)
    }
}

/// How far one partition of the source has been copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// Everything up to here is in the target.
    pub(super) done: Position,
    /// The last position seen.
    pub(super) head: Position,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Place {
    pub(super) fn sum(places: &[Self]) -> Progress {
        let sum = |number: fn(&Self) -> u64| places.iter().map(number).sum();
        Progress {
            events: sum(|place| place.events),
            bytes: sum(|place| place.bytes),
            position: sum(|place| place.done.0),
            total: sum(|place| place.head.max(place.done).0),
        }
    }
}
