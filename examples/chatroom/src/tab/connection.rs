//! The life of one WebSocket. One task speaks with the browser: a browser that does not read holds up
//! its own questions and its own subscriptions, which are bounded, and nobody else's. What works on
//! the engine beside it runs in tasks of its own, so that none of it is left standing halfway.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use chat_core::ports::BusStream;
use chat_core::{
    ChatId, ChatSignal, ChatWatch, Delivery, PresenceGuard, SubscriptionEnd, UserHandle,
};
use futures::StreamExt as _;
use futures::future::OptionFuture;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};

use super::commands::{Done, Effect, perform, summary};
use super::failure::Failure;
use super::follow::{Followed, Following};
use super::protocol::parse;
use super::view::event_pieces;
use crate::directory;
use crate::sessions::{Session, SessionWatch};
use crate::site::Site;

/// The session is over: log in again.
const SESSION_OVER: u16 = 4401;
/// The browser read too slowly, or the engine says so: connect again and resume by token.
const RESUME: u16 = 4408;
/// The server stops, and may be back soon (RFC 6455, IANA registry).
const RESTART: u16 = 1012;
const TEXT_ONLY: u16 = 1003;
const TOO_BIG: u16 = 1009;

const HEARTBEAT: Duration = Duration::from_secs(20);
/// Without a sign of life for this long the browser is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// A browser that takes nothing for this long is gone or does not read.
const SEND_WITHIN: Duration = Duration::from_secs(15);
/// Changes in the list are told together, at most this often.
const LIST_EVERY: Duration = Duration::from_millis(150);
/// More changed chats than this: the page reads its list anew.
const MOST_CHANGED: usize = 100;
const EVENT_FRAME_BYTES: usize = 256 << 10;
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves a tab until it ends.
pub(super) async fn run(site: Arc<Site>, session: Session, socket: WebSocket) {
    let mut tab = Tab::new(site, session, socket).await;
    let hello = json!({
        "push": "hello",
        "user": tab.me.user(),
        "assistant": tab.site.assistant,
        "limits": { "text_chars": chat_core::domain::Limits::default().text_chars },
    });
    let mut flow = tab.say(&hello).await;
    while flow.is_continue() {
        let wake = tab.wake().await;
        flow = tab.handle(wake).await;
    }
    if let ControlFlow::Break(Some((code, reason))) = flow {
        close(&mut tab.socket, code, reason).await;
    }
}

/// Goes on, or ends; with a code and a reason if the browser can still be told.
type Flow = ControlFlow<Option<(u16, &'static str)>>;
type Answered = (u64, Result<Done, Failure>);

struct Tab {
    site: Arc<Site>,
    me: UserHandle,
    session: Session,
    socket: WebSocket,
    following: Following,
    /// The question that is being answered. The next one is read when it is: so questions are
    /// answered in order, and nobody can pile them up.
    current: JoinSet<Answered>,
    list: ChatWatch,
    changed: BTreeSet<ChatId>,
    tell_list_at: Option<Instant>,
    rooms: BusStream,
    session_watch: SessionWatch,
    session_ends: Instant,
    closing: watch::Receiver<bool>,
    heartbeat: Interval,
    heard: Instant,
    _online: PresenceGuard,
}

enum Wake {
    Frame(Option<Result<Message, axum::Error>>),
    Answered(Result<Answered, JoinError>),
    Followed(Followed),
    ListChanged(Option<ChatId>),
    TellList,
    RoomsChanged,
    SessionRang,
    SessionOver,
    Closing,
    Heartbeat,
}

impl Tab {
    async fn new(site: Arc<Site>, session: Session, socket: WebSocket) -> Self {
        // A bus that cannot be reached keeps nobody out: rings are hints.
        let rooms = match directory::topic() {
            Ok(topic) => site.bus.subscribe(&topic).await.ok(),
            Err(_) => None,
        };
        let session_watch = site.sessions.watch(&session).await;
        let me = site.engine.user(session.user.clone());
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        Self {
            socket,
            following: Following::new(),
            current: JoinSet::new(),
            list: me.watch(),
            changed: BTreeSet::new(),
            tell_list_at: None,
            rooms: rooms.unwrap_or_else(|| Box::pin(futures::stream::pending())),
            session_watch,
            session_ends: now + site.sessions.left(&session),
            closing: site.closing(),
            heartbeat,
            heard: now,
            _online: me.connect(),
            me,
            session,
            site,
        }
    }

    async fn wake(&mut self) -> Wake {
        let tell_list: OptionFuture<_> = self.tell_list_at.map(sleep_until).into();
        let idle = self.current.is_empty();
        tokio::select! {
            Some(answered) = self.current.join_next() => Wake::Answered(answered),
            frame = self.socket.recv(), if idle => Wake::Frame(frame),
            followed = self.following.next() => Wake::Followed(followed),
            chat = self.list.next() => Wake::ListChanged(chat),
            Some(()) = tell_list => Wake::TellList,
            Some(_) = self.rooms.next() => Wake::RoomsChanged,
            () = self.session_watch.rang() => Wake::SessionRang,
            () = sleep_until(self.session_ends) => Wake::SessionOver,
            _ = self.closing.wait_for(|closing| *closing) => Wake::Closing,
            _ = self.heartbeat.tick() => Wake::Heartbeat,
        }
    }

    async fn handle(&mut self, wake: Wake) -> Flow {
        match wake {
            Wake::Frame(frame) => self.frame(frame).await,
            Wake::Answered(Ok((id, answer))) => self.answered(id, answer).await,
            Wake::Answered(Err(error)) => {
                tracing::error!(%error, "a question was not answered");
                ControlFlow::Break(Some((RESUME, "resume")))
            }
            Wake::Followed(followed) => self.followed(followed).await,
            Wake::ListChanged(Some(chat)) => {
                self.changed.insert(chat);
                self.tell_list_at.get_or_insert_with(|| Instant::now() + LIST_EVERY);
                ControlFlow::Continue(())
            }
            Wake::TellList => self.tell_list().await,
            Wake::RoomsChanged => self.say(&json!({ "push": "rooms" })).await,
            Wake::SessionRang => self.check_session().await,
            Wake::SessionOver => ControlFlow::Break(Some((SESSION_OVER, "session over"))),
            Wake::Closing | Wake::ListChanged(None) => {
                ControlFlow::Break(Some((RESTART, "restart")))
            }
            Wake::Heartbeat => self.beat().await,
        }
    }

    async fn frame(&mut self, frame: Option<Result<Message, axum::Error>>) -> Flow {
        self.heard = Instant::now();
        let text = match frame {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return ControlFlow::Continue(()),
            Some(Ok(Message::Binary(_))) => {
                return ControlFlow::Break(Some((TEXT_ONLY, "text only")));
            }
            // Most often a message above the bound; of anything worse the goodbye gets lost.
            Some(Err(_)) => return ControlFlow::Break(Some((TOO_BIG, "not acceptable"))),
            Some(Ok(Message::Close(_))) | None => return ControlFlow::Break(None),
        };
        match parse(&text) {
            (Some(id), Some(op)) => {
                let work = perform(Arc::clone(&self.site), self.me.clone(), op);
                self.current.spawn(async move { (id, work.await) });
                ControlFlow::Continue(())
            }
            (id, _) => self.say(&json!({ "re": id, "error": Failure::bad_request() })).await,
        }
    }

    async fn answered(&mut self, id: u64, answer: Result<Done, Failure>) -> Flow {
        let done = match answer {
            Ok(done) => done,
            Err(failure) => return self.say(&json!({ "re": id, "error": failure })).await,
        };
        match done.effect {
            Effect::None => {}
            Effect::Unfollow(room) => self.following.stop(&room),
            Effect::Follow(room, subscription) => {
                if !self.following.start(room, *subscription) {
                    let failure = Failure::new("too_many_rooms", "Too many rooms are open.");
                    return self.say(&json!({ "re": id, "error": failure })).await;
                }
            }
        }
        self.say(&json!({ "re": id, "ok": done.answer })).await
    }

    async fn followed(&mut self, followed: Followed) -> Flow {
        let Followed { room, delivery, token, .. } = followed;
        let said = match delivery {
            Delivery::Events(events) => {
                return self.events(&room, &events, &token.to_string()).await;
            }
            Delivery::Signal(ChatSignal::Typing { user, on }) => {
                json!({ "push": "typing", "room": room, "user": user, "on": on })
            }
            Delivery::Signal(ChatSignal::Presence { user, online }) => {
                json!({ "push": "presence", "room": room, "user": user, "online": online })
            }
            Delivery::Ended(end) => {
                self.following.stop(&room);
                let reason = match end {
                    SubscriptionEnd::Left => "left",
                    SubscriptionEnd::Removed => "removed",
                    SubscriptionEnd::Lagged { .. } => {
                        return ControlFlow::Break(Some((RESUME, "too slow, resume")));
                    }
                    SubscriptionEnd::ShuttingDown { .. } => {
                        return ControlFlow::Break(Some((RESTART, "restart")));
                    }
                    SubscriptionEnd::Reset { .. } => "reset",
                    _ => "failed",
                };
                json!({ "push": "ended", "room": room, "reason": reason })
            }
            // A signal of a newer engine.
            _ => return ControlFlow::Continue(()),
        };
        self.say(&said).await
    }

    async fn events(
        &mut self,
        room: &ChatId,
        events: &[chat_core::ChatRecord],
        token: &str,
    ) -> Flow {
        let pieces = event_pieces(events, EVENT_FRAME_BYTES);
        let (room, last) = (json!(room), pieces.len().saturating_sub(1));
        for (index, piece) in pieces.into_iter().enumerate() {
            // The token stands behind all of them, so it goes with the last piece.
            let token = if index == last { json!(token) } else { Value::Null };
            let frame =
                format!(r#"{{"push":"events","room":{room},"token":{token},"events":[{piece}]}}"#);
            self.send(Message::Text(frame.into())).await?;
        }
        ControlFlow::Continue(())
    }

    async fn tell_list(&mut self) -> Flow {
        self.tell_list_at = None;
        let changed = std::mem::take(&mut self.changed);
        if changed.len() > MOST_CHANGED {
            return self.say(&json!({ "push": "relist" })).await;
        }
        for room in changed {
            match summary(&self.me, &room).await {
                Ok(Some(chat)) => self.say(&json!({ "push": "chat", "chat": chat })).await?,
                Ok(None) => self.say(&json!({ "push": "chat_gone", "room": room })).await?,
                Err(error) => {
                    tracing::warn!(%error, "a chat's place in a list could not be read");
                    self.changed.insert(room);
                    self.tell_list_at = Some(Instant::now() + HEARTBEAT);
                }
            }
        }
        ControlFlow::Continue(())
    }

    async fn check_session(&mut self) -> Flow {
        match self.site.sessions.holds(&self.session).await {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(Some((SESSION_OVER, "session over"))),
            Err(error) => {
                tracing::warn!(%error, "a session could not be checked");
                ControlFlow::Continue(())
            }
        }
    }

    async fn beat(&mut self) -> Flow {
        // While a question is being answered nothing is read, and silence says nothing.
        if self.current.is_empty() && self.heard.elapsed() > SILENCE {
            return ControlFlow::Break(None);
        }
        // A ring may have been lost, or another process has closed the session.
        self.check_session().await?;
        self.send(Message::Ping(axum::body::Bytes::new())).await
    }

    async fn say(&mut self, said: &Value) -> Flow {
        self.send(Message::Text(said.to_string().into())).await
    }

    async fn send(&mut self, message: Message) -> Flow {
        match timeout(SEND_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) | Err(_) => ControlFlow::Break(None),
        }
    }
}

/// Says goodbye with a reason, and waits a moment for the browser to hear it.
async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    let goodbye = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    let _ = timeout(GOODBYE, goodbye).await;
}
