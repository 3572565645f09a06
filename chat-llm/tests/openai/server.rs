//! A server on loopback that says exactly what a test wants, byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chat_llm::{OpenAiBackend, OpenAiConfig, ProxyChoice};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the server does once it has read a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Sends these bytes, in one write.
    Send(Vec<u8>),
    /// Ends the connection by FIN.
    Close,
    /// Ends the connection by RST.
    Reset,
    /// Waits until the client has closed the connection.
    Hold,
    /// Reads the next request on the same connection.
    KeepAlive,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Request line and headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// What has happened so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) requests: Vec<Request>,
    pub(crate) connections: usize,
    /// Connections that the client closed while the server held them.
    pub(crate) closed: usize,
}

/// The server; gone when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    log: watch::Receiver<Log>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Answers the n-th request by the n-th script, further ones by the last.
    pub(crate) async fn start(scripts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, log) = watch::channel(Log::default());
        let (sender, scripts) = (Arc::new(sender), Arc::new(scripts));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                sender.send_modify(|log| log.connections += 1);
                connections.spawn(serve(stream, Arc::clone(&scripts), Arc::clone(&sender)));
            }
        });
        Self { address, log, task }
    }

    /// Answers every request alike.
    pub(crate) async fn always(script: Vec<Act>) -> Self {
        Self::start(vec![script]).await
    }

    pub(crate) fn log(&self) -> Log {
        self.log.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Log> {
        self.log.clone()
    }

    /// A configuration that reaches this server at once and repeats quickly.
    pub(crate) fn config(&self) -> OpenAiConfig {
        let mut config = OpenAiConfig::new("m")
            .with_base_url(format!("http://{}/v1", self.address))
            .with_proxy(ProxyChoice::Direct);
        config.retries.first_wait = Duration::from_millis(1);
        config
    }

    pub(crate) fn backend(&self) -> OpenAiBackend {
        OpenAiBackend::new(self.config()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, scripts: Arc<Vec<Vec<Act>>>, log: Arc<watch::Sender<Log>>) {
    stream.set_nodelay(true).unwrap();
    while let Some(request) = read_request(&mut stream).await {
        let mut number = 0;
        log.send_modify(|log| {
            number = log.requests.len();
            log.requests.push(request);
        });
        let mut keep = false;
        for act in scripts.get(number).or(scripts.last()).cloned().unwrap_or_default() {
            match act {
                // The client may be gone already; what then happens is its test's business.
                Act::Send(bytes) => drop(stream.write_all(&bytes).await),
                Act::Close => {}
                Act::Reset => stream.set_zero_linger().unwrap(),
                Act::KeepAlive => keep = true,
                Act::Hold => {
                    let mut byte = [0];
                    let read = stream.read(&mut byte).await;
                    assert!(matches!(read, Ok(0) | Err(_)), "bytes behind the request");
                    log.send_modify(|log| log.closed += 1);
                }
            }
        }
        if !keep {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or("0").parse().unwrap();
        if bytes.len() >= end + 4 + length {
            let body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or(Value::Null);
            return Some(Request { head, body });
        }
    }
}

/// The head of a streamed answer whose end is the connection's.
pub(crate) fn stream_head() -> Vec<u8> {
    head(200, &[("content-type", "text/event-stream")])
}

/// The head of an answer that ends with the connection.
pub(crate) fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

/// A whole answer that is no stream.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<Act> {
    let bytes = [head(status, headers), body.as_bytes().to_vec()].concat();
    vec![Act::Send(bytes), Act::Close]
}

/// A stream of these events, each in a write of its own, then the given end.
pub(crate) fn stream(events: &[String], end: Act) -> Vec<Act> {
    let events = events.iter().map(|event| Act::Send(event.clone().into_bytes()));
    [Act::Send(stream_head())].into_iter().chain(events).chain([end]).collect()
}

/// An event with this text.
pub(crate) fn text(text: &str) -> String {
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {chunk}\n\n")
}

/// An event with this reason to end.
pub(crate) fn reason(reason: &str) -> String {
    let chunk = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    format!("data: {chunk}\n\n")
}

pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// A small complete stream.
pub(crate) fn good() -> Vec<Act> {
    stream(&[text("fi"), text("ne"), reason("stop"), DONE.to_owned()], Act::Close)
}

/// Bytes in HTTP's chunked coding.
pub(crate) fn chunk(bytes: &str) -> Act {
    Act::Send(format!("{:x}\r\n{bytes}\r\n", bytes.len()).into_bytes())
}

/// The head of a stream in chunked coding.
pub(crate) fn chunked_head() -> Act {
    Act::Send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec(),
    )
}
