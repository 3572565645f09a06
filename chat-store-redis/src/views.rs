//! The port for views.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chat_core::ports::{
    Direction, KeyRange, StoreError, ViewBatch, ViewError, ViewGet, ViewId, ViewPage, ViewStore,
    ViewValues,
};
use chat_core::{Checkpoint, ViewKey};
use futures::future::{join_all, try_join_all};
use redis::Value;

use crate::error::Step;
use crate::reply::{array, number, optional_bytes, text};
use crate::store::{RedisStore, Shared};
use crate::view_writer;

#[async_trait]
impl ViewStore for RedisStore {
    async fn get(&self, gets: &[ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
        let shared = self.shared();
        shared.open()?;
        let groups = groups(shared, gets, |get| &get.view);
        let groups = groups.into_iter().map(async |indexes| {
            let wanted: Vec<&ViewGet> = indexes.iter().filter_map(|i| gets.get(*i)).collect();
            let values = get(shared, &wanted).await?;
            Ok::<_, StoreError>(indexes.into_iter().zip(values).collect::<Vec<_>>())
        });
        let mut all: Vec<_> = try_join_all(groups).await?.into_iter().flatten().collect();
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, values)| values).collect())
    }

    async fn scan(
        &self,
        view: &ViewId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<ViewPage, StoreError> {
        let shared = self.shared();
        shared.open()?;
        let limit = limit.clamp(1, ViewPage::MAX_ENTRIES);
        let mut command = shared.scripts.scan_view.call(2);
        command.arg(shared.keys.values(view)).arg(shared.keys.order(view));
        command.arg(match direction {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        });
        command.arg(range.start.as_ref().map_or("-".into(), |start| format!("[{start}")));
        command.arg(range.end.as_ref().map_or("+".into(), |end| format!("({end}")));
        // One more than asked tells whether there is more.
        command.arg(limit + 1);
        let mut answer = array(shared.run(&command, Step::Read).await?)?.into_iter();
        let checkpoint = Checkpoint(number(answer.next())?);
        let keys = array(answer.next().unwrap_or_default())?;
        let values = array(answer.next().unwrap_or_default())?;
        let finished = keys.len() <= limit;
        let mut entries = Vec::with_capacity(keys.len().min(limit));
        for (key, value) in keys.into_iter().zip(values).take(limit) {
            let key = ViewKey::new(text(Some(key))?)
                .map_err(|error| corrupt(view, &error.to_string()))?;
            let missing = || corrupt(view, &format!("the key {key} has no value"));
            entries.push((key.clone(), optional_bytes(Some(value))?.ok_or_else(missing)?.into()));
        }
        Ok(ViewPage { checkpoint, entries, finished })
    }

    /// As the port says; in a cluster, `CheckpointMoved` may mean that this very call has written the
    /// batch (see [`Topology::Cluster`](crate::Topology::Cluster)).
    async fn commit(&self, batches: &[ViewBatch]) -> Vec<Result<(), ViewError>> {
        let shared = self.shared();
        if let Err(error) = shared.open() {
            return batches.iter().map(|_| Err(error.clone().into())).collect();
        }
        let groups = groups(shared, batches, |batch| &batch.view);
        let groups = groups.into_iter().map(async |indexes| {
            let own: Vec<&ViewBatch> = indexes.iter().filter_map(|i| batches.get(*i)).collect();
            let answers = view_writer::commit(shared, &own).await;
            indexes.into_iter().zip(answers).collect::<Vec<_>>()
        });
        let mut all: Vec<_> = join_all(groups).await.into_iter().flatten().collect();
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, answer)| answer).collect()
    }
}

/// What one script may touch: everything on one server, what lies in one slot in a cluster. As
/// indexes, in their order.
fn groups<T>(shared: &Shared, items: &[T], view: impl Fn(&T) -> &ViewId) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let group = match shared.connection.is_one_server() {
            true => 0,
            false => shared.keys.partition_of_view(view(item)).0,
        };
        groups.entry(group).or_default().push(index);
    }
    groups.into_values().collect()
}

async fn get(shared: &Shared, gets: &[&ViewGet]) -> Result<Vec<ViewValues>, StoreError> {
    let mut command = shared.scripts.get_views.call(gets.len());
    for get in gets {
        command.arg(shared.keys.values(&get.view));
    }
    for get in gets {
        command.arg(get.keys.len());
        for key in &get.keys {
            command.arg(key.as_str());
        }
    }
    let answers = array(shared.run(&command, Step::Read).await?)?;
    let read = |answer: Value| {
        let mut answer = array(answer)?.into_iter();
        let checkpoint = Checkpoint(number(answer.next())?);
        let value = |value| Ok::<_, StoreError>(optional_bytes(Some(value))?.map(Arc::from));
        Ok(ViewValues { checkpoint, values: answer.map(value).collect::<Result<_, _>>()? })
    };
    answers.into_iter().map(read).collect()
}

fn corrupt(view: &ViewId, what: &str) -> StoreError {
    let place = format!("view {} of {}", view.projection, view.scope);
    StoreError::Corrupt { place, what: what.into() }
}
