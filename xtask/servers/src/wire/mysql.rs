//! The protocol of MySQL and MariaDB: one query by a user without a password.

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The 4.1 protocol, its passwords, plugins for them, and a database named at once.
const CAPABILITIES: u32 = 0x0200 | 0x8000 | 0x0008_0000 | 0x0008;
const LARGEST_PACKET: u32 = 0x00ff_ffff;
const UTF8MB4: u8 = 45;
const QUERY: u8 = 3;
const QUIT: &[u8] = &[1];

/// Runs `sql` as `root` in the database `test`; a line for each row, its columns parted by tabs.
pub(crate) fn query(port: u16, sql: &str, patience: Duration) -> Result<Vec<String>> {
    let mut stream = super::connect(port, patience)?;
    let (number, greeting) = packet(&mut stream)?;
    refused(&greeting)?;
    send(&mut stream, number.wrapping_add(1), &answer())?;
    let (number, verdict) = packet(&mut stream)?;
    refused(&verdict)?;
    if verdict.first() == Some(&0xfe) {
        // Another plugin for the password, which is none with any plugin.
        send(&mut stream, number.wrapping_add(1), &[])?;
        refused(&packet(&mut stream)?.1)?;
    }
    send(&mut stream, 0, &[&[QUERY], sql.as_bytes()].concat())?;
    let rows = rows(&mut stream)?;
    // An orderly goodbye; the answer is there already.
    let _ = send(&mut stream, 0, QUIT);
    Ok(rows)
}

fn answer() -> Vec<u8> {
    let mut answer = CAPABILITIES.to_le_bytes().to_vec();
    answer.extend(LARGEST_PACKET.to_le_bytes());
    answer.push(UTF8MB4);
    answer.extend([0; 23]);
    answer.extend(b"root\0\0test\0mysql_native_password\0");
    answer
}

fn rows(stream: &mut impl Read) -> Result<Vec<String>> {
    let (_, head) = packet(stream)?;
    refused(&head)?;
    let columns = number(&mut head.as_slice())?.unwrap_or_default();
    let mut rows = Vec::new();
    if columns == 0 {
        return Ok(rows);
    }
    // The columns' descriptions, up to a mark; then the rows, up to another.
    while !is_end(&packet(stream)?.1) {}
    loop {
        let (_, body) = packet(stream)?;
        refused(&body)?;
        if is_end(&body) {
            return Ok(rows);
        }
        let mut rest = body.as_slice();
        let mut texts = Vec::new();
        for _ in 0..columns {
            let length = usize::try_from(number(&mut rest)?.unwrap_or_default())?;
            let (text, after) = rest.split_at_checked(length).context("a row is short")?;
            texts.push(String::from_utf8_lossy(text).into_owned());
            rest = after;
        }
        rows.push(texts.join("\t"));
    }
}

fn is_end(body: &[u8]) -> bool {
    body.first() == Some(&0xfe) && body.len() < 9
}

/// A number of variable length; none stands for NULL.
fn number(rest: &mut &[u8]) -> Result<Option<u64>> {
    let (first, after) = rest.split_first().context("a row is short")?;
    let width = match first {
        0xfb => {
            *rest = after;
            return Ok(None);
        }
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        small => {
            *rest = after;
            return Ok(Some((*small).into()));
        }
    };
    let (bytes, after) = after.split_at_checked(width).context("a row is short")?;
    *rest = after;
    Ok(Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))))
}

fn refused(body: &[u8]) -> Result<()> {
    if let [0xff, low, high, rest @ ..] = body {
        let code = u16::from_le_bytes([*low, *high]);
        bail!("MariaDB: {code} {}", String::from_utf8_lossy(rest));
    }
    Ok(())
}

fn packet(stream: &mut impl Read) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).context("read MariaDB's answer")?;
    let [a, b, c, number] = head;
    let mut body = vec![0; usize::try_from(u32::from_le_bytes([a, b, c, 0]))?];
    stream.read_exact(&mut body).context("read MariaDB's answer")?;
    Ok((number, body))
}

fn send(stream: &mut impl Write, number: u8, body: &[u8]) -> Result<()> {
    let length = u32::try_from(body.len()).ok().filter(|length| *length < LARGEST_PACKET);
    let [a, b, c, _] = length.context("the question is too long")?.to_le_bytes();
    stream.write_all(&[&[a, b, c, number], body].concat()).context("ask MariaDB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(bodies: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for body in bodies {
            send(&mut all, 1, body).unwrap();
        }
        all
    }

    #[test]
    fn rows_are_read_to_the_end() {
        let end: &[u8] = &[0xfe, 0, 0, 2, 0];
        let stream = packets(&[&[2], b"a column", b"another", end, b"\x01a\xfb", end]);
        assert_eq!(rows(&mut stream.as_slice()).unwrap(), ["a\t"]);
        assert!(rows(&mut packets(&[&[0, 1, 0]]).as_slice()).unwrap().is_empty());
    }

    #[test]
    fn errors_and_broken_answers_are_errors() {
        let stream = packets(&[b"\xff\x10\x04no"]);
        let said = rows(&mut stream.as_slice()).unwrap_err().to_string();
        assert_eq!(said, "MariaDB: 1040 no");
        assert!(rows(&mut packets(&[&[1], &[0xfe], b"\x05a"]).as_slice()).is_err());
        assert!(rows(&mut packets(&[&[]]).as_slice()).is_err());
    }

    #[test]
    fn numbers_have_any_length() {
        let mut bytes: &[u8] = b"\x07\xfc\x01\x02\xfd\x01\0\x01\xfe\x02\0\0\0\0\0\0\0";
        let read: Vec<_> = (0..4).map(|_| number(&mut bytes).unwrap().unwrap()).collect();
        assert_eq!(read, [7, 513, 65_537, 2]);
    }
}
