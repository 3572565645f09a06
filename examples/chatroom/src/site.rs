//! What every request and every tab works with: the engine, who there is, which rooms there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chat_core::domain::{NewGroup, Role};
use chat_core::ports::EventBus;
use chat_core::{ChatError, ChatId, CommandId, Engine, InvalidId, UserId};
use tokio::sync::{mpsc, watch};

use crate::accounts::{ASSISTANT, Accounts};
use crate::config::PublicUrl;
use crate::directory::{self, Directory, DirectoryError, Room};
use crate::sessions::Sessions;
use crate::throttle::Throttle;

/// The room that is there from the start.
const LOBBY: &str = "Lobby";
const LOBBY_TOPIC: &str = "Everybody comes by here. Mention @assistant to ask it something.";
/// Most tabs of one user, and of all.
const TABS_PER_USER: usize = 50;
const TABS: usize = 20_000;

/// Shared by everything that answers.
pub(crate) struct Site {
    pub(crate) engine: Engine,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) accounts: Accounts,
    pub(crate) sessions: Sessions,
    pub(crate) directory: Directory,
    pub(crate) assistant: UserId,
    pub(crate) public_url: Option<PublicUrl>,
    pub(crate) trust_proxy: bool,
    pub(crate) registrations: Throttle,
    pub(crate) logins_by_visitor: Throttle,
    pub(crate) logins_by_name: Throttle,
    tabs: Mutex<HashMap<UserId, usize>>,
    closing: watch::Receiver<bool>,
    /// Held by every tab; when the last copy is gone, all tabs have ended.
    alive: mpsc::WeakSender<()>,
}

/// What a site is made of.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) accounts: Accounts,
    pub(crate) sessions: Sessions,
    pub(crate) directory: Directory,
    pub(crate) public_url: Option<PublicUrl>,
    pub(crate) trust_proxy: bool,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) alive: mpsc::WeakSender<()>,
}

/// Why a room could not be opened for everybody.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoomError {
    #[error("A room's name has 1 to {} visible characters.", directory::NAME_CHARS)]
    BadName,
    #[error("There is a room of this name already.")]
    NameTaken,
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Chat(#[from] ChatError),
}

impl Site {
    pub(crate) fn new(parts: Parts) -> Result<Self, InvalidId> {
        let Parts { engine, bus, accounts, sessions, directory, .. } = parts;
        let Parts { public_url, trust_proxy, closing, alive, .. } = parts;
        Ok(Self {
            engine,
            bus,
            accounts,
            sessions,
            directory,
            assistant: UserId::new(ASSISTANT)?,
            public_url,
            trust_proxy,
            registrations: Throttle::new(60, Duration::from_secs(20)),
            logins_by_visitor: Throttle::new(60, Duration::from_secs(2)),
            logins_by_name: Throttle::new(10, Duration::from_secs(10)),
            tabs: Mutex::default(),
            closing,
            alive,
        })
    }

    /// Browsers reach the site by https only.
    pub(crate) fn is_secure(&self) -> bool {
        self.public_url.as_ref().is_some_and(PublicUrl::is_secure)
    }

    /// The name of the session's cookie. With the prefix a browser takes it from this host over
    /// https only.
    pub(crate) fn cookie(&self) -> &'static str {
        if self.is_secure() { "__Host-chatroom" } else { "chatroom" }
    }

    /// Tells a tab that the site closes.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.clone()
    }

    /// Makes the room that is there from the start.
    pub(crate) async fn open_lobby(&self) -> Result<(), RoomError> {
        let group = NewGroup::named(LOBBY).open().with_topic(LOBBY_TOPIC);
        let group = group.with_external_key(directory::key(LOBBY));
        let created = self.engine.user(self.assistant.clone()).create_group(group, None).await?;
        self.directory.add(&Room { chat: created.chat, name: LOBBY.to_owned() }).await?;
        Ok(())
    }

    /// Brings somebody new into the lobby, so that there is something to see. Not worth an error.
    pub(crate) async fn welcome(&self, user: &UserId) {
        let Some(lobby) = directory::chat_of(LOBBY) else {
            return;
        };
        let key = CommandId::new("welcome").ok();
        if let Err(error) = self.engine.user(user.clone()).chat(&lobby).join(key).await {
            tracing::warn!(%error, "a new user could not enter the lobby");
        }
    }

    /// Makes a room for everybody, owned by this user.
    pub(crate) async fn open_room(&self, owner: &UserId, name: &str) -> Result<ChatId, RoomError> {
        let name = directory::parse_name(name).ok_or(RoomError::BadName)?;
        let group = NewGroup::named(name.clone())
            .open()
            .with_member(self.assistant.clone(), Role::Member)
            .with_external_key(directory::key(&name));
        let owner = self.engine.user(owner.clone());
        let chat = owner.create_group(group, None).await?.chat;
        // The name decides which chat it is, so this may be somebody else's room. It is put on the
        // list in any case: whoever made it may not have come that far.
        self.directory.add(&Room { chat: chat.clone(), name }).await?;
        match owner.chat(&chat).open(0).await {
            Ok(opened) if opened.summary.role == Role::Owner => Ok(chat),
            Ok(_) | Err(ChatError::Rejected(_)) => Err(RoomError::NameTaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Admits a tab, unless there are too many.
    pub(crate) fn admit(self: &Arc<Self>, user: &UserId) -> Option<TabPermit> {
        let alive = self.alive.upgrade().filter(|_| !*self.closing.borrow())?;
        let mut tabs = self.tabs.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = tabs.values().sum();
        let own = tabs.entry(user.clone()).or_default();
        if *own >= TABS_PER_USER || total >= TABS {
            return None;
        }
        *own += 1;
        Some(TabPermit { site: Arc::clone(self), user: user.clone(), _alive: alive })
    }
}

/// One tab's place.
pub(crate) struct TabPermit {
    site: Arc<Site>,
    user: UserId,
    _alive: mpsc::Sender<()>,
}

impl Drop for TabPermit {
    fn drop(&mut self) {
        let mut tabs = self.site.tabs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = tabs.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                tabs.remove(&self.user);
            }
        }
    }
}
