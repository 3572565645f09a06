//! From bytes to server-sent events. Knows nothing of JSON or of models.
//!
//! The lines come from `sseer`'s parser, which leaves text encoding and comments to its caller.
//! What stands here is what it does not do: a CR at the end of the buffer that may be half of a
//! line end, the assembling of events, and a limit on memory.

use bytes::{Buf as _, Bytes, BytesMut};
use sseer::parser::{RawEventLineOwned, parse_line_from_buffer};

/// One event that had data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The `event` field; empty if there was none.
    pub(crate) name: Bytes,
    /// The `data` lines, joined by LF.
    pub(crate) data: Bytes,
}

/// A line or an event is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Takes bytes in any portions, gives events. The byte order mark must be gone already.
#[derive(Debug)]
pub(crate) struct SseDecoder {
    buffer: BytesMut,
    scan_from: usize,
    /// The last line ended with a CR that was the last byte known: an LF that follows is part of it.
    skip_lf: bool,
    name: Bytes,
    data: Data,
    limit: usize,
}

impl SseDecoder {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scan_from: 0,
            skip_lf: false,
            name: Bytes::new(),
            data: Data::None,
            limit,
        }
    }

    pub(crate) fn push(&mut self, mut bytes: Bytes) {
        if self.skip_lf && !bytes.is_empty() {
            self.skip_lf = false;
            if bytes.first() == Some(&b'\n') {
                bytes.advance(1);
            }
        }
        self.buffer.extend_from_slice(&bytes);
    }

    /// The next event, or `None` if more bytes are needed for it.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, TooLong> {
        while let Some(line) = self.line() {
            match line {
                RawEventLineOwned::Comment => {}
                RawEventLineOwned::Empty => {
                    let name = std::mem::take(&mut self.name);
                    if let Some(data) = self.data.take() {
                        return Ok(Some(Frame { name, data }));
                    }
                }
                RawEventLineOwned::Field { field_name, field_value } => {
                    let value = field_value.unwrap_or_default();
                    match field_name.as_ref() {
                        b"data" => self.data.add(&value),
                        b"event" => self.name = value,
                        _ => {}
                    }
                    if self.data.len() > self.limit || self.name.len() > self.limit {
                        return Err(TooLong);
                    }
                }
            }
        }
        if self.buffer.len() > self.limit { Err(TooLong) } else { Ok(None) }
    }

    fn line(&mut self) -> Option<RawEventLineOwned> {
        let line = parse_line_from_buffer(&mut self.buffer, &mut self.scan_from);
        if line.is_some() || self.buffer.last() != Some(&b'\r') {
            return line;
        }
        // Waiting for the byte behind a CR could wait for ever: `data: [DONE]` CR CR may be the
        // last that a server sends on a connection that it keeps open.
        self.skip_lf = true;
        self.buffer.extend_from_slice(b"\n");
        parse_line_from_buffer(&mut self.buffer, &mut self.scan_from)
    }
}

/// The data of an event under way. One line, the usual case, is not copied.
#[derive(Debug)]
enum Data {
    None,
    Line(Bytes),
    Lines(BytesMut),
}

impl Data {
    fn add(&mut self, line: &Bytes) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::Line(line.clone()),
            Self::Line(first) => {
                let mut lines = BytesMut::with_capacity(first.len() + 1 + line.len());
                lines.extend_from_slice(&first);
                Self::Lines(joined(lines, line))
            }
            Self::Lines(lines) => Self::Lines(joined(lines, line)),
        };
    }

    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Line(line) => line.len(),
            Self::Lines(lines) => lines.len(),
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        match std::mem::replace(self, Self::None) {
            Self::None => None,
            Self::Line(line) => Some(line),
            Self::Lines(lines) => Some(lines.freeze()),
        }
    }
}

fn joined(mut lines: BytesMut, line: &Bytes) -> BytesMut {
    lines.extend_from_slice(b"\n");
    lines.extend_from_slice(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(portions: &[&[u8]]) -> Vec<(String, String)> {
        let mut decoder = SseDecoder::new(1024);
        let mut frames = Vec::new();
        for portion in portions {
            decoder.push(Bytes::copy_from_slice(portion));
            while let Some(frame) = decoder.next().unwrap() {
                let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                frames.push((text(&frame.name), text(&frame.data)));
            }
        }
        frames
    }

    fn frames(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect()
    }

    #[test]
    fn every_split_and_every_line_end_gives_the_same_events() {
        let lines = [
            ": comment",
            "event: a",
            "data: 1",
            ":",
            "data:2",
            "",
            "",
            "id: 7",
            "retry: 3",
            "odd",
            "data",
            "",
            "event: only",
            "",
            "data:  two spaces",
            "",
        ];
        let expected = frames(&[("a", "1\n2"), ("", ""), ("", " two spaces")]);
        for end in ["\n", "\r", "\r\n"] {
            let wire: String = lines.iter().flat_map(|line| [*line, end]).collect();
            let wire = wire.as_bytes();
            for first in 0..=wire.len() {
                for second in first..=wire.len() {
                    let portions = [&wire[..first], &wire[first..second], &wire[second..]];
                    assert_eq!(decode(&portions), expected, "{end:?} {first} {second}");
                }
            }
        }
    }

    #[test]
    fn a_cr_at_the_end_of_what_is_known_ends_the_line_at_once() {
        assert_eq!(decode(&[b"data: x\r\r"]), frames(&[("", "x")]));
        assert_eq!(decode(&[b"data: x\r", b"\r"]), frames(&[("", "x")]));
        assert_eq!(decode(&[b"data: x\r", b"\n", b"\r", b"\n"]), frames(&[("", "x")]));
    }

    #[test]
    fn an_event_without_its_empty_line_is_not_given() {
        assert_eq!(decode(&[b"data: 1\n\ndata: 2\n"]), frames(&[("", "1")]));
    }

    #[test]
    fn lines_and_events_are_bounded() {
        let mut decoder = SseDecoder::new(8);
        decoder.push(Bytes::from_static(b"data: 123456789"));
        assert_eq!(decoder.next(), Err(TooLong));

        let mut decoder = SseDecoder::new(8);
        decoder.push(Bytes::from_static(b"data:12345\ndata:67890\n"));
        assert_eq!(decoder.next(), Err(TooLong));
    }
}
