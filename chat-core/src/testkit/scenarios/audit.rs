//! Looks through all that a scenario left behind: the log against the rules, and every engine and
//! every answer against a plain count over the log.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::pure::PureChat;
use super::reader::Reader;
use super::reference::Reference;
use super::world::{World, must, user};
use crate::clock::Timestamp;
use crate::domain::{
    ChatCommand, ChatEvent, Decision, EditMessage, Mentions, MessageState, SendMessage,
    message_event_id,
};
use crate::engine::{
    ChatListQuery, ChatRecord, Engine, HistoryQuery, SubscribeFrom, SubscriptionEnd,
};
use crate::id::{ChatId, UserId, Version};
use crate::memory::MemoryViewStore;
use crate::ports::{EventStore, PageLimit};
use crate::testkit::fixture::{partitions, read_log};

/// Chats with more events than this are held against the rules, but not counted anew for everybody.
const MANY: usize = 1_200;

/// One chat and what it must look like.
struct Chat {
    id: ChatId,
    log: Vec<ChatRecord>,
    replayed: PureChat,
}

/// Checks the whole world: I1 to I4 and I6 to I11 of its log and of all its engines, of one more
/// that starts from the views, and of one that builds them anew.
///
/// # Panics
/// If anything is not as it must be.
pub async fn everything(world: &World<'_>) {
    let stores = world.harness.open().await;
    let mut chats = Vec::new();
    for id in chats_of(&*stores.events).await {
        let log = world.log(&id).await;
        let replayed = replay(world, &id, &log);
        chats.push(Chat { id, log, replayed });
    }
    let mut engines = world.nodes();
    engines.push(world.node_on(stores).await.clone());
    let anew = world.node_with(world.harness.open().await, |builder| {
        builder.views(Arc::new(MemoryViewStore::new()))
    });
    engines.push(anew.await.clone());
    let mut people: BTreeSet<UserId> = BTreeSet::from([user("stranger")]);
    for chat in chats.iter().filter(|chat| chat.log.len() <= MANY) {
        people.extend(Reference::new(&chat.log).people());
    }
    for (number, engine) in engines.iter().enumerate() {
        for person in &people {
            for chat in chats.iter().filter(|chat| chat.log.len() <= MANY) {
                let at = format!("engine {number}, {person} in {}", chat.id);
                member_view(engine, chat, person, &at).await;
            }
            list(engine, &chats, person, &format!("engine {number}, list of {person}")).await;
        }
    }
}

async fn chats_of(store: &dyn EventStore) -> Vec<ChatId> {
    let mut found = BTreeSet::new();
    for partition in partitions(store).await {
        for event in read_log(store, partition, PageLimit::MAX_EVENTS).await {
            let chat = event.stream.as_str().strip_prefix("chat/").map(ChatId::new);
            found.extend(chat.and_then(Result::ok));
        }
    }
    found.into_iter().collect()
}

/// Decides every event anew on what was before it (I6), and checks versions, times and keys.
fn replay(world: &World<'_>, id: &ChatId, log: &[ChatRecord]) -> PureChat {
    let mut chat = PureChat::empty();
    chat.limits = world.limits.clone();
    let mut keys = HashSet::new();
    for record in log {
        let (version, at) = (record.version, record.at);
        assert_eq!(version, chat.state.version.next(), "{id}: a hole or a repeat (I1)");
        assert!(at >= chat.state.recorded_at, "{id}: time goes back at {version} (I10)");
        chat.now = at;
        if let (Some(actor), Some(command)) = (record.event.actor(), command_of(&record.event)) {
            let decided = chat.decide(actor, &command);
            let expected = Ok(Decision::Event(record.event.clone()));
            assert_eq!(decided, expected, "{id}: {version} was not allowed (I6)");
        }
        if let ChatEvent::MessageSent(sent) = &record.event
            && let Some(key) = &sent.client_message_id
        {
            assert_eq!(record.id, message_event_id(id, &sent.by, key), "{id}: {version}");
            assert!(keys.insert((&sent.by, key)), "{id}: {version} is sent twice (I2)");
        }
        chat.replay(record.clone());
    }
    chat
}

/// The command that an event carries out; `None` for the first event, and what cannot be read.
fn command_of(event: &ChatEvent) -> Option<ChatCommand> {
    Some(match event.clone() {
        ChatEvent::ChatUpdated(e) => {
            ChatCommand::Update { name: e.name, topic: e.topic, access: e.access }
        }
        ChatEvent::MemberInvited(e) => ChatCommand::Invite { user: e.user, role: e.role },
        ChatEvent::InviteRevoked(e) => ChatCommand::RevokeInvite { user: e.user },
        ChatEvent::InviteDeclined(_) => ChatCommand::DeclineInvite,
        ChatEvent::MemberJoined(e) => match e.role {
            None => ChatCommand::Join,
            Some(role) => ChatCommand::Add { user: e.user, role },
        },
        ChatEvent::MemberLeft(_) => ChatCommand::Leave,
        ChatEvent::MemberRemoved(e) => ChatCommand::Remove { user: e.user, reason: e.reason },
        ChatEvent::RoleChanged(e) => ChatCommand::ChangeRole { user: e.user, role: e.role },
        ChatEvent::OwnershipTransferred(e) => ChatCommand::TransferOwnership { to: e.to },
        ChatEvent::MessageSent(e) => ChatCommand::Send(SendMessage {
            text: e.text,
            reply_to: e.reply_to,
            mentions: Mentions { users: e.mentions, everyone: e.mention_all },
            client_message_id: e.client_message_id,
        }),
        ChatEvent::MessageEdited(e) => ChatCommand::Edit(EditMessage {
            target: e.target,
            text: e.text,
            mentions: Mentions { users: e.mentions, everyone: e.mention_all },
            expected_revision: None,
        }),
        ChatEvent::MessageDeleted(e) => ChatCommand::Delete { target: e.target, reason: e.reason },
        ChatEvent::ReactionAdded(e) => ChatCommand::React { target: e.target, key: e.key },
        ChatEvent::ReactionRemoved(e) => ChatCommand::Unreact { target: e.target, key: e.key },
        ChatEvent::ReadAdvanced(e) => ChatCommand::MarkRead { up_to: e.up_to },
        ChatEvent::MarkedUnread(e) => ChatCommand::MarkUnread { from: e.from },
        ChatEvent::ChatHidden(_) => ChatCommand::Hide,
        ChatEvent::ChatCreated(_) | ChatEvent::Unknown | ChatEvent::Unreadable => return None,
    })
}

/// What one person sees of one chat through one engine (I3, I7, I8, I9).
async fn member_view(engine: &Engine, chat: &Chat, person: &UserId, at: &str) {
    let (log, handle) = (Reference::new(&chat.log), engine.user(person.clone()).chat(&chat.id));
    if log.periods(person).is_empty() {
        assert!(handle.read_state().await.is_err(), "{at}: a stranger is let in");
        assert!(handle.open(10).await.is_err(), "{at}: a stranger is let in");
        assert!(handle.subscribe(SubscribeFrom::Start).await.is_err(), "{at}: a stranger listens");
        return;
    }
    let state = must(handle.read_state().await);
    let unread = log.unread(person);
    assert_eq!(state.unread, unread.len() as u64, "{at}: unread (I8)");
    let mentions = log.unread_mentions(person).len() as u64;
    assert_eq!(state.mentions, mentions, "{at}: mentions (I8)");
    assert_eq!(state.read, log.read(person), "{at}: read");
    assert_eq!(state.marked_unread, log.marked(person), "{at}: mark");
    history(engine, chat, person, at).await;
    delivery(engine, chat, person, at).await;
    let open = handle.open(5).await;
    assert_eq!(open.is_ok(), log.is_member(person), "{at}: who opens it: {open:?}");
    if let Ok(open) = open {
        let summary = &open.summary;
        assert_eq!((summary.unread, summary.mentions), (state.unread, state.mentions), "{at}");
        assert_eq!(summary.members, log.roles().len(), "{at}: members");
        assert_eq!(Some(&summary.role), log.roles().get(person), "{at}: role");
        let preview = summary.preview.as_ref().map(|message| (message.seq, &*message.text));
        let expected = log.last_message(person);
        let expected = expected.map(|seq| (seq, log.text(seq).unwrap_or_default()));
        assert_eq!(preview, expected, "{at}: preview");
    }
}

async fn history(engine: &Engine, chat: &Chat, person: &UserId, at: &str) {
    let handle = engine.user(person.clone()).chat(&chat.id);
    let expected = shown_to(chat, person);
    let limit = 3 + expected.len() / 7;
    let mut page = must(handle.history(HistoryQuery::Latest, limit).await);
    assert!(page.found_newest, "{at}: the latest page is not the newest");
    let mut back: Vec<_> = page.messages.iter().rev().cloned().collect();
    while !page.found_oldest {
        page = must(handle.history(HistoryQuery::Before(page.before), limit).await);
        back.extend(page.messages.iter().rev().cloned());
    }
    back.reverse();
    let back: Vec<_> = back.iter().map(|message| shown(message)).collect();
    assert_eq!(back, expected, "{at}: history from its end");
    let mut forth = Vec::new();
    let mut after = Version::ZERO;
    loop {
        let page = must(handle.history(HistoryQuery::After(after), limit).await);
        forth.extend(page.messages.iter().map(|message| shown(message)));
        after = page.after;
        if page.found_newest {
            break;
        }
    }
    assert_eq!(forth, expected, "{at}: history from its beginning");
}

/// The messages that a person sees, as they are shown: to whoever is no member any more as they
/// were then, but for those that were deleted since.
fn shown_to(chat: &Chat, person: &UserId) -> Vec<Shown> {
    let log = Reference::new(&chat.log);
    let seen = chat.replayed.messages.values().filter(|message| log.sees(person, message.seq));
    let Some((_, Some(end))) = log.periods(person).pop() else {
        return seen.map(shown).collect();
    };
    let mut then = PureChat::empty();
    for record in chat.log.iter().filter(|record| record.version <= end) {
        then.replay(record.clone());
    }
    seen.map(|message| {
        if message.deleted.is_some() || message.at <= end {
            return shown(message);
        }
        let mut past = then.message(message.seq).clone();
        // Who reacted with what at that time is not kept.
        past.reactions.clear();
        shown(&past)
    })
    .collect()
}

type Shown =
    (Version, UserId, String, Option<String>, u32, Vec<UserId>, Vec<(String, Vec<UserId>)>);

fn shown(message: &MessageState) -> Shown {
    let reactions = message.reactions.iter().map(|(key, users)| (key.clone(), users.clone()));
    (
        message.seq,
        message.author.clone(),
        message.text.to_string(),
        message.deleted.as_ref().map(|deletion| deletion.by.to_string()),
        message.revision(),
        message.mentions.clone(),
        reactions.collect(),
    )
}

/// A subscription from the beginning gives what the person may see, and ends with the membership.
async fn delivery(engine: &Engine, chat: &Chat, person: &UserId, at: &str) {
    let (log, handle) = (Reference::new(&chat.log), engine.user(person.clone()).chat(&chat.id));
    let expected = log.delivered(person).into_iter().map(|r| readable(&log, person, r));
    let expected: Vec<_> = expected.collect();
    let mut reader = Reader::new(must(handle.subscribe(SubscribeFrom::Start).await));
    if log.is_member(person) {
        reader.count(expected.len()).await;
    } else {
        let end = reader.to_end().await;
        let over = matches!(end, SubscriptionEnd::Left | SubscriptionEnd::Removed);
        assert!(over, "{at}: ends with {end:?}");
    }
    assert_eq!(reader.records.len(), expected.len(), "{at}: events (I7)");
    for (given, expected) in reader.records.iter().zip(&expected) {
        assert_eq!(given, expected, "{at}: {} (I7, I9)", given.version);
    }
}

/// An event as a person may read it now: without the text of what is deleted, or was never seen.
fn readable(log: &Reference<'_>, person: &UserId, record: &ChatRecord) -> ChatRecord {
    let message = match &record.event {
        ChatEvent::MessageSent(_) => record.version,
        ChatEvent::MessageEdited(e) => e.target.seq,
        _ => return record.clone(),
    };
    match log.is_deleted(message) || !log.sees(person, message) {
        true => ChatRecord { event: record.event.without_content(), ..record.clone() },
        false => record.clone(),
    }
}

/// The list has the chats that it must have, in its order, page by page (G10, E23).
async fn list(engine: &Engine, chats: &[Chat], person: &UserId, at: &str) {
    let mut expected: Vec<(Timestamp, ChatId)> = chats
        .iter()
        .filter_map(|chat| Some((chat.replayed.state.activity(person)?, chat.id.clone())))
        .collect();
    expected.sort_by(|(one, a), (two, b)| two.cmp(one).then_with(|| a.cmp(b)));
    let mut query = ChatListQuery::top(1 + expected.len() / 2);
    let mut listed = Vec::new();
    let mut badge = 0;
    loop {
        let page = must(engine.user(person.clone()).chats(query.clone()).await);
        listed.extend(page.chats.iter().map(|entry| (entry.activity, entry.chat.clone())));
        badge += page.chats.iter().map(|entry| entry.unread).sum::<u64>();
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(listed, expected, "{at}");
    let in_list = chats.iter().filter(|c| c.replayed.state.activity(person).is_some());
    let total: u64 = in_list.map(|chat| chat.replayed.state.unread(person)).sum();
    assert_eq!(badge, total, "{at}: the sum of the badges (E23)");
}
