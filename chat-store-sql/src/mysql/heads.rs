//! What the writer remembers between appends, so that it need not ask the database for each. It is
//! true as long as nobody else wrote, which the next append finds out by itself.

use chat_core::StreamId;

use crate::recent::Recent;

/// The end of the log and of streams, as this store last saw them.
#[derive(Debug)]
pub(super) struct Memory {
    /// The last position of the log; `None` if it must be asked for.
    pub(super) last: Option<u64>,
    pub(super) heads: Recent<StreamId, u64>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { last: None, heads: Recent::new(REMEMBERED_STREAMS) }
    }

    /// Forgets everything: the database may be another one now.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.heads.clear();
    }
}

/// Heads kept in memory, at most twice as many: 10 to 20 MB.
const REMEMBERED_STREAMS: usize = 65_536;
