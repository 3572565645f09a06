//! The webhook sender is killed again and again, and its receiver is no better: everything that was
//! saved arrives, in order, and once for whoever looks at the keys.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use chat_core::domain::{ChatEvent, decode};
use chat_core::testkit::fixture::{partitions, read_log};
use chat_store_sql::sqlite::{SqliteConfig, SqliteStore};

/// A post as the receiver got it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Post {
    key: String,
    body: String,
}

/// Longer than anything takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
const ROUNDS: usize = 8;

/// Takes posts. Of some it says that it failed, of some nothing at all.
fn receiver() -> (String, Receiver<Post>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let (posts, received) = channel();
    std::thread::spawn(move || {
        for (number, connection) in listener.incoming().enumerate() {
            // A sender that was killed leaves half a post.
            let _ = connection.and_then(|connection| take(number, connection, &posts));
        }
    });
    (url, received)
}

fn take(number: usize, connection: TcpStream, posts: &Sender<Post>) -> std::io::Result<()> {
    // One that sends nothing must not hold up the others.
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(connection);
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let Some((name, value)) = line.trim().split_once(": ") else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => value.clone_into(&mut key),
            "content-length" => length = value.parse().expect("a number"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body).expect("text");
    if number % 5 == 3 {
        let answer =
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return reader.get_mut().write_all(answer.as_bytes());
    }
    // It has the post; whether the sender comes to know is another thing.
    let _ = posts.send(Post { key, body });
    if number % 7 == 5 {
        return Ok(());
    }
    let answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(answer.as_bytes())
}

/// The program, and the lines that it says.
fn start(file: &Path, url: &str) -> (Child, ChildStdin, Receiver<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webhook"));
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.arg(format!("sqlite:{}", file.display())).arg(url);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let stdin = child.stdin.take().expect("a pipe");
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let (said, hears) = channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = said.send(line);
        }
    });
    (child, stdin, hears)
}

/// The texts of the messages in the file, in their order.
#[tokio::main]
async fn stored(file: &Path) -> Vec<String> {
    let store = SqliteStore::open(SqliteConfig::new(file)).await.expect("the file opens");
    let events = store.events();
    let mut texts = Vec::new();
    for partition in partitions(&*events).await {
        for stored in read_log(&*events, partition, 100).await {
            let (event, payload) = (&stored.event, &stored.event.payload);
            let read = decode(event.event_type.as_str(), event.schema_version, payload);
            if let Ok(ChatEvent::MessageSent(message)) = read {
                texts.push(payload_text(&message.text));
            }
        }
    }
    store.close().await;
    texts
}

fn payload_text(text: &str) -> String {
    format!("\"text\":\"{text}\"")
}

#[test]
fn every_saved_message_arrives_though_the_sender_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("notes.db");
    let (url, received) = receiver();
    let mut posts = Vec::new();
    let mut saved = BTreeSet::new();
    for round in 0..ROUNDS {
        let (mut child, mut stdin, said) = start(&file, &url);
        for line in 0..10 {
            writeln!(stdin, "line {line} of round {round}").expect("the program reads");
        }
        // Killed at another moment each time: early in its work, or late, or while nothing is left.
        for _ in 0..=round {
            let line = said.recv_timeout(PATIENCE).expect("a line is saved");
            saved.extend(line.strip_prefix("saved: ").map(payload_text));
        }
        for _ in 0..round * 2 {
            posts.push(received.recv_timeout(PATIENCE).expect("a post"));
        }
        child.kill().expect("it is killed");
        child.wait().expect("it has ended");
        saved.extend(said.iter().filter_map(|line| line.strip_prefix("saved: ").map(payload_text)));
    }
    let (mut child, stdin, _said) = start(&file, &url);
    // It delivers what is left, and ends.
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    posts.extend(received.try_iter());

    let mut keys = BTreeSet::new();
    let first: Vec<_> = posts.iter().filter(|post| keys.insert(&post.key)).collect();
    let stored = stored(&file);
    assert_eq!(first.len(), stored.len(), "each once by its key");
    for (post, text) in first.iter().zip(&stored) {
        assert!(post.body.contains(text), "in order: {post:?} is not {text}");
    }
    assert!(saved.iter().all(|text| stored.contains(text)), "what was saved is there");
    let distinct: BTreeSet<_> = posts.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "a key stands for one message");
    assert!(posts.len() > first.len(), "the receiver that says nothing gets it again");
}

#[test]
fn a_redirected_message_is_not_carried_on_and_is_parked() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (requests, received) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(connection);
            let mut first = String::new();
            let _ = reader.read_line(&mut first).map(|_| requests.send(first));
            // The body is left unread until the sender has gone: it has its answer.
            let answer = format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{address}/elsewhere\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = reader.get_mut().write_all(answer.as_bytes());
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        }
    });
    let url = format!("http://{address}/hook");
    let (mut child, mut stdin, said) = start(&folder.path().join("notes.db"), &url);
    writeln!(stdin, "for one place only").expect("the program reads");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    let said: Vec<_> = said.iter().collect();
    assert!(said.iter().any(|line| line.ends_with(", 1 parked")), "{said:?}");
    let requests: Vec<_> = received.try_iter().collect();
    assert_eq!(requests, ["POST /hook HTTP/1.1\r\n"], "asked once, and nowhere else");
}
