//! One WebSocket, spoken as the page speaks it.

use std::collections::VecDeque;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use super::visitor::Visitor;
use super::within;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) struct Tab {
    pub(crate) socket: Socket,
    last_id: u64,
    pushed: VecDeque<Value>,
}

/// The handshake of a visitor's page; tests change headers to make it a bad one.
pub(crate) fn handshake(visitor: &Visitor) -> Request {
    let address = visitor.base.replacen("http", "ws", 1);
    let mut request = format!("{address}/ws").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("origin", visitor.base.parse().unwrap());
    if let Some(cookie) = &visitor.cookie {
        headers.insert("cookie", cookie.parse().unwrap());
    }
    request
}

/// The status of a handshake that the server refuses.
pub(crate) async fn refused_handshake(request: Request) -> u16 {
    match connect_async(request).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        Ok(_) => panic!("the handshake was accepted"),
        Err(error) => panic!("{error}"),
    }
}

impl Tab {
    /// Opens one whose kernel takes next to nothing that is not read.
    pub(crate) async fn with_small_buffer(visitor: &Visitor) -> Self {
        let address = visitor.base.strip_prefix("http://").unwrap().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.unwrap());
        let (socket, _) = client_async(handshake(visitor), stream).await.unwrap();
        let mut tab = Self { socket, last_id: 0, pushed: VecDeque::new() };
        assert_eq!(tab.read().await.unwrap()["push"], "hello");
        tab
    }

    pub(crate) async fn open(visitor: &Visitor) -> Result<Self, Error> {
        let (socket, _) = connect_async(handshake(visitor)).await?;
        let mut tab = Self { socket, last_id: 0, pushed: VecDeque::new() };
        match within("the hello", tab.read()).await {
            Ok(hello) if hello["push"] == "hello" => Ok(tab),
            Ok(other) => panic!("expected hello, not {other}"),
            Err(_) => Err(Error::ConnectionClosed),
        }
    }

    pub(crate) async fn send_raw(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next message, or how the server closed.
    pub(crate) async fn read(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The code with which the server closes.
    pub(crate) async fn close_code(&mut self) -> u16 {
        within("the close", async {
            loop {
                if let Err(frame) = self.read().await {
                    return frame.map_or(1006, |frame| frame.code.into());
                }
            }
        })
        .await
    }

    /// Asks; gives the answer or the refusal.
    pub(crate) async fn try_ask(&mut self, op: &str, fields: Value) -> Result<Value, Value> {
        match self.ask_or_lose(op, fields).await {
            Some(answer) => answer,
            None => panic!("the server closed on {op}"),
        }
    }

    /// The same; `None` if the connection goes before the answer comes.
    pub(crate) async fn ask_or_lose(
        &mut self,
        op: &str,
        mut fields: Value,
    ) -> Option<Result<Value, Value>> {
        self.last_id += 1;
        let id = self.last_id;
        fields["id"] = json!(id);
        fields["op"] = json!(op);
        self.socket.send(Message::text(fields.to_string())).await.ok()?;
        within(op, async {
            loop {
                let said = self.read().await.ok()?;
                if said["re"] == id {
                    let refused = said.get("error").cloned();
                    return Some(refused.map_or_else(|| Ok(said["ok"].clone()), Err));
                }
                self.pushed.push_back(said);
            }
        })
        .await
    }

    pub(crate) async fn ask(&mut self, op: &str, fields: Value) -> Value {
        match self.try_ask(op, fields).await {
            Ok(answer) => answer,
            Err(refusal) => panic!("{op} was refused: {refusal}"),
        }
    }

    /// The code of a refusal.
    pub(crate) async fn refused(&mut self, op: &str, fields: Value) -> String {
        match self.try_ask(op, fields).await {
            Ok(answer) => panic!("{op} was answered: {answer}"),
            Err(refusal) => refusal["code"].as_str().unwrap().to_owned(),
        }
    }

    /// The next thing that the server says by itself and that is wanted; what comes before it and
    /// is not wanted is dropped.
    pub(crate) async fn pushed(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        within(what, async {
            loop {
                let said = match self.pushed.pop_front() {
                    Some(said) => said,
                    None => match self.read().await {
                        Ok(said) => said,
                        Err(frame) => panic!("the server closed: {frame:?}"),
                    },
                };
                if wanted(&said) {
                    return said;
                }
            }
        })
        .await
    }

    /// What came by itself while answers were waited for.
    pub(crate) fn take_pushed(&mut self) -> Option<Value> {
        self.pushed.pop_front()
    }

    /// The next event of this type, alone.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        let is = |event: &Value| event["type"] == kind;
        let wanted =
            |said: &Value| said["events"].as_array().is_some_and(|events| events.iter().any(is));
        let said = self.pushed(kind, wanted).await;
        said["events"].as_array().unwrap().iter().find(|event| is(event)).unwrap().clone()
    }

    /// The room that is there from the start.
    pub(crate) async fn lobby(&mut self) -> String {
        let list = self.ask("chats", json!({ "limit": 50 })).await;
        let chats = list["chats"].as_array().unwrap();
        let lobby = chats.iter().find(|chat| chat["name"] == "Lobby").expect("no lobby");
        lobby["room"].as_str().unwrap().to_owned()
    }

    /// Sends a message under a key of its own.
    pub(crate) async fn say(&mut self, room: &str, text: &str) -> Value {
        let key = fresh_key();
        self.ask("send", json!({ "room": room, "client_message_id": key, "text": text })).await
    }
}

pub(crate) fn fresh_key() -> String {
    uuid::Uuid::new_v4().to_string()
}
