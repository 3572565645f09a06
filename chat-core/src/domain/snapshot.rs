//! How a chat's state is kept between two looks at its stream. A form that cannot be read is no
//! error: the state is folded again from the events.

use serde::{Deserialize, Serialize};

use super::chat::ChatState;
use crate::id::Version;

/// Raised with every change of the form or of the fold: older snapshots are then folded anew.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    state: &'a ChatState,
}

#[derive(Deserialize)]
struct Read {
    format: u32,
    state: ChatState,
}

impl ChatState {
    /// The state without the tally, as bytes.
    pub(crate) fn write_core(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(&Written { format: FORMAT, state: self }).ok()
    }

    /// What [`write_core`](Self::write_core) wrote; `None` if it is of another form or broken.
    pub(crate) fn read_core(bytes: &[u8]) -> Option<Self> {
        let read: Read = serde_json::from_slice(bytes).ok()?;
        (read.format == FORMAT).then_some(read.state)
    }

    /// The parts of the tally that changed after `since`.
    pub(crate) fn write_tally(&self, since: Version) -> Vec<(u64, Vec<u8>)> {
        self.tally.changed_chunks(since)
    }

    /// Takes a part of the tally; `None` if it is broken.
    pub(crate) fn read_tally(&mut self, key: u64, bytes: &[u8]) -> Option<()> {
        self.tally.insert_chunk(key, bytes)
    }
}
