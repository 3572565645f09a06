//! The one statement that writes events: many rows, in as few different lengths as is sensible, so
//! that the server keeps the prepared statements for them.

use std::collections::HashMap;
use std::sync::Arc;

use super::connection::{Session, Values};
use super::error::{Failure, Step};
use super::plan::NewRow;
use super::sql::{Sql, filled};

/// Makes the statements. Those of the lengths that come often are kept.
#[derive(Debug)]
pub(super) struct Inserter {
    sql: Arc<Sql>,
    texts: HashMap<usize, Arc<str>>,
}

impl Inserter {
    pub(super) fn new(sql: Arc<Sql>) -> Self {
        Self { sql, texts: HashMap::new() }
    }

    /// Inserts rows by one statement: all of them, or none if it fails.
    pub(super) async fn insert(
        &mut self,
        session: &mut Session<'_>,
        rows: &[NewRow<'_>],
        step: Step,
    ) -> Result<(), Failure> {
        let text = self.text(rows.len());
        let mut values = if is_rung(rows.len()) { Values::new() } else { Values::once() };
        values.reserve(rows.len() * COLUMNS, rows.iter().map(size).sum());
        for row in rows {
            let event = row.event;
            values.add(row.position);
            values.add(row.stream.as_str().as_bytes());
            values.add(row.version);
            values.add(event.id.0.as_bytes().as_slice());
            values.add(event.event_type.as_str());
            values.add(event.schema_version);
            values.add(event.recorded_at.0);
            values.add(event.payload.as_str());
            values.add(event.metadata.as_ref().map(chat_core::Json::as_str));
        }
        session.execute(&text, values, step).await
    }

    fn text(&mut self, rows: usize) -> Arc<str> {
        if let Some(text) = self.texts.get(&rows) {
            return Arc::clone(text);
        }
        let text = filled(&self.sql.insert_events, "{rows}", ROW, ",", rows);
        let text: Arc<str> = text.into();
        if is_rung(rows) {
            self.texts.insert(rows, Arc::clone(&text));
        }
        text
    }
}

/// Cuts rows into pieces that one statement takes each, of lengths for which statements are kept: one
/// that is used once must be closed, which the server does not answer, and then the system holds the
/// next one back until the server acknowledges that, for 40 ms (Nagle's algorithm, which the driver
/// does not turn off).
pub(super) fn pieces<'r, 'a>(
    mut rows: &'r [NewRow<'a>],
    packet_limit: usize,
) -> impl Iterator<Item = &'r [NewRow<'a>]> {
    std::iter::from_fn(move || {
        let mut bytes = PACKET_HEAD;
        let fits = |row: &&NewRow<'_>| {
            bytes += size(row);
            bytes <= packet_limit
        };
        // One row that is too large alone is for the server to refuse.
        let count = rows.iter().take(MAX_ROWS).take_while(fits).count().max(1);
        let count = rung_within(count);
        let (piece, rest) = rows.split_at_checked(count)?;
        rows = rest;
        Some(piece)
    })
}

/// What a row takes in a statement, a bit more rather than less.
fn size(row: &NewRow<'_>) -> usize {
    row.event.size() + row.stream.as_str().len() + ROW_BYTES
}

/// Whether statements of so many rows are kept. Up to 16 all are, above that eight lengths in each
/// doubling.
pub(super) fn is_rung(rows: usize) -> bool {
    match rows.checked_ilog2() {
        None | Some(0..=3) => true,
        Some(doublings) => rows.trailing_zeros() + 3 >= doublings,
    }
}

/// The largest length up to this one for which statements are kept.
fn rung_within(rows: usize) -> usize {
    let step = rows.checked_ilog2().map_or(0, |doublings| doublings.saturating_sub(3));
    rows >> step << step
}

const ROW: &str = "(?,?,?,?,?,?,?,?,?)";
const COLUMNS: usize = 9;
/// Most rows of one statement: it has at most 65,535 values.
const MAX_ROWS: usize = 1_024;
const ROW_BYTES: usize = 192;
const PACKET_HEAD: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::testkit::fixture::{event_with, stream};

    #[test]
    fn few_lengths_come_near_to_any() {
        let rungs: Vec<_> = (1..=1_024).filter(|rows| is_rung(*rows)).collect();
        assert_eq!(
            rungs[..20],
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24]
        );
        assert_eq!(rungs.len(), 64);
        for pair in rungs.windows(2) {
            assert!(pair[1] - pair[0] <= (pair[0] / 8).max(1), "{pair:?}");
        }
    }

    #[test]
    fn pieces_hold_everything_once_and_keep_to_the_limit() {
        let name = stream("a");
        let events: Vec<_> =
            (0..100_usize).map(|n| event_with(n as u64, &"x".repeat(n * 97 % 1_000))).collect();
        let row = |(position, event)| NewRow { position, stream: &name, version: 1, event };
        let rows: Vec<_> = (1..).zip(&events).map(row).collect();
        for limit in [1, 3_000, 20_000, 10_000_000] {
            let pieces: Vec<_> = pieces(&rows, limit).collect();
            let all: Vec<_> = pieces.concat().iter().map(|row| row.position).collect();
            assert_eq!(all, (1..=100).collect::<Vec<_>>());
            for piece in pieces {
                let bytes: usize = piece.iter().map(size).sum();
                assert!(piece.len() == 1 || bytes + PACKET_HEAD <= limit);
            }
        }
        assert_eq!(pieces(&[], 10).count(), 0);
    }
}
