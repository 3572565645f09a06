//! Writes views: all batches of a call in one transaction, each accepted or refused on its own.
//!
//! The checkpoints of all views are locked first, in the order of their names, so that two calls
//! cannot wait for each other; a refused batch has nothing written when it is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_core::ports::{StoreError, ViewBatch, ViewError, ViewId, ViewOp};
use chat_core::{Checkpoint, ViewKey};
use sqlx::{Connection as _, MySqlConnection};

use super::connection::{Session, Values, acquire, limited};
use super::error::{Cause, Failure, Step, is_of_one};
use super::rows::number;
use super::sql::{Sql, filled, padded, padding};
use super::store::MysqlStore;
use super::views::{KEY, KEYS_AT_ONCE, VIEW, VIEWS_AT_ONCE, names, view_id};

type Answers = Vec<Result<(), ViewError>>;

pub(super) async fn commit(store: &MysqlStore, batches: &[ViewBatch]) -> Answers {
    if batches.is_empty() {
        return Vec::new();
    }
    let error = match together(store, batches).await {
        Ok(answers) => return answers,
        Err(error) => error,
    };
    if batches.len() == 1 || !is_of_one(&error) {
        return vec![Err(error.into()); batches.len()];
    }
    // One of them is at fault: each goes alone, so that the others do not suffer.
    let mut answers = Vec::with_capacity(batches.len());
    for batch in batches {
        match together(store, std::slice::from_ref(batch)).await {
            Ok(answer) => answers.extend(answer),
            Err(error) => answers.push(Err(error.into())),
        }
    }
    answers
}

/// Tries again while others are in the way and there is time.
async fn together(store: &MysqlStore, batches: &[ViewBatch]) -> Result<Answers, StoreError> {
    let start = Instant::now();
    loop {
        let mut connection = acquire(store.pool()).await?;
        match transaction(store, &mut connection, batches).await {
            Err(Failure {
                cause: Cause::Contended | Cause::Duplicate, connected: true, ..
            }) if start.elapsed() < store.lock_timeout() => {
                connection.is_whole();
                drop(connection);
                tokio::time::sleep(PAUSE).await;
            }
            Err(failure) if failure.connected => {
                connection.is_whole();
                return Err(failure.error);
            }
            done => return connection.settled(done),
        }
    }
}

async fn transaction(
    store: &MysqlStore,
    connection: &mut MySqlConnection,
    batches: &[ViewBatch],
) -> Result<Answers, Failure> {
    let limit = store.statement_timeout();
    // Dropped before its end, it is rolled back before the connection is used again.
    let mut transaction = limited(limit, Step::Write, connection.begin()).await?;
    let mut session = Session::new(&mut transaction, limit);
    let found = lock(&mut session, store.sql(), batches).await?;
    let mut changes = Changes::default();
    let answers = batches.iter().map(|batch| changes.accept(batch, &found)).collect();
    changes.write(&mut session, store.sql(), store.packet_limit(), &found).await?;
    limited(limit, Step::Commit, transaction.commit()).await?;
    Ok(answers)
}

/// Locks the checkpoints that exist. One that does not is made by whoever is first; the other is
/// refused as a duplicate and begins again.
async fn lock<'b>(
    session: &mut Session<'_>,
    sql: &Sql,
    batches: &'b [ViewBatch],
) -> Result<BTreeMap<ViewId, Checkpoint>, Failure> {
    let views: BTreeSet<&'b ViewId> = batches.iter().map(|batch| &batch.view).collect();
    let views: Vec<_> = views.into_iter().collect();
    let mut found = BTreeMap::new();
    for views in views.chunks(VIEWS_AT_ONCE) {
        let text = filled(&sql.view_lock, "{views}", VIEW, " OR ", padded(views.len()));
        let mut values = Values::new();
        for view in padding(views) {
            let (scope, projection) = names(view);
            values.add(scope);
            values.add(projection);
        }
        for row in session.rows(&text.into(), values, Step::Write).await? {
            let read = || Ok((view_id(&row)?, Checkpoint(number(&row, 2, "checkpoint")?)));
            let (view, checkpoint) =
                read().map_err(|what| super::lookup::corrupt("a view", what))?;
            found.insert(view, checkpoint);
        }
    }
    Ok(found)
}

/// What the accepted batches come to.
#[derive(Debug, Default)]
struct Changes<'b> {
    views: BTreeMap<&'b ViewId, Change<'b>>,
}

#[derive(Debug, Default)]
struct Change<'b> {
    next: Checkpoint,
    cleared: bool,
    keys: BTreeMap<&'b ViewKey, Option<&'b Arc<[u8]>>>,
}

impl<'b> Changes<'b> {
    fn accept(
        &mut self,
        batch: &'b ViewBatch,
        found: &BTreeMap<ViewId, Checkpoint>,
    ) -> Result<(), ViewError> {
        let stored = found.get(&batch.view).copied().unwrap_or_default();
        let actual = self.views.get(&batch.view).map_or(stored, |change| change.next);
        if actual != batch.expected {
            let (view, expected) = (batch.view.clone(), batch.expected);
            return Err(ViewError::CheckpointMoved { view, expected, actual });
        }
        let change = self.views.entry(&batch.view).or_default();
        change.next = batch.next;
        for op in &batch.ops {
            match op {
                ViewOp::Put(key, value) => drop(change.keys.insert(key, Some(value))),
                ViewOp::Delete(key) => drop(change.keys.insert(key, None)),
                ViewOp::Clear => {
                    change.cleared = true;
                    change.keys.clear();
                }
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        session: &mut Session<'_>,
        sql: &Sql,
        packet_limit: usize,
        found: &BTreeMap<ViewId, Checkpoint>,
    ) -> Result<(), Failure> {
        let (moved, begun): (Vec<_>, Vec<_>) =
            self.views.iter().partition(|(view, _)| found.contains_key(view));
        checkpoints(session, &sql.view_begin, &begun).await?;
        let changed = |(view, change): &(&&ViewId, &Change<'_>)| {
            found.get(**view).is_none_or(|stored| *stored != change.next)
        };
        let moved: Vec<_> = moved.into_iter().filter(changed).collect();
        checkpoints(session, &sql.view_move, &moved).await?;
        for (view, _) in self.views.iter().filter(|(_, change)| change.cleared) {
            let (scope, projection) = names(view);
            let values = Values::new().with(scope).with(projection);
            session.execute(&sql.view_clear, values, Step::Write).await?;
        }
        self.delete(session, sql).await?;
        self.put(session, sql, packet_limit).await
    }

    async fn delete(&self, session: &mut Session<'_>, sql: &Sql) -> Result<(), Failure> {
        let views = self.views.iter().filter(|(_, change)| !change.cleared);
        let keys: Vec<_> = views
            .flat_map(|(view, change)| {
                change.keys.iter().map(move |(key, value)| (view, key, value))
            })
            .filter(|(_, _, value)| value.is_none())
            .map(|(view, key, _)| (*view, *key))
            .collect();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let text = filled(&sql.view_delete, "{keys}", KEY, " OR ", padded(keys.len()));
            let mut values = Values::new();
            for (view, key) in padding(keys) {
                let (scope, projection) = names(view);
                values.add(scope);
                values.add(projection);
                values.add(key.as_str().as_bytes());
            }
            session.execute(&text.into(), values, Step::Write).await?;
        }
        Ok(())
    }

    async fn put(
        &self,
        session: &mut Session<'_>,
        sql: &Sql,
        packet_limit: usize,
    ) -> Result<(), Failure> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        for (view, change) in &self.views {
            for (key, value) in &change.keys {
                let Some(value) = value else { continue };
                let size = value.len() + ROW_BYTES;
                if !rows.is_empty() && (bytes + size > packet_limit || rows.len() == KEYS_AT_ONCE) {
                    put_rows(session, sql, &rows).await?;
                    rows.clear();
                    bytes = 0;
                }
                bytes += size;
                rows.push((*view, *key, *value));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        put_rows(session, sql, &rows).await
    }
}

/// The rows in pieces whose lengths are powers of two, so that few statements are needed. Padding
/// would send values twice.
async fn put_rows(
    session: &mut Session<'_>,
    sql: &Sql,
    mut rows: &[(&ViewId, &ViewKey, &Arc<[u8]>)],
) -> Result<(), Failure> {
    while let Some(doublings) = rows.len().checked_ilog2() {
        // A short rest is worth a statement of its own length, a long one is not worth a second
        // round trip either.
        let exact = rows.len() <= FEW_ROWS || rows.len().is_power_of_two();
        let count = if exact { rows.len() } else { 1 << doublings };
        let Some((piece, rest)) = rows.split_at_checked(count) else { break };
        rows = rest;
        let text = filled(&sql.view_put, "{rows}", "(?,?,?,?)", ",", count);
        let mut values = Values::new();
        for (view, key, value) in piece {
            let (scope, projection) = names(view);
            values.add(scope);
            values.add(projection);
            values.add(key.as_str().as_bytes());
            values.add(&***value);
        }
        session.execute(&text.into(), values, Step::Write).await?;
    }
    Ok(())
}

async fn checkpoints(
    session: &mut Session<'_>,
    text: &str,
    views: &[(&&ViewId, &Change<'_>)],
) -> Result<(), Failure> {
    for views in views.chunks(VIEWS_AT_ONCE) {
        let text = filled(text, "{rows}", "(?,?,?)", ",", views.len());
        let mut values = if views.len() <= FEW_ROWS { Values::new() } else { Values::once() };
        for (view, change) in views {
            let (scope, projection) = names(view);
            values.add(scope);
            values.add(projection);
            values.add(change.next.0);
        }
        session.execute(&text.into(), values, Step::Write).await?;
    }
    Ok(())
}

const PAUSE: Duration = Duration::from_millis(1);
/// Names and the rest of a row, at most.
const ROW_BYTES: usize = 640;
const FEW_ROWS: usize = 16;
