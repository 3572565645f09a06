//! A call of any length, in parts that a writer can keep in mind.

use chat_core::ports::Append;

/// Cuts a call so that no part names more streams than a writer remembers. Parts are carried out
/// one after the other, so the order stays; only single appends are promised to be atomic.
pub(crate) fn in_parts(appends: &[Append]) -> Vec<&[Append]> {
    let mut parts = Vec::with_capacity(1);
    let (mut start, mut named) = (0, 0);
    for (at, append) in appends.iter().enumerate() {
        let streams = append.writes().len() + append.guards().len();
        if at > start && named + streams > MOST_STREAMS {
            parts.extend(appends.get(start..at));
            (start, named) = (at, 0);
        }
        named += streams;
    }
    parts.extend(appends.get(start..).filter(|rest| !rest.is_empty()));
    parts
}

/// A fraction of the streams whose heads are remembered.
const MOST_STREAMS: usize = 8_192;

#[cfg(test)]
mod tests {
    use chat_core::ports::Expected;
    use chat_core::testkit::fixture::{event, single, stream};

    use super::*;

    #[test]
    fn parts_are_bounded_and_together_the_whole() {
        let append = |n| single(&stream("chat/a"), Expected::Any, vec![event(n)]);
        let appends: Vec<_> = (0..20_000).map(append).collect();
        let parts = in_parts(&appends);
        let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [8_192, 8_192, 3_616]);
        assert_eq!(parts.concat(), appends);
        assert!(in_parts(&[]).is_empty());
        assert_eq!(in_parts(&appends[..5]), [&appends[..5]]);
    }
}
