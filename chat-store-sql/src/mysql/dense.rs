//! Finds out what a look at the database left out.
//!
//! MariaDB notes which transactions are under way without stopping them. A transaction may end while
//! it does so, and the next one, which had waited for it, as well; if it has noted the first and
//! comes to the second when that is gone, the look shows the second without the first. Rows of a
//! stream and of the log are numbered without holes, so this can be seen: such a page ends before
//! the hole, and a page that begins with one is read again. Whatever is shown by one look is
//! behind all that was missing in it, so that the next look shows that too; a hole that is still
//! there was made by somebody who removed rows.

use std::sync::Arc;

use chat_core::{Position, RecordedEvent, Version};

/// The numbers that a page must have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numbers {
    /// Positions behind this one.
    Log(Position),
    /// Versions behind this one.
    Forward(Version),
    /// Versions before this one, downwards.
    Backward(Version),
}

impl Numbers {
    /// How many events of a page follow each other from where the page begins, if the last number
    /// is `head`.
    pub(super) fn whole(self, events: &[Arc<RecordedEvent>], head: u64) -> usize {
        let first = match self {
            Self::Log(Position(number)) | Self::Forward(Version(number)) => {
                number.saturating_add(1)
            }
            Self::Backward(Version(number)) => number.saturating_sub(1).min(head),
        };
        self.follow(events, first)
    }

    /// How many events follow each other from the first.
    pub(super) fn following(self, events: &[Arc<RecordedEvent>]) -> usize {
        events.first().map_or(0, |event| self.follow(events, self.number(event)))
    }

    fn follow(self, events: &[Arc<RecordedEvent>], first: u64) -> usize {
        let step = if matches!(self, Self::Backward(_)) { -1 } else { 1 };
        let expected = std::iter::successors(Some(first), |last| last.checked_add_signed(step));
        let found = events.iter().map(|event| self.number(event));
        found.zip(expected).take_while(|(found, expected)| found == expected).count()
    }

    fn number(self, event: &RecordedEvent) -> u64 {
        match self {
            Self::Log(_) => event.position.0,
            Self::Forward(_) | Self::Backward(_) => event.version.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::testkit::fixture::{event, stream};

    fn page(numbers: &[u64]) -> Vec<Arc<RecordedEvent>> {
        let stored = |number: &u64| RecordedEvent {
            stream: stream("a"),
            version: Version(*number),
            position: Position(*number),
            event: event(*number),
        };
        numbers.iter().map(stored).map(Arc::new).collect()
    }

    #[test]
    fn a_page_is_whole_up_to_the_first_hole() {
        let log = |after, numbers: &[u64]| Numbers::Log(Position(after)).whole(&page(numbers), 9);
        assert_eq!(log(0, &[1, 2, 3]), 3);
        assert_eq!(log(4, &[5, 6, 8, 9]), 2);
        assert_eq!(log(4, &[6, 7]), 0);
        assert_eq!(log(u64::MAX, &[]), 0);
        let forward =
            |from, numbers: &[u64]| Numbers::Forward(Version(from)).whole(&page(numbers), 9);
        assert_eq!(forward(2, &[3, 5]), 1);
        let backward = |from, head, numbers: &[u64]| {
            Numbers::Backward(Version(from)).whole(&page(numbers), head)
        };
        assert_eq!(backward(u64::MAX, 9, &[9, 8, 7]), 3);
        assert_eq!(backward(9, 9, &[8, 7, 5]), 2);
        assert_eq!(backward(9, 9, &[7, 6]), 0);
        assert_eq!(backward(3, 9, &[2, 1]), 2);
        assert_eq!(backward(1, 9, &[]), 0);
    }

    #[test]
    fn behind_a_hole_that_stays_a_page_goes_on() {
        assert_eq!(Numbers::Log(Position(0)).following(&page(&[3, 4, 6])), 2);
        assert_eq!(Numbers::Backward(Version(9)).following(&page(&[5, 4, 2])), 2);
        assert_eq!(Numbers::Forward(Version(9)).following(&page(&[])), 0);
    }
}
