//! Redis's protocol, version 2: commands and their replies.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const LARGEST: usize = 512 * 1024 * 1024;
const DEEPEST: u32 = 32;

/// A connection to one server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

/// What a command was answered with; an error reply is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Text(String),
    List(Vec<Self>),
}

impl Connection {
    pub(crate) fn open(port: u16, patience: Duration) -> Result<Self> {
        Ok(Self { stream: BufReader::new(super::connect(port, patience)?) })
    }

    pub(crate) fn command(&mut self, words: &[&str]) -> Result<Reply> {
        let mut sent = format!("*{}\r\n", words.len());
        for word in words {
            sent.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(sent.as_bytes()).context("ask Redis")?;
        reply(&mut self.stream, DEEPEST)
    }
}

/// As `redis-cli` prints it into a file: a line for each element.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::List(items) => {
                let lines: Vec<_> = items.iter().map(Self::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

fn reply(stream: &mut impl BufRead, depth: u32) -> Result<Reply> {
    let mut line = String::new();
    stream.by_ref().take(64 * 1024).read_line(&mut line).context("read Redis's answer")?;
    let Some(line) = line.strip_suffix("\r\n") else { bail!("Redis ended the connection") };
    let (kind, rest) = line.split_at_checked(1).context("Redis sent an empty line")?;
    match kind {
        "+" | ":" => Ok(Reply::Text(rest.to_owned())),
        "-" => bail!("Redis: {rest}"),
        "$" => {
            let Some(length) = length(rest)? else { return Ok(Reply::Nil) };
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes).context("read Redis's answer")?;
            bytes.truncate(length);
            Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        "*" => {
            let Some(length) = length(rest)? else { return Ok(Reply::Nil) };
            let depth = depth.checked_sub(1).context("Redis's answer is nested too deep")?;
            let items: Result<_> = (0..length).map(|_| reply(stream, depth)).collect();
            Ok(Reply::List(items?))
        }
        _ => bail!("Redis sent `{line}`"),
    }
}

/// A negative length stands for nothing at all.
fn length(text: &str) -> Result<Option<usize>> {
    let length: i64 = text.parse().context("Redis sent no length")?;
    let length = usize::try_from(length).ok();
    if length.is_some_and(|length| length > LARGEST) {
        bail!("Redis sent too much");
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> Result<Reply> {
        reply(&mut bytes, DEEPEST)
    }

    #[test]
    fn replies_are_shown_a_line_for_each_element() {
        let nested = read(b"*3\r\n$1\r\na\r\n:2\r\n*2\r\n+OK\r\n$-1\r\n").unwrap();
        assert_eq!(nested.to_string(), "a\n2\nOK\n");
        assert_eq!(read(b"*-1\r\n").unwrap(), Reply::Nil);
    }

    #[test]
    fn errors_and_broken_answers_are_errors() {
        let said = read(b"-LOADING wait\r\n").unwrap_err().to_string();
        assert_eq!(said, "Redis: LOADING wait");
        for broken in [b"".as_slice(), b"\r\n", b"$2\r\na", b"$x\r\n", b"?\r\n", b"+O"] {
            assert!(read(broken).is_err());
        }
        assert!(read(&b"*1\r\n".repeat(100)).is_err());
    }
}
