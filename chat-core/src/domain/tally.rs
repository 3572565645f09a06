//! Which versions of a chat hold messages, whose they are and whom they name: enough to count what
//! is unread for anybody, exactly, whatever was deleted or edited. Compressed bitmaps in chunks of
//! 65,536 versions, so that a snapshot writes only what changed.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::id::{UserId, Version};

const CHUNK_BITS: u32 = 16;
const FORMAT: u8 = 1;

/// Counts messages. Cost of a count: one step per chunk of 65,536 versions in the range.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    chunks: BTreeMap<u64, Chunk>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Chunk {
    /// Messages that are not deleted.
    alive: RoaringBitmap,
    /// Those of them that name everybody.
    everyone: RoaringBitmap,
    /// Those of them by author.
    by_author: BTreeMap<UserId, RoaringBitmap>,
    /// Those of them by the people whom they name.
    mentions: BTreeMap<UserId, RoaringBitmap>,
    /// The last event that changed the chunk.
    changed: Version,
}

/// Unread messages and those among them that name the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) messages: u64,
    pub(super) mentions: u64,
}

impl Tally {
    pub(super) fn sent(
        &mut self,
        version: Version,
        author: &UserId,
        mentions: &[UserId],
        everyone: bool,
    ) {
        let (key, bit) = split(version);
        let chunk = self.chunks.entry(key).or_default();
        chunk.changed = version;
        chunk.alive.insert(bit);
        match chunk.by_author.get_mut(author) {
            Some(own) => {
                own.insert(bit);
            }
            None => {
                chunk.by_author.insert(author.clone(), std::iter::once(bit).collect());
            }
        }
        chunk.mention(bit, mentions, everyone);
    }

    pub(super) fn edited(
        &mut self,
        version: Version,
        message: Version,
        mentions: &[UserId],
        everyone: bool,
    ) {
        let (key, bit) = split(message);
        let Some(chunk) = self.chunks.get_mut(&key).filter(|chunk| chunk.alive.contains(bit))
        else {
            return;
        };
        chunk.changed = version;
        chunk.unmention(bit);
        chunk.mention(bit, mentions, everyone);
    }

    pub(super) fn deleted(&mut self, version: Version, message: Version) {
        let (key, bit) = split(message);
        let Some(chunk) = self.chunks.get_mut(&key).filter(|chunk| chunk.alive.contains(bit))
        else {
            return;
        };
        chunk.changed = version;
        chunk.alive.remove(bit);
        chunk.unmention(bit);
        remove_from_all(&mut chunk.by_author, bit);
    }

    /// Whether a version holds a message that is not deleted.
    #[must_use]
    pub fn is_alive(&self, version: Version) -> bool {
        let (key, bit) = split(version);
        self.chunks.get(&key).is_some_and(|chunk| chunk.alive.contains(bit))
    }

    /// The last message that is not deleted, in `first..=last`.
    #[must_use]
    pub fn last_alive(&self, first: Version, last: Version) -> Option<Version> {
        if first > last {
            // The map would panic on a range that ends before it starts.
            return None;
        }
        let (first_key, _) = split(first);
        let (last_key, last_bit) = split(last);
        for (key, chunk) in self.chunks.range(first_key..=last_key).rev() {
            let upper = if *key == last_key { last_bit } else { u32::from(u16::MAX) };
            let below = chunk.alive.rank(upper);
            let found = below
                .checked_sub(1)
                .and_then(|n| u32::try_from(n).ok().and_then(|n| chunk.alive.select(n)));
            if let Some(bit) = found {
                let version = join(*key, bit);
                return (version >= first).then_some(version);
            }
        }
        None
    }

    /// The first message in `first..=last` that is not deleted and not by `reader`.
    #[must_use]
    pub fn first_unread(&self, reader: &UserId, first: Version, last: Version) -> Option<Version> {
        if first > last {
            return None;
        }
        let (first_key, first_bit) = split(first);
        let (last_key, _) = split(last);
        for (key, chunk) in self.chunks.range(first_key..=last_key) {
            let lower = if *key == first_key { first_bit } else { 0 };
            let own = chunk.by_author.get(reader);
            let mut bits = chunk.alive.iter();
            bits.advance_to(lower);
            if let Some(bit) = bits.find(|bit| own.is_none_or(|own| !own.contains(*bit))) {
                let version = join(*key, bit);
                return (version <= last).then_some(version);
            }
        }
        None
    }

    /// Messages by others than `reader` in `first..=last`; mentions only from `named_from` on.
    pub(super) fn count(
        &self,
        reader: &UserId,
        first: Version,
        last: Version,
        named_from: Version,
    ) -> Counts {
        let mut counts = Counts::default();
        if first > last {
            return counts;
        }
        let (first_key, first_bit) = split(first);
        let (last_key, last_bit) = split(last);
        for (key, chunk) in self.chunks.range(first_key..=last_key) {
            let lower = if *key == first_key { first_bit } else { 0 };
            let upper = if *key == last_key { last_bit } else { u32::from(u16::MAX) };
            let own = chunk.by_author.get(reader);
            let all = chunk.alive.range_cardinality(lower..=upper);
            let mine = own.map_or(0, |own| own.range_cardinality(lower..=upper));
            counts.messages += all.saturating_sub(mine);
            let named_lower = match split(named_from) {
                (named_key, bit) if named_key == *key => lower.max(bit),
                (named_key, _) if named_key > *key => continue,
                _ => lower,
            };
            counts.mentions += chunk.count_mentions(reader, own, named_lower, upper);
        }
        counts
    }

    /// The chunks that changed after `since`, written as bytes.
    pub(super) fn changed_chunks(&self, since: Version) -> Vec<(u64, Vec<u8>)> {
        let changed = self.chunks.iter().filter(|(_, chunk)| chunk.changed > since);
        changed.map(|(key, chunk)| (*key, chunk.write())).collect()
    }

    /// Takes a chunk that [`changed_chunks`](Self::changed_chunks) wrote.
    pub(super) fn insert_chunk(&mut self, key: u64, bytes: &[u8]) -> Option<()> {
        let chunk = Chunk::read(bytes)?;
        self.chunks.insert(key, chunk);
        Some(())
    }
}

impl Chunk {
    fn mention(&mut self, bit: u32, mentions: &[UserId], everyone: bool) {
        for user in mentions {
            self.mentions.entry(user.clone()).or_default().insert(bit);
        }
        if everyone {
            self.everyone.insert(bit);
        }
    }

    fn unmention(&mut self, bit: u32) {
        self.everyone.remove(bit);
        remove_from_all(&mut self.mentions, bit);
    }

    fn count_mentions(
        &self,
        reader: &UserId,
        own: Option<&RoaringBitmap>,
        lower: u32,
        upper: u32,
    ) -> u64 {
        let named = self.mentions.get(reader);
        if named.is_none() && self.everyone.is_empty() {
            return 0;
        }
        let mut bits = self.everyone.clone();
        if let Some(named) = named {
            bits |= named;
        }
        if let Some(own) = own {
            bits -= own;
        }
        bits.range_cardinality(lower..=upper)
    }

    fn write(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.changed.0.to_le_bytes());
        write_bitmap(&mut out, &self.alive);
        write_bitmap(&mut out, &self.everyone);
        for map in [&self.by_author, &self.mentions] {
            out.extend_from_slice(&(map.len() as u64).to_le_bytes());
            for (user, bits) in map {
                out.extend_from_slice(&(user.as_str().len() as u64).to_le_bytes());
                out.extend_from_slice(user.as_str().as_bytes());
                write_bitmap(&mut out, bits);
            }
        }
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        if input.take(1)? != [FORMAT] {
            return None;
        }
        let changed = Version(input.number()?);
        let alive = input.bitmap()?;
        let everyone = input.bitmap()?;
        let by_author = input.map()?;
        let mentions = input.map()?;
        input.0.is_empty().then_some(Self { alive, everyone, by_author, mentions, changed })
    }
}

fn remove_from_all(map: &mut BTreeMap<UserId, RoaringBitmap>, bit: u32) {
    map.retain(|_, bits| {
        bits.remove(bit);
        !bits.is_empty()
    });
}

fn split(version: Version) -> (u64, u32) {
    // The low 16 bits always fit; the mask says so to the reader, not to the compiler.
    let low = u32::try_from(version.0 & u64::from(u16::MAX)).unwrap_or_default();
    (version.0 >> CHUNK_BITS, low)
}

fn join(key: u64, bit: u32) -> Version {
    Version((key << CHUNK_BITS) | u64::from(bit))
}

fn write_bitmap(out: &mut Vec<u8>, bits: &RoaringBitmap) {
    out.extend_from_slice(&(bits.serialized_size() as u64).to_le_bytes());
    // Writing to memory cannot fail.
    let _ = bits.serialize_into(out);
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let size = usize::try_from(self.number()?).ok()?;
        self.take(size)
    }

    fn bitmap(&mut self) -> Option<RoaringBitmap> {
        RoaringBitmap::deserialize_from(self.sized()?).ok()
    }

    fn map(&mut self) -> Option<BTreeMap<UserId, RoaringBitmap>> {
        let entries = self.number()?;
        let mut map = BTreeMap::new();
        for _ in 0..entries {
            let user = UserId::new(std::str::from_utf8(self.sized()?).ok()?).ok()?;
            map.insert(user, self.bitmap()?);
        }
        Some(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    #[test]
    fn counts_cross_chunks_and_forget_what_is_deleted() {
        let (ann, bob) = (user("ann"), user("bob"));
        let mut tally = Tally::default();
        for version in (1..=200_000).step_by(2) {
            tally.sent(Version(version), &ann, &[], false);
        }
        tally.sent(Version(200_001), &ann, std::slice::from_ref(&bob), true);
        let count = |tally: &Tally, reader: &UserId, from: u64| {
            tally.count(reader, Version(from), Version(200_001), Version(from))
        };
        assert_eq!(count(&tally, &bob, 1).messages, 100_001);
        assert_eq!(count(&tally, &bob, 1).mentions, 1);
        assert_eq!(count(&tally, &ann, 1), Counts::default());
        assert_eq!(count(&tally, &bob, 131_072).messages, 34_465);
        tally.deleted(Version(200_002), Version(200_001));
        tally.deleted(Version(200_003), Version(1));
        assert_eq!(count(&tally, &bob, 1), Counts { messages: 99_999, mentions: 0 });
        assert_eq!(tally.last_alive(Version(1), Version::MAX), Some(Version(199_999)));
        assert_eq!(tally.last_alive(Version(1), Version(65_536)), Some(Version(65_535)));
        let unread =
            |reader, first, last| tally.first_unread(reader, Version(first), Version(last));
        assert_eq!(unread(&bob, 65_536, u64::MAX), Some(Version(65_537)));
        assert_eq!(unread(&bob, 65_536, 65_536), None);
        assert_eq!(unread(&bob, 70_001, 1), None);
        assert_eq!(unread(&ann, 1, u64::MAX), None);
        assert_eq!(tally.last_alive(Version(70_001), Version(1)), None);
    }

    #[test]
    fn mentions_count_from_where_the_reader_came_in_whatever_the_chunk() {
        let (ann, bob) = (user("ann"), user("bob"));
        let mut tally = Tally::default();
        for version in [10, 65_000, 70_000, 140_000] {
            tally.sent(Version(version), &ann, std::slice::from_ref(&bob), version == 70_000);
        }
        let named = |from| tally.count(&bob, Version(1), Version(200_000), Version(from)).mentions;
        let counts = [1, 10, 11, 65_001, 70_000, 70_001, 131_072, 140_001, 300_000].map(named);
        assert_eq!(counts, [4, 4, 3, 2, 2, 1, 1, 0, 0]);
        assert_eq!(tally.count(&bob, Version(11), Version(70_000), Version(1)).messages, 2);
    }

    #[test]
    fn chunks_survive_writing_and_only_changed_ones_are_written() {
        let ann = user("ann");
        let mut tally = Tally::default();
        tally.sent(Version(5), &ann, &[user("bob")], false);
        tally.sent(Version(70_000), &ann, &[], true);
        assert_eq!(tally.changed_chunks(Version(5)).len(), 1);
        let mut copy = Tally::default();
        for (key, bytes) in tally.changed_chunks(Version::ZERO) {
            copy.insert_chunk(key, &bytes).unwrap();
        }
        assert_eq!(copy, tally);
        assert_eq!(copy.insert_chunk(0, b"garbage"), None);
    }
}
