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

#[cfg(test)]
#[cfg(feature = "testkit")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::scenarios::{PureChat, Step, person, random_group};

    /// What the views hold: the core, and each part of the tally as it was written last.
    #[derive(Default)]
    struct Kept {
        core: Vec<u8>,
        tally: std::collections::BTreeMap<u64, Vec<u8>>,
        version: Version,
    }

    impl Kept {
        fn write(&mut self, state: &ChatState) {
            self.core = state.write_core().expect("a state has a written form");
            self.tally.extend(state.write_tally(self.version));
            self.version = state.version;
        }

        fn read(&self) -> Option<ChatState> {
            let mut state = ChatState::read_core(&self.core)?;
            for (key, bytes) in &self.tally {
                state.read_tally(*key, bytes)?;
            }
            Some(state)
        }
    }

    fn history() -> impl Strategy<Value = (u8, Vec<Step>)> {
        (0_u8..32, prop::collection::vec(any::<[u8; 8]>().prop_map(Step), 1..80))
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 128,
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        fn a_snapshot_after_any_event_and_the_rest_of_the_events_give_the_same_state(
            (kind, steps) in history(),
            every in 1_u64..9,
        ) {
            let mut chat = PureChat::group(&person(0), &random_group(kind));
            let mut kept = Kept::default();
            for step in steps {
                if step.take(&mut chat) && chat.state.version.0.is_multiple_of(every) {
                    kept.write(&chat.state);
                    let read = kept.read();
                    prop_assert_eq!(read.as_ref(), Some(&chat.state));
                }
            }
            let mut state = kept.read().unwrap_or_default();
            let from = usize::try_from(state.version.0).unwrap();
            for record in &chat.log[from..] {
                state.apply(record.version, record.at, &record.event);
            }
            prop_assert_eq!(state, chat.state);
        }

        #[test]
        fn broken_snapshots_are_refused_or_read_but_never_break_the_reader(
            (kind, steps) in history(),
            cut in any::<prop::sample::Index>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let mut chat = PureChat::group(&person(0), &random_group(kind));
            for step in steps {
                step.take(&mut chat);
            }
            let core = chat.state.write_core().unwrap();
            prop_assert_eq!(ChatState::read_core(&core[..cut.index(core.len())]), None);
            for (key, bytes) in chat.state.write_tally(Version::ZERO) {
                let mut state = ChatState::default();
                prop_assert_eq!(state.read_tally(key, &bytes[..cut.index(bytes.len())]), None);
                let mut flipped = bytes.clone();
                flipped[flip.index(bytes.len())] ^= 0x41;
                if state.read_tally(key, &flipped).is_some() {
                    let _counts = (0..5).map(|n| state.unread(&person(n))).sum::<u64>();
                }
            }
        }
    }

    #[test]
    fn a_snapshot_of_another_form_is_folded_anew() {
        let chat = PureChat::group(&person(0), &random_group(0));
        let core = String::from_utf8(chat.state.write_core().unwrap()).unwrap();
        let other = core.replacen("\"format\":1", "\"format\":2", 1);
        assert_ne!(core, other);
        assert_eq!(ChatState::read_core(other.as_bytes()), None);
        assert_eq!(ChatState::read_core(b"{}"), None);
        assert_eq!(ChatState::read_core(b""), None);
    }

    #[test]
    fn only_the_changed_parts_of_the_tally_are_written() {
        let mut chat = PureChat::group(&person(0), &random_group(0));
        let mut random = crate::testkit::scenarios::Random::new(1);
        while chat.log.len() < 40 {
            Step::draw(&mut random).take(&mut chat);
        }
        assert_eq!(chat.state.write_tally(Version::ZERO).len(), 1);
        assert_eq!(chat.state.write_tally(chat.state.version).len(), 0);
    }
}
