//! D. Edits, deletions, reactions.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::harness::ScenarioHarness;
use super::reference::Reference;
use super::world::{
    Node, World, at, listen, make, must, refused, say, say_id, soak, tea_room, user,
};
use crate::clock::Timestamp;
use crate::domain::{ChatEvent, MessageId, NewGroup, ReactionPolicy, Rejection, Role};
use crate::engine::{ChatError, HistoryQuery, MessageEdit, NewMessage, SubscribeFrom};
use crate::id::{ChatId, UserId, Version};

async fn group_with(node: &Node, policy: ReactionPolicy) -> ChatId {
    make(node, NewGroup::named("x").with_reactions(policy)).await
}

/// D1: an edit and a deletion at once, on two engines, again and again.
pub async fn d1_an_edit_racing_a_deletion_ends_deleted(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let (mut before, mut after) = (0, 0);
    for round in 0..soak(1_000, 60) {
        let id = say_id(&at(&nodes[0], "bob", &chat), "secret").await;
        let editor = at(&nodes[round % 2], "bob", &chat);
        let deleter = at(&nodes[(round + 1) % 2], "ann", &chat);
        let edit = tokio::spawn(async move { editor.edit(id, "secret too", None).await });
        let delete = tokio::spawn(async move { deleter.delete(id, None, None).await });
        must(delete.await.expect("no panic"));
        match edit.await.expect("no panic") {
            Ok(_) => before += 1,
            Err(ChatError::Rejected(Rejection::MessageGone)) => after += 1,
            Err(other) => panic!("round {round}: {other}"),
        }
        for node in &nodes {
            let message = must(at(node, "carl", &chat).message(id).await);
            assert!(message.deleted.is_some() && message.text.is_empty(), "round {round}");
            assert!(must(at(node, "carl", &chat).versions(id).await).is_empty());
        }
    }
    assert!(before + after == soak(1_000, 60));
    // The audit looks for every text that must not be there any more.
    if world.log(&chat).await.len() < 1_000 {
        world.finish().await;
    } else {
        world.close().await;
    }
}

/// D1, I9: what is deleted before it was delivered is delivered without its content.
pub async fn d1_what_is_deleted_meanwhile_is_delivered_without_content(
    harness: &dyn ScenarioHarness,
) {
    // Nothing wakes the second engine until it is asked something.
    let world = World::new(harness)
        .config(|config| config.poll_interval = Duration::from_secs(3_600))
        .bus(None);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let bob = at(&nodes[1], "bob", &chat);
    let mut reader = listen(&bob, SubscribeFrom::Start).await;
    reader.until(Version(1)).await;
    let ann = at(&nodes[0], "ann", &chat);
    let id = say_id(&ann, "secret").await;
    must(ann.edit(id, "secret too", None).await);
    must(ann.delete(id, None, None).await);
    must(bob.read_state().await);
    reader.until(Version(4)).await;
    for record in &reader.records {
        let text = match &record.event {
            ChatEvent::MessageSent(sent) => &sent.text,
            ChatEvent::MessageEdited(edited) => &edited.text,
            _ => continue,
        };
        assert_eq!(&**text, "", "version {}", record.version);
    }
    world.finish().await;
}

/// D2: two edits that expect the same revision.
pub async fn d2_of_two_edits_of_one_revision_one_wins(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let id = say_id(&at(&nodes[0], "ann", &chat), "0").await;
    for revision in 0..15 {
        let edits = [0, 1].map(|n| {
            let ann = at(&nodes[n], "ann", &chat);
            let edit = MessageEdit::text(format!("{revision} by {n}")).expecting_revision(revision);
            tokio::spawn(async move { ann.edit(id, edit, None).await })
        });
        let answers: Vec<_> =
            join_all(edits).await.into_iter().map(|one| one.expect("no panic")).collect();
        let won: Vec<_> = answers.iter().filter(|answer| answer.is_ok()).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        let lost = answers.into_iter().find(Result::is_err).expect("one lost");
        assert_eq!(refused(lost), Rejection::RevisionConflict { current: revision + 1 });
    }
    assert_eq!(must(at(&nodes[1], "bob", &chat).message(id).await).revision(), 15);
    world.finish().await;
}

/// D4: deleting twice, by two people at once.
pub async fn d4_a_second_deletion_changes_nothing(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    must(at(&nodes[0], "ann", &chat).change_role(user("carl"), Role::Moderator, None).await);
    for round in 0..10 {
        let id = say_id(&at(&nodes[0], "bob", &chat), "x").await;
        let deletions = ["ann", "carl", "bob", "ann"].into_iter().enumerate().map(|(n, name)| {
            let handle = at(&nodes[n % 2], name, &chat);
            tokio::spawn(async move { handle.delete(id, Some(name.to_owned()), None).await })
        });
        let acks: Vec<_> =
            join_all(deletions).await.into_iter().map(|a| must(a.expect("no panic"))).collect();
        let changed = acks.iter().filter(|ack| ack.changed()).count();
        assert_eq!(changed, 1, "round {round}: {acks:?}");
    }
    let log = world.log(&chat).await;
    let deletions = log.iter().filter(|r| matches!(r.event, ChatEvent::MessageDeleted(_))).count();
    assert_eq!(deletions, 10);
    world.finish().await;
}

/// D5: whose message it is, and until when.
pub async fn d5_edits_are_the_authors_and_end_with_the_window(harness: &dyn ScenarioHarness) {
    let world =
        World::new(harness).limits(|limits| limits.edit_window = Some(Duration::from_secs(60)));
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let id = say_id(&at(&node, "bob", &chat), "x").await;
    for name in ["ann", "carl"] {
        let answer = at(&node, name, &chat).edit(id, "y", None).await;
        assert!(matches!(refused(answer), Rejection::Forbidden { .. }), "{name}");
    }
    let sent = world.now();
    world.clock.set(Timestamp(sent.0 + 59_999));
    must(at(&node, "bob", &chat).edit(id, "y", None).await);
    let until = Timestamp(sent.0 + 60_000);
    world.clock.set(until);
    let other = world.node().await;
    for node in [&node, &other] {
        let answer = at(node, "bob", &chat).edit(id, "z", None).await;
        assert_eq!(refused(answer), Rejection::EditWindowPassed { until });
    }
    world.finish().await;
}

/// D6: what is no message, or none of this chat, or gone.
pub async fn d6_only_a_living_message_of_this_chat_is_edited(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let (chat, other) = (tea_room(&node).await, make(&node, NewGroup::named("other")).await);
    let ann = at(&node, "ann", &chat);
    let here = say_id(&ann, "here").await;
    let elsewhere = say_id(&at(&node, "ann", &other), "elsewhere").await;
    let reacted = must(at(&node, "bob", &chat).react(here, "a", None).await);
    let created = world.log(&chat).await[0].id;
    let no_messages = [
        MessageId(uuid::Uuid::from_u128(7)),
        elsewhere,
        MessageId::from(created),
        reacted.message().expect("an event's id"),
    ];
    for id in no_messages {
        let missing = Rejection::MessageNotFound;
        assert_eq!(refused(ann.edit(id, "y", None).await), missing, "{id}");
        assert_eq!(refused(ann.delete(id, None, None).await), missing, "{id}");
        assert_eq!(refused(ann.react(id, "a", None).await), missing, "{id}");
        assert_eq!(refused(ann.send(NewMessage::text("re").reply_to(id)).await), missing, "{id}");
        assert_eq!(refused(ann.message(id).await), missing, "{id}");
        assert_eq!(refused(ann.versions(id).await), missing, "{id}");
    }
    must(ann.delete(here, None, None).await);
    let gone = Rejection::MessageGone;
    assert_eq!(refused(ann.edit(here, "y", None).await), gone);
    assert_eq!(refused(ann.send(NewMessage::text("re").reply_to(here)).await), gone);
    world.finish().await;
}

/// D7: reactions are sets, whoever puts and takes them at once.
pub async fn d7_reactions_are_sets(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let id = say_id(&at(&nodes[0], "ann", &chat), "x").await;
    let bob = at(&nodes[0], "bob", &chat);
    assert!(must(bob.react(id, "👍", None).await).changed());
    assert!(!must(at(&nodes[1], "bob", &chat).react(id, "👍", None).await).changed());
    assert!(must(at(&nodes[1], "carl", &chat).react(id, "👍", None).await).changed());
    assert!(must(bob.unreact(id, "👍", None).await).changed());
    assert!(!must(at(&nodes[1], "bob", &chat).unreact(id, "👍", None).await).changed());
    let tries = (0..60).map(|n| {
        let handle = at(&nodes[n % 2], ["ann", "bob", "carl"][n % 3], &chat);
        tokio::spawn(async move {
            let reaction = ["a", "b"][(n / 3) % 2];
            match n % 4 < 2 {
                true => handle.react(id, reaction, None).await,
                false => handle.unreact(id, reaction, None).await,
            }
        })
    });
    for ack in join_all(tries).await {
        must(ack.expect("no panic"));
    }
    let log = world.log(&chat).await;
    let expected = Reference::new(&log).reactions(Version(2));
    for node in &nodes {
        let message = must(at(node, "ann", &chat).message(id).await);
        let pairs = message
            .reactions
            .iter()
            .flat_map(|(key, users)| users.iter().map(move |user| (key.clone(), user.clone())));
        let pairs: Vec<(String, UserId)> = pairs.collect();
        assert_eq!(pairs.len(), expected.len(), "{pairs:?}");
        assert!(pairs.iter().all(|pair| expected.contains(pair)), "{pairs:?}");
    }
    world.finish().await;
}

/// D8: a reaction and a deletion at once.
pub async fn d8_a_deleted_message_shows_no_reaction(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    for round in 0..20 {
        let id = say_id(&at(&nodes[0], "ann", &chat), "x").await;
        must(at(&nodes[0], "carl", &chat).react(id, "a", None).await);
        let (bob, ann) = (at(&nodes[round % 2], "bob", &chat), at(&nodes[1], "ann", &chat));
        let reaction = tokio::spawn(async move { bob.react(id, "b", None).await });
        let deletion = tokio::spawn(async move { ann.delete(id, None, None).await });
        must(deletion.await.expect("no panic"));
        if let Err(error) = reaction.await.expect("no panic") {
            assert!(matches!(error, ChatError::Rejected(Rejection::MessageGone)), "{error}");
        }
        let late = at(&nodes[1], "carl", &chat).unreact(id, "a", None).await;
        assert_eq!(refused(late), Rejection::MessageGone);
        for node in &nodes {
            assert!(must(at(node, "bob", &chat).message(id).await).reactions.is_empty());
        }
    }
    world.finish().await;
}

/// D9: one reaction for each member: a new one takes the old one's place, in one event.
pub async fn d9_a_unique_reaction_is_replaced_in_one_event(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = group_with(&nodes[0], ReactionPolicy::Unique).await;
    let id = say_id(&at(&nodes[0], "ann", &chat), "x").await;
    let mut reader = listen(&at(&nodes[1], "carl", &chat), SubscribeFrom::Now).await;
    let tries = (0..40).map(|n| {
        let bob = at(&nodes[n % 2], "bob", &chat);
        tokio::spawn(async move { bob.react(id, ["a", "b", "c"][n % 3], None).await })
    });
    let mut changes = 0;
    for ack in join_all(tries).await {
        changes += u64::from(must(ack.expect("no panic")).changed());
    }
    reader.until(Version(2 + changes)).await;
    let mut message = must(at(&nodes[0], "carl", &chat).message(id).await);
    assert_eq!(message.reactions.len(), 1);
    // Whoever follows sees one reaction after every single event.
    Arc::make_mut(&mut message).reactions.clear();
    let mut seen = crate::domain::MessageState { at: Version(2), ..(*message).clone() };
    for record in &reader.records {
        seen.apply(record.version, record.at, &record.event, ReactionPolicy::Unique);
        let count: usize = seen.reactions.values().map(Vec::len).sum();
        assert_eq!(count, 1, "after {}", record.version);
    }
    world.finish().await;
}

/// D10: the limit of different reactions, reached from everywhere at once.
pub async fn d10_the_limit_of_reactions_holds_under_contention(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).limits(|limits| limits.reactions_per_message = 5);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let id = say_id(&at(&nodes[0], "ann", &chat), "x").await;
    let tries = (0..24).map(|n| {
        let handle = at(&nodes[n % 2], ["ann", "bob", "carl"][n % 3], &chat);
        tokio::spawn(async move { handle.react(id, format!("r{n}"), None).await })
    });
    let answers: Vec<_> =
        join_all(tries).await.into_iter().map(|one| one.expect("no panic")).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5);
    for refusal in answers.into_iter().filter(Result::is_err) {
        assert!(matches!(refused(refusal), Rejection::LimitExceeded { value: 6, limit: 5, .. }));
    }
    assert_eq!(must(at(&nodes[1], "bob", &chat).message(id).await).reactions.len(), 5);
    world.finish().await;
}

/// D14: an edit of the last message changes the preview and not the order.
pub async fn d14_an_edit_changes_the_preview_and_not_the_order(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let (one, two) = (tea_room(&nodes[0]).await, make(&nodes[0], NewGroup::named("two")).await);
    let id = say_id(&at(&nodes[0], "ann", &one), "first").await;
    world.pass(Duration::from_secs(1));
    say(&at(&nodes[0], "ann", &two), "second").await;
    world.pass(Duration::from_secs(1));
    must(at(&nodes[0], "ann", &one).edit(id, "first!", None).await);
    for node in &nodes {
        assert_eq!(
            previews(node, "bob").await,
            [(two.clone(), "second".into()), (one.clone(), "first!".into())]
        );
    }
    world.finish().await;
}

async fn previews(node: &Node, name: &str) -> Vec<(ChatId, String)> {
    let page = must(node.user(user(name)).chats(crate::engine::ChatListQuery::top(50)).await);
    let text = |entry: &crate::engine::ChatSummary| {
        entry.preview.as_ref().map(|message| message.text.to_string()).unwrap_or_default()
    };
    page.chats.iter().map(|entry| (entry.chat.clone(), text(entry))).collect()
}

/// D15: a deletion of the last message shows the one before, and in the end none.
pub async fn d15_a_deletion_shows_the_message_before(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let (one, two) = (tea_room(&nodes[0]).await, make(&nodes[0], NewGroup::named("two")).await);
    let ann = at(&nodes[0], "ann", &one);
    let ids = [say_id(&ann, "a").await, say_id(&ann, "b").await, say_id(&ann, "c").await];
    world.pass(Duration::from_secs(1));
    say(&at(&nodes[0], "ann", &two), "other").await;
    for (id, expected) in [(ids[2], "b"), (ids[0], "b"), (ids[1], "")] {
        must(ann.delete(id, None, None).await);
        for node in &nodes {
            let shown = previews(node, "bob").await;
            assert_eq!(shown, [(two.clone(), "other".into()), (one.clone(), expected.into())]);
        }
    }
    world.pass(Duration::from_secs(1));
    say(&ann, "d").await;
    assert_eq!(previews(&nodes[1], "carl").await[0], (one.clone(), "d".into()));
    world.finish().await;
}

/// D18: the texts that a message had, and none of them once it is deleted.
pub async fn d18_versions_are_all_texts_until_the_deletion(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.snapshot_every = 4);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let ann = at(&nodes[0], "ann", &chat);
    let id = say_id(&ann, "0").await;
    for n in 1..=12 {
        world.pass(Duration::from_secs(1));
        must(ann.edit(id, format!("{n}"), None).await);
        say(&at(&nodes[1], "bob", &chat), "between").await;
    }
    for node in &nodes {
        let versions = must(at(node, "carl", &chat).versions(id).await);
        let texts: Vec<_> = versions.iter().map(|version| version.text.to_string()).collect();
        assert_eq!(texts, (0..=12).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(versions.is_sorted_by_key(|version| (version.version, version.at)));
    }
    must(ann.delete(id, None, None).await);
    for node in &nodes {
        assert!(must(at(node, "carl", &chat).versions(id).await).is_empty());
    }
    world.finish().await;
}

/// D19: an edit that says the same, and one that says nothing.
pub async fn d19_the_same_content_is_no_edit_and_none_is_refused(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = [world.node().await, world.node().await];
    let chat = tea_room(&nodes[0]).await;
    let id = say_id(&at(&nodes[0], "ann", &chat), "x").await;
    let version = world.log(&chat).await.len();
    for node in &nodes {
        let ann = at(node, "ann", &chat);
        let same = must(ann.edit(id, "x", None).await);
        assert!(!same.changed() && !same.deduplicated && same.event.is_none(), "{same:?}");
        let empty = ann.edit(id, "", None).await;
        assert!(matches!(refused(empty), Rejection::InvalidArgument { .. }));
    }
    assert_eq!(world.log(&chat).await.len(), version);
    let page = must(at(&nodes[1], "bob", &chat).history(HistoryQuery::Latest, 5).await);
    assert_eq!((page.messages[0].revision(), page.messages[0].edited_at), (0, None));
    world.finish().await;
}
