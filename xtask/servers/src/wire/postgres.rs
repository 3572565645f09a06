//! PostgreSQL's protocol 3: one simple query.

use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const VERSION: u32 = 196_608;
const LARGEST: usize = 64 * 1024 * 1024;

/// Runs `sql` as the superuser `postgres`; a line for each row, its columns parted by `|`.
pub(crate) fn query(port: u16, sql: &str, patience: Duration) -> Result<Vec<String>> {
    let mut stream = super::connect(port, patience)?;
    let mut hello = VERSION.to_be_bytes().to_vec();
    hello.extend(b"user\0postgres\0database\0postgres\0\0");
    stream.write_all(&framed(&hello)?).context("greet PostgreSQL")?;
    until_ready(&mut stream)?;
    let mut question = sql.as_bytes().to_vec();
    question.push(0);
    stream.write_all(&[b"Q", framed(&question)?.as_slice()].concat()).context("ask PostgreSQL")?;
    let rows = until_ready(&mut stream)?;
    // An orderly goodbye; the answer is there already.
    let _ = stream.write_all(b"X\0\0\0\x04");
    Ok(rows)
}

/// With its length before it, which counts itself.
fn framed(body: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(body.len() + 4).context("the message is too long")?;
    Ok([length.to_be_bytes().as_slice(), body].concat())
}

fn until_ready(stream: &mut impl Read) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    loop {
        let (kind, body) = message(stream)?;
        match kind {
            b'D' => rows.push(row(&body)?),
            b'R' if body != [0; 4] => bail!("PostgreSQL asks for a password"),
            b'E' => bail!("PostgreSQL: {}", complaint(&body)),
            b'Z' => return Ok(rows),
            _ => {}
        }
    }
}

fn message(stream: &mut impl Read) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).context("read PostgreSQL's answer")?;
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length).checked_sub(4).context("PostgreSQL sent no message")?;
    let length = usize::try_from(length).context("PostgreSQL sent too much")?;
    if length > LARGEST {
        bail!("PostgreSQL sent too much");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).context("read PostgreSQL's answer")?;
    Ok((kind, body))
}

fn row(mut body: &[u8]) -> Result<String> {
    let columns = u16::from_be_bytes(take(&mut body)?);
    let mut texts = Vec::new();
    for _ in 0..columns {
        // A negative length is NULL's.
        let length = usize::try_from(i32::from_be_bytes(take(&mut body)?)).unwrap_or(0);
        let (text, rest) = body.split_at_checked(length).context("a row of PostgreSQL is short")?;
        texts.push(String::from_utf8_lossy(text).into_owned());
        body = rest;
    }
    Ok(texts.join("|"))
}

fn take<const N: usize>(body: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = body.split_first_chunk().context("a row of PostgreSQL is short")?;
    *body = rest;
    Ok(*head)
}

/// Code and message of an error: fields that begin with a letter and end with a zero byte.
fn complaint(body: &[u8]) -> String {
    let field = |letter: u8| {
        let found = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&letter));
        String::from_utf8_lossy(found.and_then(|field| field.get(1..)).unwrap_or_default())
            .into_owned()
    };
    format!("{} {}", field(b'C'), field(b'M'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_to_the_end() {
        let row = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff";
        let stream = [b"D", framed(row).unwrap().as_slice(), b"Z\0\0\0\x05I"].concat();
        assert_eq!(until_ready(&mut stream.as_slice()).unwrap(), ["a|"]);
    }

    #[test]
    fn errors_and_broken_answers_are_errors() {
        let error = b"SFATAL\0C57P03\0Mstarting up\0\0";
        let stream = [b"E", framed(error).unwrap().as_slice()].concat();
        let said = until_ready(&mut stream.as_slice()).unwrap_err().to_string();
        assert_eq!(said, "PostgreSQL: 57P03 starting up");
        assert!(until_ready(&mut b"D\0\0\0\x06\0\x01".as_slice()).is_err());
        assert!(until_ready(&mut b"Z\0\0\0\x00".as_slice()).is_err());
        assert!(until_ready(&mut b"Z\xff\0\0\x00".as_slice()).is_err());
    }
}
