//! F. Coming, going, rank.

use std::time::Duration;

use futures::future::join_all;

use super::harness::ScenarioHarness;
use super::reference::Reference;
use super::world::{
    Node, World, at, listen, make, must, refused, say, say_id, soak, tea_room, user,
};
use crate::domain::{Access, ChatEvent, HistoryVisibility, NewGroup, Rejection, Role};
use crate::engine::{
    ChatError, ChatListQuery, ChatUpdate, HistoryQuery, MemberQuery, SubscribeFrom, SubscriptionEnd,
};
use crate::id::{ChatId, Version};

async fn nodes(world: &World<'_>) -> [Node; 2] {
    [world.node().await, world.node().await]
}

async fn owners(world: &World<'_>, chat: &ChatId) -> Vec<String> {
    let log = world.log(chat).await;
    let roles = Reference::new(&log).roles().into_iter();
    roles.filter(|(_, role)| *role == Role::Owner).map(|(user, _)| user.to_string()).collect()
}

/// F1: removed while listening on two devices, of which one has not read for a while.
pub async fn f1_who_is_removed_gets_the_removal_as_the_last(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = tea_room(&nodes[0]).await;
    let ann = at(&nodes[0], "ann", &chat);
    let mut readers = Vec::new();
    for node in [&nodes[0], &nodes[1], &nodes[0], &nodes[1]] {
        let mut reader = listen(&at(node, "bob", &chat), SubscribeFrom::Start).await;
        reader.until(Version(1)).await;
        readers.push(reader);
    }
    let mut others = listen(&at(&nodes[1], "carl", &chat), SubscribeFrom::Start).await;
    say(&ann, "before").await;
    // Two of the devices see everything at once; the others look only when it is over.
    let removal = must(ann.remove(user("bob"), Some("why".into()), None).await).version;
    for n in 0..20 {
        say(&ann, &format!("behind bob's back {n}")).await;
    }
    others.until(Version(removal.0 + 20)).await;
    for reader in &mut readers {
        let end = reader.to_end().await.clone();
        assert!(matches!(end, SubscriptionEnd::Removed), "{end:?}");
        assert_eq!(reader.versions(), (1..=removal.0).collect::<Vec<_>>());
    }
    for node in &nodes {
        let bob = at(node, "bob", &chat);
        assert_eq!(refused(bob.open(5).await), Rejection::NotMember);
        let mut reader = listen(&bob, SubscribeFrom::Now).await;
        assert!(matches!(reader.ends_now().await, SubscriptionEnd::Removed));
        let page = must(bob.history(HistoryQuery::Latest, 50).await);
        assert_eq!(page.messages.len(), 1, "history ends with the membership");
        let list = must(node.user(user("bob")).chats(ChatListQuery::top(5)).await);
        assert!(list.chats.is_empty());
        let members = bob.members(MemberQuery { after: None, limit: 10 }).await;
        assert_eq!(refused(members), Rejection::NotMember);
    }
    world.finish().await;
}

/// F2: a removal and sends of the removed at once.
pub async fn f2_nothing_is_sent_behind_the_own_removal(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = make(&nodes[0], NewGroup::named("x").open()).await;
    for round in 0..soak(200, 12) {
        let sends = (0..8).map(|n| {
            let bob = at(&nodes[n % 2], "bob", &chat);
            tokio::spawn(async move { bob.send(crate::engine::NewMessage::text("x")).await })
        });
        let sends: Vec<_> = sends.collect();
        let ann = at(&nodes[round % 2], "ann", &chat);
        let removal = must(ann.remove(user("bob"), None, None).await).version;
        for answer in join_all(sends).await {
            match answer.expect("no panic") {
                Ok(ack) => assert!(ack.version < removal, "{} behind {removal}", ack.version),
                Err(ChatError::Rejected(Rejection::NotMember)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        must(at(&nodes[0], "bob", &chat).join(None).await);
    }
    world.finish().await;
}

/// F5: a role that is taken away while it is used.
pub async fn f5_rank_counts_where_the_command_lands(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = tea_room(&nodes[0]).await;
    let ann = at(&nodes[0], "ann", &chat);
    for round in 0..soak(200, 12) {
        must(ann.change_role(user("carl"), Role::Moderator, None).await);
        let id = say_id(&at(&nodes[0], "bob", &chat), "x").await;
        let (owner, carl) = (at(&nodes[round % 2], "ann", &chat), at(&nodes[1], "carl", &chat));
        let demotion =
            tokio::spawn(async move { owner.change_role(user("carl"), Role::Member, None).await });
        let deletion = tokio::spawn(async move { carl.delete(id, None, None).await });
        let demoted = must(demotion.await.expect("no panic")).version;
        match deletion.await.expect("no panic") {
            Ok(ack) => assert!(ack.version < demoted, "round {round}"),
            Err(ChatError::Rejected(Rejection::Forbidden { .. })) => {}
            Err(other) => panic!("round {round}: {other}"),
        }
    }
    world.finish().await;
}

/// F6: never no owner, and never two.
pub async fn f6_a_group_has_exactly_one_owner(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = make(&nodes[0], NewGroup::named("x").open()).await;
    let people = ["ann", "bob", "carl"];
    assert_eq!(refused(at(&nodes[0], "ann", &chat).leave(None).await), Rejection::LastOwner);
    let own = at(&nodes[1], "ann", &chat).change_role(user("ann"), Role::Member, None).await;
    assert_eq!(refused(own), Rejection::LastOwner);
    for round in 0..soak(200, 15) {
        let owner = owners(&world, &chat).await.pop().expect("an owner");
        let heirs: Vec<_> = people.iter().filter(|name| **name != owner).collect();
        let tries = heirs.into_iter().enumerate().map(|(n, heir)| {
            let (handle, heir) = (at(&nodes[n % 2], &owner, &chat), user(heir));
            tokio::spawn(async move { handle.transfer_ownership(heir, None).await })
        });
        let leaving = at(&nodes[round % 2], &owner, &chat);
        let (answers, left) = tokio::join!(join_all(tries), leaving.leave(None));
        let won = answers.into_iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count();
        assert_eq!(won, 1, "round {round}");
        match left {
            Ok(_) => drop(must(at(&nodes[0], &owner, &chat).join(None).await)),
            Err(ChatError::Rejected(Rejection::LastOwner)) => {}
            Err(other) => panic!("round {round}: {other}"),
        }
        assert_eq!(owners(&world, &chat).await.len(), 1, "round {round}");
    }
    world.finish().await;
}

/// F7: a hundred people come in at once, by every way.
pub async fn f7_a_hundred_who_come_at_once_are_all_there(harness: &dyn ScenarioHarness) {
    let world = World::new(harness).config(|config| config.command_attempts = 200);
    let nodes = nodes(&world).await;
    let chat = make(&nodes[0], NewGroup::named("x").open()).await;
    let tries = (0..100).map(|n| {
        let who = user(&format!("guest-{n:03}"));
        let (guest, ann) =
            (at(&nodes[n % 2], who.as_str(), &chat), at(&nodes[n % 2], "ann", &chat));
        tokio::spawn(async move {
            match n % 3 {
                0 => must(guest.join(None).await),
                1 => must(ann.add(who, Role::Member, None).await),
                _ => {
                    must(ann.invite(who, Role::Member, None).await);
                    must(guest.join(None).await)
                }
            }
        })
    });
    for done in join_all(tries).await {
        done.expect("no panic");
    }
    for node in &nodes {
        let mut names = Vec::new();
        let mut query = MemberQuery { after: None, limit: 17 };
        loop {
            let page = must(at(node, "bob", &chat).members(query.clone()).await);
            names.extend(page.members.into_iter().map(|member| member.user));
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
        assert_eq!(names.len(), 103);
        assert!(names.is_sorted());
    }
    world.close().await;
}

/// F8: joining twice at once.
pub async fn f8_joining_twice_at_once_is_one_membership(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let nodes = nodes(&world).await;
    let chat = make(&nodes[0], NewGroup::named("x").open()).await;
    let tries = (0..16).map(|n| {
        let dora = at(&nodes[n % 2], "dora", &chat);
        tokio::spawn(async move { dora.join(None).await })
    });
    let acks = join_all(tries).await.into_iter().map(|ack| must(ack.expect("no panic")));
    assert_eq!(acks.filter(|ack| ack.changed()).count(), 1);
    let log = world.log(&chat).await;
    let joins = log.iter().filter(|record| matches!(record.event, ChatEvent::MemberJoined(_)));
    assert_eq!(joins.count(), 1);
    world.finish().await;
}

/// F16: nobody acts on the same or a higher rank; down by oneself, up by others.
pub async fn f16_rank_is_respected_by_every_command(harness: &dyn ScenarioHarness) {
    let world = World::new(harness);
    let node = world.node().await;
    let chat = tea_room(&node).await;
    let ann = at(&node, "ann", &chat);
    for name in ["max", "mia"] {
        must(ann.add(user(name), Role::Moderator, None).await);
    }
    let (max, bob) = (at(&node, "max", &chat), at(&node, "bob", &chat));
    let anns = say_id(&ann, "ann's").await;
    let mias = say_id(&at(&node, "mia", &chat), "mia's").await;
    let close = || ChatUpdate { access: Some(Access::Open), ..ChatUpdate::default() };
    let tries = [
        max.remove(user("mia"), None, None).await,
        max.remove(user("ann"), None, None).await,
        max.change_role(user("mia"), Role::Member, None).await,
        max.change_role(user("bob"), Role::Moderator, None).await,
        max.change_role(user("max"), Role::Owner, None).await,
        max.add(user("dora"), Role::Moderator, None).await,
        max.transfer_ownership(user("bob"), None).await,
        max.delete(anns, None, None).await,
        max.delete(mias, None, None).await,
        bob.change_role(user("bob"), Role::Moderator, None).await,
        bob.update(close(), None).await,
        bob.invite(user("dora"), Role::Member, None).await,
        bob.remove(user("carl"), None, None).await,
        ann.change_role(user("bob"), Role::Owner, None).await,
    ];
    for (number, answer) in tries.into_iter().enumerate() {
        let refusal = refused(answer);
        assert!(matches!(refusal, Rejection::Forbidden { .. }), "try {number}: {refusal}");
    }
    must(max.update(close(), None).await);
    must(max.remove(user("bob"), None, None).await);
    must(max.change_role(user("max"), Role::Member, None).await);
    must(ann.delete(mias, None, None).await);
    world.finish().await;
}

/// F17: an old token after leaving, and after coming back.
pub async fn f17_an_old_token_leads_to_the_end_of_the_membership(harness: &dyn ScenarioHarness) {
    for history in [HistoryVisibility::Shared, HistoryVisibility::Joined] {
        let world = World::new(harness);
        let nodes = nodes(&world).await;
        let chat = make(&nodes[0], NewGroup::named("x").open().with_history(history)).await;
        let ann = at(&nodes[0], "ann", &chat);
        say(&ann, "2").await;
        let token = must(at(&nodes[0], "bob", &chat).open(5).await).token;
        say(&ann, "3").await;
        let left = must(at(&nodes[0], "bob", &chat).leave(None).await).version;
        assert_eq!(left, Version(4));
        say(&ann, "5").await;
        for node in &nodes {
            let from = SubscribeFrom::Token(token.clone());
            let mut reader = listen(&at(node, "bob", &chat), from).await;
            assert!(matches!(reader.to_end().await, SubscriptionEnd::Left));
            assert_eq!(reader.versions(), [3, 4]);
        }
        must(at(&nodes[1], "bob", &chat).join(None).await);
        say(&ann, "7").await;
        let expected: &[u64] = match history {
            HistoryVisibility::Shared => &[3, 4, 5, 6, 7],
            HistoryVisibility::Joined => &[3, 4, 6, 7],
        };
        for node in &nodes {
            let from = SubscribeFrom::Token(token.clone());
            let mut reader = listen(&at(node, "bob", &chat), from).await;
            reader.until(Version(7)).await;
            assert_eq!(reader.versions(), expected, "{history:?}");
        }
        world.pass(Duration::from_secs(1));
        world.finish().await;
    }
}
