//! Somebody with an HTTP client, and a cookie after logging in.

use chatroom::{ChatRoom, Config};
use serde_json::{Value, json};

use super::http::{Response, request};
use super::tab::Tab;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A room in this process that keeps nothing.
pub(crate) async fn room_in_memory() -> ChatRoom {
    ChatRoom::start(Config::in_memory()).await.unwrap()
}

#[derive(Clone)]
pub(crate) struct Visitor {
    /// Without the slash at its end.
    pub(crate) base: String,
    pub(crate) cookie: Option<String>,
}

impl Visitor {
    pub(crate) fn new(url: &str) -> Self {
        Self { base: url.trim_end_matches('/').to_owned(), cookie: None }
    }

    /// Somebody new.
    pub(crate) async fn registered(url: &str, name: &str) -> Self {
        let mut visitor = Self::new(url);
        let answer = visitor.register(name, PASSWORD).await;
        assert_eq!(answer.status, 201, "{name}");
        visitor.keep_cookie(&answer);
        visitor
    }

    pub(crate) async fn register(&self, name: &str, password: &str) -> Response {
        self.post("/api/register", json!({ "name": name, "password": password })).await
    }

    pub(crate) async fn login(&self, name: &str, password: &str) -> Response {
        self.post("/api/login", json!({ "name": name, "password": password })).await
    }

    /// Calls as the page does.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Response {
        self.post_from(&self.base, path, body).await
    }

    /// Calls from a page of this origin.
    pub(crate) async fn post_from(&self, origin: &str, path: &str, body: Value) -> Response {
        let headers = [("origin", origin), ("content-type", "application/json")];
        self.call("POST", path, &headers, &body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.call("GET", path, &[], "").await
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let mut headers = headers.to_vec();
        headers.extend(self.cookie.as_deref().map(|cookie| ("cookie", cookie)));
        request(method, &self.base, path, &headers, body).await
    }

    pub(crate) async fn me(&self) -> Value {
        self.get("/api/me").await.json()["user"].clone()
    }

    pub(crate) fn keep_cookie(&mut self, answer: &Response) {
        let cookie = answer.header("set-cookie").unwrap();
        self.cookie = Some(cookie.split(';').next().unwrap().to_owned());
    }

    /// The session's token.
    pub(crate) fn token(&self) -> &str {
        self.cookie.as_deref().unwrap().split_once('=').unwrap().1
    }

    /// Opens a WebSocket as the page does.
    pub(crate) async fn tab(&self) -> Tab {
        Tab::open(self).await.unwrap()
    }
}

/// The status and the code of a refusal.
pub(crate) fn refusal(answer: &Response) -> (u16, String) {
    let body = answer.json();
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
    (answer.status, body["error"]["code"].as_str().unwrap().to_owned())
}
