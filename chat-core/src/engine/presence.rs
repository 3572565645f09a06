//! Who is online and who types: told, not stored. Each process knows its own devices and tells the
//! others over the bus; what another process said lapses unless it says so again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::cell::ChatCell;
use super::shared::{Shared, chat_topic, lock};
use super::tail::{ChatSignal, Tail};
use crate::event::Json;
use crate::id::{Topic, UserId};
use crate::ports::{BusItem, Signal, SignalBody};

#[derive(Debug, Default)]
pub(super) struct Presence {
    users: Mutex<HashMap<UserId, Online>>,
    counter: AtomicU64,
}

/// Where a user is online.
#[derive(Debug, Default)]
struct Online {
    /// Devices of this process.
    devices: usize,
    /// Counts connections, so that the end of a grace knows whether somebody came back.
    connections: u64,
    /// In the grace after the last device went.
    grace: bool,
    /// Other processes, and until when their word holds.
    elsewhere: HashMap<String, Instant>,
}

impl Online {
    fn is_online(&self) -> bool {
        self.devices > 0 || self.grace || !self.elsewhere.is_empty()
    }
}

/// What goes over the bus.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
enum Told {
    Typing { node: String, user: UserId, on: bool, counter: u64 },
    Presence { node: String, user: UserId, online: bool },
}

/// One device of a user. The user is online while one of them lives, and a grace longer.
#[derive(Debug)]
pub struct PresenceGuard {
    shared: Arc<Shared>,
    user: UserId,
}

impl PresenceGuard {
    pub(super) fn new(shared: Arc<Shared>, user: UserId) -> Self {
        change(&shared, &user, |online| {
            online.devices += 1;
            online.connections += 1;
            online.grace = false;
        });
        Self { shared, user }
    }
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        // Without a runtime nobody could end the grace.
        let can_wait = !self.shared.is_stopped() && tokio::runtime::Handle::try_current().is_ok();
        let mut connections = 0;
        let mut last = false;
        change(&self.shared, &self.user, |online| {
            online.devices = online.devices.saturating_sub(1);
            connections = online.connections;
            last = online.devices == 0 && can_wait;
            online.grace = last;
        });
        if !last {
            return;
        }
        let (shared, user) = (Arc::clone(&self.shared), self.user.clone());
        let waiting = Arc::clone(&shared);
        waiting.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(shared.config.presence_grace) => {}
                () = shared.stopped() => return,
            }
            change(&shared, &user, |online| {
                if online.connections == connections && online.devices == 0 {
                    online.grace = false;
                }
            });
        });
    }
}

/// Changes what is known of a user, and tells whom it concerns if it makes a difference.
fn change(shared: &Arc<Shared>, user: &UserId, apply: impl FnOnce(&mut Online)) {
    let (before, after, here_before, here_after) = {
        let mut users = lock(&shared.presence.users);
        let online = users.entry(user.clone()).or_default();
        let here = |online: &Online| online.devices > 0 || online.grace;
        let (before, here_before) = (online.is_online(), here(online));
        apply(online);
        let (after, here_after) = (online.is_online(), here(online));
        if !after {
            users.remove(user);
        }
        (before, after, here_before, here_after)
    };
    if before != after {
        tell_chats(shared, user, after);
    }
    if here_before != here_after {
        tell_processes(shared, user, here_after);
    }
}

fn tell_chats(shared: &Shared, user: &UserId, online: bool) {
    for cell in shared.live_cells() {
        let tail = {
            let inner = cell.lock();
            inner.state.active(user).and_then(|_| inner.tail.clone())
        };
        if let Some(tail) = tail {
            tail.signal(ChatSignal::Presence { user: user.clone(), online });
        }
    }
}

fn tell_processes(shared: &Arc<Shared>, user: &UserId, online: bool) {
    let told = Told::Presence { node: shared.node.clone(), user: user.clone(), online };
    if let Some(signal) = presence_topic().and_then(|topic| signal(topic, &told)) {
        publish(shared, signal);
    }
}

/// Says whether a member types, here and elsewhere.
pub(super) fn typing(shared: &Arc<Shared>, cell: &ChatCell, user: &UserId, on: bool) {
    // The clock orders what one user's devices say at different processes; the counter orders what
    // is said here at the same time.
    let counted = shared.presence.counter.fetch_add(1, Ordering::Relaxed) & 0xFFF;
    let counter = (shared.clock.now().0 << 12) | counted;
    let until = Instant::now() + shared.config.typing_ttl;
    let tail = cell.lock().tail.clone();
    if let Some(tail) = tail {
        tail.typing(user, on, counter, until);
    }
    let told = Told::Typing { node: shared.node.clone(), user: user.clone(), on, counter };
    if let Some(signal) = chat_topic(&cell.id).and_then(|topic| signal(topic, &told)) {
        publish(shared, signal);
    }
}

fn signal(topic: Topic, told: &Told) -> Option<Signal> {
    let body = SignalBody::Ephemeral(Json::encode(told).ok()?);
    Some(Signal { topic, body })
}

fn publish(shared: &Arc<Shared>, signal: Signal) {
    let in_runtime = tokio::runtime::Handle::try_current().is_ok();
    if shared.bus.is_none() || shared.is_stopped() || !in_runtime {
        return;
    }
    let publishing = Arc::clone(shared);
    shared.spawn(async move { publishing.publish(&[signal]).await });
}

/// The members of a chat who are online.
pub(super) fn online_members(shared: &Shared, cell: &ChatCell) -> Vec<UserId> {
    let inner = cell.lock();
    let users = lock(&shared.presence.users);
    let online = users.iter().filter(|(_, online)| online.is_online()).map(|(user, _)| user);
    let mut members: Vec<_> =
        online.filter(|user| inner.state.active(user).is_some()).cloned().collect();
    members.sort_unstable();
    members
}

/// Hears what other processes say of a chat, for as long as somebody listens to this tail.
pub(super) async fn listen_to_chat(shared: Arc<Shared>, cell: Weak<ChatCell>, tail: Weak<Tail>) {
    let chat = cell.upgrade().map(|cell| cell.id.clone());
    let (Some(bus), Some(topic)) = (shared.bus.clone(), chat.as_ref().and_then(chat_topic)) else {
        return;
    };
    let mut signals = None;
    loop {
        if signals.is_none() {
            tokio::select! {
                subscribed = bus.subscribe(&topic) => signals = subscribed.ok(),
                () = shared.stopped() => return,
            }
        }
        let item = tokio::select! {
            item = next(&mut signals) => Some(item),
            () = tokio::time::sleep(SWEEP) => None,
            () = shared.stopped() => return,
        };
        let (Some(cell), Some(tail)) = (cell.upgrade(), tail.upgrade()) else {
            return;
        };
        match item {
            Some(Some(item)) => hear_typing(&shared, &cell, &tail, &item),
            // The bus ended the stream; the next round asks for another.
            Some(None) => signals = None,
            None => {}
        }
    }
}

fn hear_typing(shared: &Shared, cell: &ChatCell, tail: &Arc<Tail>, item: &BusItem) {
    let Some(Told::Typing { node, user, on, counter }) = told(item) else {
        return;
    };
    if node != shared.node && cell.lock().state.active(&user).is_some() {
        tail.typing(&user, on, counter, Instant::now() + shared.config.typing_ttl);
    }
}

/// Hears who is online elsewhere, says again who is online here, and ends what was not said again.
pub(super) async fn drive(shared: Arc<Shared>) {
    let mut signals = None;
    let mut renew = Instant::now() + shared.config.presence_ttl / 2;
    loop {
        if signals.is_none()
            && let (Some(bus), Some(topic)) = (&shared.bus, presence_topic())
        {
            tokio::select! {
                subscribed = bus.subscribe(&topic) => signals = subscribed.ok(),
                () = shared.stopped() => return,
            }
        }
        let item = tokio::select! {
            item = next(&mut signals) => Some(item),
            () = tokio::time::sleep(SWEEP) => None,
            () = shared.stopped() => return,
        };
        match item {
            Some(Some(item)) => hear(&shared, &item),
            Some(None) => signals = None,
            None => {}
        }
        let now = Instant::now();
        sweep(&shared, now);
        if now >= renew {
            renew = now + shared.config.presence_ttl / 2;
            let here: Vec<UserId> = {
                let users = lock(&shared.presence.users);
                let here = users.iter().filter(|(_, online)| online.devices > 0 || online.grace);
                here.map(|(user, _)| user.clone()).collect()
            };
            for user in here {
                tell_processes(&shared, &user, true);
            }
        }
    }
}

/// How often typing and other processes' words are looked through.
const SWEEP: std::time::Duration = std::time::Duration::from_millis(500);

async fn next(signals: &mut Option<crate::ports::BusStream>) -> Option<BusItem> {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

fn hear(shared: &Arc<Shared>, item: &BusItem) {
    let Some(Told::Presence { node, user, online }) = told(item) else {
        return;
    };
    if node == shared.node {
        return;
    }
    let until = Instant::now() + shared.config.presence_ttl;
    change(shared, &user, |known| {
        if online {
            known.elsewhere.insert(node, until);
        } else {
            known.elsewhere.remove(&node);
        }
    });
}

fn sweep(shared: &Arc<Shared>, now: Instant) {
    for cell in shared.live_cells() {
        let tail = cell.lock().tail.clone();
        if let Some(tail) = tail {
            tail.expire_typing(now);
        }
    }
    let lapsed: Vec<UserId> = {
        let users = lock(&shared.presence.users);
        let lapsed =
            users.iter().filter(|(_, online)| online.elsewhere.values().any(|until| *until <= now));
        lapsed.map(|(user, _)| user.clone()).collect()
    };
    for user in lapsed {
        change(shared, &user, |online| online.elsewhere.retain(|_, until| *until > now));
    }
}

fn told(item: &BusItem) -> Option<Told> {
    match item {
        BusItem::Signal(Signal { body: SignalBody::Ephemeral(json), .. }) => json.decode().ok(),
        _ => None,
    }
}

fn presence_topic() -> Option<Topic> {
    Topic::new("presence").ok()
}
