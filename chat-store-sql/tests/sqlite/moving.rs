//! Moving house between memory and a file, with an engine on top before and after.

use std::sync::Arc;

use chat_core::connect::{Backends, Opened};
use chat_core::copy::{Copier, CopyError, Difference};
use chat_core::domain::{ChatKind, MessageState, NewGroup, Role};
use chat_core::testkit::{MemoryStoreHarness, StoreHarness as _, model};
use chat_core::{
    ChatError, ChatListQuery, ChatSummary, Delivery, Engine, HistoryQuery, NewMessage, ReadState,
    ResetReason, SubscribeFrom, SubscriptionEnd, UserId,
};
use rusqlite::Connection;

use crate::support::Place;

const PEOPLE: [&str; 3] = ["ann", "bob", "carol"];

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

async fn open(url: &str) -> Opened {
    let backends = Backends::memory().with(chat_store_sql::backends());
    backends.open(url).await.unwrap()
}

async fn engine(store: &Opened) -> Engine {
    Engine::builder().opened(store).token_key([7; 32]).build().await.unwrap()
}

/// People who do everything that a chat knows: send, answer, mention, edit, delete, react, read, mark,
/// hide, come and go.
async fn live(engine: &Engine) {
    let [ann, bob, carol] = PEOPLE.map(|name| engine.user(user(name)));
    let group = NewGroup::named("tea").with_member(bob.user().clone(), Role::Member).open();
    let tea = ann.create_group(group, None).await.unwrap().chat;
    let (ann_tea, bob_tea, carol_tea) = (ann.chat(&tea), bob.chat(&tea), carol.chat(&tea));
    let first = ann_tea.send(NewMessage::text("is there tea? 🍵\u{0}\n")).await.unwrap();
    let answer = NewMessage::text("yes").reply_to(first.event.unwrap().into()).mention(user("ann"));
    let answer = bob_tea.send(answer).await.unwrap();
    ann_tea.react(answer.event.unwrap().into(), "👍", None).await.unwrap();
    bob_tea.edit(answer.event.unwrap().into(), "plenty", None).await.unwrap();
    let oops = bob_tea.send(NewMessage::text("oops")).await.unwrap();
    bob_tea.delete(oops.event.unwrap().into(), None, None).await.unwrap();
    ann_tea.mark_read(first.version, None).await.unwrap();
    carol_tea.join(None).await.unwrap();
    for n in 0..300 {
        let message = NewMessage::text(format!("cup {n}"));
        let message = if n % 7 == 0 { message.mention_all() } else { message };
        bob_tea.send(message).await.unwrap();
    }
    carol_tea.leave(None).await.unwrap();
    let direct = ann.open_direct(&[user("carol")]).await.unwrap().chat;
    let psst = ann.chat(&direct).send(NewMessage::text("psst")).await.unwrap();
    carol.chat(&direct).mark_read(psst.version, None).await.unwrap();
    carol.chat(&direct).mark_unread(psst.version, None).await.unwrap();
    let notes = bob.open_direct(&[]).await.unwrap().chat;
    bob.chat(&notes).send(NewMessage::text("remember the milk")).await.unwrap();
    bob.chat(&notes).hide(None).await.unwrap();
}

type Seen = Vec<(ChatSummary, ReadState, Vec<Arc<MessageState>>)>;

/// Everything that a person sees.
async fn seen(engine: &Engine, name: &str) -> Seen {
    let me = engine.user(user(name));
    let mut seen = Vec::new();
    for summary in me.chats(ChatListQuery::top(100)).await.unwrap().chats {
        let chat = me.chat(&summary.chat);
        let page = chat.history(HistoryQuery::Latest, 1_000).await.unwrap();
        seen.push((summary, chat.read_state().await.unwrap(), page.messages));
    }
    seen
}

async fn all_seen(store: &Opened) -> Vec<Seen> {
    let engine = engine(store).await;
    let mut all = Vec::new();
    for name in PEOPLE {
        all.push(seen(&engine, name).await);
    }
    engine.shutdown().await;
    all
}

async fn copier(from: &Opened, to: &Opened) -> Copier {
    let (source, target) = (Arc::clone(&from.events), Arc::clone(&to.events));
    Copier::begin(source, target, Arc::clone(&to.views)).await.unwrap()
}

async fn moved(from: &Opened, to: &Opened) {
    let mut copier = copier(from, to).await;
    copier.finish(|_| ()).await.unwrap();
    copier.verify(|_| ()).await.unwrap();
}

#[tokio::test]
async fn people_find_everything_in_the_new_house_and_in_the_next() {
    let place = Place::new();
    let memory = open("memory:?partitions=3").await;
    let old = engine(&memory).await;
    live(&old).await;
    old.shutdown().await;
    let before = all_seen(&memory).await;
    let tea = before[0].iter().find(|(chat, ..)| chat.kind == ChatKind::Group).unwrap();
    assert!(tea.0.unread > 290 && tea.0.mentions > 40 && tea.2.len() > 300, "{:?}", tea.0);
    assert_eq!(before.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);

    let file = open(&format!("sqlite:{}", place.path().display())).await;
    moved(&memory, &file).await;
    assert_eq!(all_seen(&file).await, before);
    // The new house is lived in, and left for another one.
    let new = engine(&file).await;
    let bob = new.user(user("bob"));
    let chats = bob.chats(ChatListQuery::top(9)).await.unwrap().chats;
    bob.chat(&chats[0].chat).send(NewMessage::text("nice here")).await.unwrap();
    new.shutdown().await;
    let before = all_seen(&file).await;

    let next = open("memory:?partitions=4").await;
    moved(&file, &next).await;
    assert_eq!(all_seen(&next).await, before);
    file.close().await;
}

#[tokio::test]
async fn clients_with_a_token_of_the_old_house_are_told_to_begin_anew() {
    let place = Place::new();
    let memory = open("memory:").await;
    let old = engine(&memory).await;
    let ann = old.user(user("ann"));
    let notes = ann.open_direct(&[]).await.unwrap().chat;
    ann.chat(&notes).send(NewMessage::text("one")).await.unwrap();
    let token = ann.chat(&notes).open(9).await.unwrap().token;
    old.shutdown().await;
    let file = open(&format!("sqlite:{}", place.path().display())).await;
    moved(&memory, &file).await;

    let new = engine(&file).await;
    let chat = new.user(user("ann")).chat(&notes);
    let mut live = chat.subscribe(SubscribeFrom::Token(token.clone())).await.unwrap();
    let Some(Delivery::Ended(SubscriptionEnd::Reset { reason })) = live.next().await else {
        panic!("not reset");
    };
    assert_eq!(reason, ResetReason::EpochChanged);
    new.shutdown().await;
    // Where the host sets no key, the key is another one as well.
    let new = Engine::builder().opened(&file).build().await.unwrap();
    let chat = new.user(user("ann")).chat(&notes);
    let refused = chat.subscribe(SubscribeFrom::Token(token)).await.err();
    assert!(matches!(refused, Some(ChatError::InvalidToken)), "{refused:?}");
    new.shutdown().await;
    file.close().await;
}

#[tokio::test]
async fn random_histories_move_into_a_file_and_out_again() {
    for seed in 0..model::cases().div_ceil(8) {
        let harness = MemoryStoreHarness::new(3);
        model::race_seed(&harness, seed).await.unwrap();
        let place = Place::new();
        let file = place.open().await;
        let source = harness.open().await;
        let mut copier = Copier::begin(source, file.events(), file.views()).await.unwrap();
        copier.finish(|_| ()).await.unwrap();
        let there = copier.verify(|_| ()).await.unwrap();
        let back = open("memory:?partitions=2").await;
        let mut copier =
            Copier::begin(file.events(), Arc::clone(&back.events), Arc::clone(&back.views))
                .await
                .unwrap();
        copier.finish(|_| ()).await.unwrap();
        assert_eq!(copier.verify(|_| ()).await.unwrap(), there, "seed {seed}");
        file.close().await;
    }
}

#[tokio::test]
async fn a_file_that_was_changed_by_hand_is_found_out() {
    let place = Place::new();
    let memory = open("memory:").await;
    let old = engine(&memory).await;
    live(&old).await;
    old.shutdown().await;
    let url = format!("sqlite:{}", place.path().display());
    let file = open(&url).await;
    moved(&memory, &file).await;
    file.close().await;

    let raw: Connection = place.raw();
    let change = "UPDATE chat_events SET payload = replace(payload, 'cup 77', 'cup 78') \
                  WHERE payload LIKE '%cup 77\"%'";
    assert_eq!(raw.execute(change, ()).unwrap(), 1);
    drop(raw);
    let file = open(&url).await;
    match copier(&memory, &file).await.verify(|_| ()).await {
        Err(CopyError::Different(Difference::OtherContent { part, .. })) => {
            assert_eq!(part, "payload");
        }
        other => panic!("{other:?}"),
    }
    file.close().await;
}
