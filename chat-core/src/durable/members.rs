//! Who shares a subscription, and how many partitions are whose part.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layout::key;
use super::lease::Holder;
use super::state::{put, read};
use super::views;
use crate::clock::Timestamp;
use crate::id::{Checkpoint, ViewKey};
use crate::ports::{Direction, KeyRange, StoreError, ViewId, ViewOp, ViewPage, ViewStore};

#[derive(Debug, Serialize, Deserialize)]
struct Membership {
    until: Timestamp,
}

/// Members by name, with the end of their time if nothing is heard of them.
pub(super) type Members = BTreeMap<String, Timestamp>;

const ATTEMPTS: u32 = 16;

/// Every member that is noted, also those whose time is over.
pub(super) async fn read_all(
    store: &dyn ViewStore,
    view: &ViewId,
) -> Result<(Checkpoint, Members), StoreError> {
    let all = KeyRange::all();
    // More processes than a page holds are not looked at; they stand by.
    let page = store.scan(view, &all, Direction::Forward, ViewPage::MAX_ENTRIES).await?;
    let mut members = Members::new();
    for (name, bytes) in &page.entries {
        let member: Membership = read(view, bytes)?;
        members.insert(name.as_str().to_owned(), member.until);
    }
    Ok((page.checkpoint, members))
}

/// Says that this member lives, if it is time to, and forgets those whose time is over. The live
/// members, this one among them.
pub(super) async fn attend(holder: &Holder, view: &ViewId) -> Result<Vec<String>, StoreError> {
    for _ in 0..ATTEMPTS {
        let (checkpoint, mut members) = read_all(&*holder.views, view).await?;
        let now = holder.clock.now();
        let known = members.get(&holder.name).is_some_and(|until| !holder.is_due(*until));
        let until = holder.expiry();
        if !known {
            members.insert(holder.name.clone(), until);
        }
        let gone: Vec<String> = members
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(name, _)| name.clone())
            .collect();
        members.retain(|_, until| *until > now);
        if !known {
            let mut ops = Vec::new();
            for name in &gone {
                ops.push(ViewOp::Delete(key(name)?));
            }
            ops.push(put(key(&holder.name)?, &Membership { until })?);
            match views::commit(&*holder.views, view, checkpoint, ops).await {
                Ok(()) => {}
                Err(error) if views::look_again(&error) => continue,
                Err(error) => return Err(views::store_error(error)),
            }
        }
        return Ok(members.into_keys().collect());
    }
    Err(views::contended())
}

/// Says good-bye.
pub(super) async fn leave(holder: &Holder, view: &ViewId) -> Result<(), StoreError> {
    for _ in 0..ATTEMPTS {
        let (checkpoint, members) = read_all(&*holder.views, view).await?;
        if !members.contains_key(&holder.name) {
            return Ok(());
        }
        let name: ViewKey = key(&holder.name)?;
        match views::commit(&*holder.views, view, checkpoint, vec![ViewOp::Delete(name)]).await {
            Ok(()) => return Ok(()),
            Err(error) if views::look_again(&error) => {}
            Err(error) => return Err(views::store_error(error)),
        }
    }
    Err(views::contended())
}

/// This member's place among the live ones, who are in the order of their names.
pub(super) fn rank(live: &[String], me: &str) -> usize {
    live.iter().take_while(|name| name.as_str() != me).count()
}

/// How many of these shards are the part of the member in this place.
pub(super) fn fair_part(shards: usize, live: usize, rank: usize) -> usize {
    let live = live.max(1);
    shards / live + usize::from(rank < shards % live)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_even_and_add_up() {
        for shards in 0..40 {
            for live in 1..10 {
                let parts: Vec<_> = (0..live).map(|rank| fair_part(shards, live, rank)).collect();
                assert_eq!(parts.iter().sum::<usize>(), shards);
                assert!(parts[0] - parts[live - 1] <= 1, "{parts:?}");
            }
        }
    }
}
