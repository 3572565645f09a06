//! Carries out what a tab asks, by the engine, as the user whose tab it is.

use std::sync::Arc;

use chat_core::{
    ChatError, ChatHandle, ChatId, ChatListQuery, HistoryPage, HistoryQuery, MemberQuery,
    MessageEdit, NewMessage, SubscribeFrom, Subscription, UserHandle, UserId, Version,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::protocol::{Content, Op};
use super::view::{Chat, Member, Members, Opened, Page, PublicRoom, Resumed, Sent};
use crate::accounts::parse_name;
use crate::site::Site;

/// Members that come along when a chat is opened, and rooms that are listed.
const MEMBERS: usize = 500;
const ROOMS: usize = 200;

/// An answer, and what the connection itself has to do.
pub(super) struct Done {
    pub(super) answer: Value,
    pub(super) effect: Effect,
}

/// What a question changes about the connection.
pub(super) enum Effect {
    None,
    Follow(ChatId, Box<Subscription>),
    Unfollow(ChatId),
}

/// Answers one question.
pub(super) async fn perform(site: Arc<Site>, me: UserHandle, op: Op) -> Result<Done, Failure> {
    match op {
        Op::Open { room, limit } => return open(&me.chat(&room), limit).await,
        Op::Resume { room, token } => return resume(&me.chat(&room), &token).await,
        Op::Close { room } => {
            return Ok(Done { answer: json!({}), effect: Effect::Unfollow(room) });
        }
        Op::Ping => answer(json!({})),
        Op::History { room, before, limit } => history(&me.chat(&room), before, limit).await,
        Op::Message { room, message } => {
            let message = me.chat(&room).message(message).await?;
            answer(json!({ "message": message }))
        }
        Op::Send { room, client_message_id, content, reply_to } => {
            let Content { text, mentions, mention_all } = content;
            let message = NewMessage::text(text).with_client_id(client_message_id);
            let message = mentions.into_iter().fold(message, NewMessage::mention);
            let message = if mention_all { message.mention_all() } else { message };
            let message = match reply_to {
                Some(reference) => message.reply_to(reference.message),
                None => message,
            };
            let ack = me.chat(&room).send(message).await?;
            let sent =
                Sent { message: ack.message(), seq: ack.version, deduplicated: ack.deduplicated };
            answer(sent)
        }
        Op::Edit { room, message, content, command_id } => {
            let Content { text, mentions, mention_all } = content;
            let edit = mentions.into_iter().fold(MessageEdit::text(text), MessageEdit::mention);
            let edit = if mention_all { edit.mention_all() } else { edit };
            me.chat(&room).edit(message, edit, Some(command_id)).await?;
            answer(json!({}))
        }
        Op::Delete { room, message, command_id } => {
            me.chat(&room).delete(message, None, Some(command_id)).await?;
            answer(json!({}))
        }
        Op::React { room, message, key, command_id } => {
            me.chat(&room).react(message, key, Some(command_id)).await?;
            answer(json!({}))
        }
        Op::Unreact { room, message, key, command_id } => {
            me.chat(&room).unreact(message, key, Some(command_id)).await?;
            answer(json!({}))
        }
        Op::MarkRead { room, up_to, command_id } => {
            me.chat(&room).mark_read(up_to, Some(command_id)).await?;
            answer(json!({}))
        }
        Op::Typing { room, on } => {
            me.chat(&room).typing(on).await?;
            answer(json!({}))
        }
        Op::Join { room, command_id } => {
            me.chat(&room).join(Some(command_id)).await?;
            answer(json!({}))
        }
        Op::Leave { room, command_id } => {
            me.chat(&room).leave(Some(command_id)).await?;
            answer(json!({}))
        }
        Op::CreateRoom { name } => {
            let room = site.open_room(me.user(), &name).await?;
            answer(json!({ "room": room }))
        }
        Op::OpenDirect { user } => open_direct(&site, &me, &user).await,
        Op::Chats { after, limit } => chats(&me, after, limit).await,
        Op::Rooms => rooms(&site, &me).await,
        Op::Members { room, after } => answer(members(&me.chat(&room), after).await?),
    }
    .map(|answer| Done { answer, effect: Effect::None })
}

/// What a list says of one chat now; `None` if the user is not in it, or nothing happened in it
/// that would put it on the list.
pub(super) async fn summary(me: &UserHandle, room: &ChatId) -> Result<Option<Chat>, ChatError> {
    match me.chat(room).open(0).await {
        // Somebody opened a direct chat with this user and wrote nothing yet.
        Ok(opened) if opened.summary.version == Version(1) && opened.summary.name.is_none() => {
            Ok(None)
        }
        Ok(opened) => Ok(Some(opened.summary.into())),
        Err(ChatError::Rejected(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn open(chat: &ChatHandle, limit: usize) -> Result<Done, Failure> {
    let opened = chat.open(limit).await?;
    let members = members(chat, None).await?;
    let token = opened.token.to_string();
    let subscription = chat.subscribe(SubscribeFrom::Token(opened.token)).await?;
    let version = opened.page.version;
    let page = page(opened.page);
    let answer = answer(Opened { chat: opened.summary.into(), page, version, token, members })?;
    let effect = Effect::Follow(chat.id().clone(), Box::new(subscription));
    Ok(Done { answer, effect })
}

async fn resume(chat: &ChatHandle, token: &str) -> Result<Done, Failure> {
    let subscription = chat.subscribe(SubscribeFrom::Token(token.parse()?)).await?;
    let summary = chat.open(0).await?.summary;
    let members = members(chat, None).await?;
    let answer = answer(Resumed { chat: summary.into(), members })?;
    let effect = Effect::Follow(chat.id().clone(), Box::new(subscription));
    Ok(Done { answer, effect })
}

async fn history(chat: &ChatHandle, before: Version, limit: usize) -> Result<Value, Failure> {
    answer(page(chat.history(HistoryQuery::Before(before), limit).await?))
}

fn page(page: HistoryPage) -> Page {
    let HistoryPage { messages, before, found_oldest, .. } = page;
    Page { messages, before, found_oldest }
}

async fn members(chat: &ChatHandle, after: Option<UserId>) -> Result<Members, Failure> {
    let page = chat.members(MemberQuery { after, limit: MEMBERS }).await?;
    let online = chat.online().await?;
    let members = page.members.into_iter().map(|member| Member::new(member, &online)).collect();
    Ok(Members { members, more_members: page.next.is_some() })
}

async fn open_direct(site: &Site, me: &UserHandle, name: &str) -> Result<Value, Failure> {
    let nobody = || Failure::new("no_user", "Nobody here has this name.");
    let user = parse_name(name).ok_or_else(nobody)?;
    if !site.accounts.exists(&user).await? {
        return Err(nobody());
    }
    let created = me.open_direct(&[user]).await?;
    answer(json!({ "room": created.chat }))
}

async fn chats(me: &UserHandle, after: Option<String>, limit: usize) -> Result<Value, Failure> {
    let after = after.map(|cursor| cursor.parse()).transpose()?;
    let page = me.chats(ChatListQuery { after, limit }).await?;
    let chats: Vec<Chat> = page.chats.into_iter().map(Chat::from).collect();
    let next = page.next.map(|cursor| cursor.to_string());
    answer(json!({ "chats": chats, "next": next }))
}

/// The newest rooms that the user is not in.
async fn rooms(site: &Site, me: &UserHandle) -> Result<Value, Failure> {
    let host = site.engine.user(site.assistant.clone());
    let mut found = Vec::new();
    for room in site.directory.rooms().await?.into_iter().rev().take(ROOMS) {
        match me.chat(&room.chat).open(0).await {
            Ok(_) => continue,
            Err(ChatError::Rejected(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // The assistant is in every room, so it can count.
        let members = host.chat(&room.chat).open(0).await.map_or(0, |open| open.summary.members);
        found.push(PublicRoom { room: room.chat, name: room.name, members });
    }
    answer(json!({ "rooms": found }))
}

fn answer(value: impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| {
        tracing::error!(%error, "an answer could not be written");
        Failure::new("failed", "Something went wrong on the server.")
    })
}
