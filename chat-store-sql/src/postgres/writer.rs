//! The one connection through which a store appends. A group goes the fast way first: one round
//! trip, based on what the writer remembers. Where the database finds it otherwise, or an id is
//! there already, the group goes the exact way: a transaction that looks before it writes, while
//! nobody else can, so that it always comes to an end.
//!
//! The fast way is a function, which compares what the writer remembers under the lock. While
//! nobody else writes, and the group rests on nothing but the end of the log, a plain insert does
//! the same in less time. It takes the lock too, but sees the log as it was before;
//! what another has committed meanwhile is at the position that the insert wants, so that the
//! primary key refuses it. A server logs that refusal as an error: so this is only for those who
//! seem to be alone, and who was wrong waits twice as long before the next time.

use std::collections::HashSet;
use std::sync::Arc;

use chat_core::ports::{Append, AppendResult, StoreError};
use chat_core::{Json, StreamId};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::{Instant, timeout};

use super::connection::{Connector, RETRIES, TRUSTED_FOR, alive, pause};
use super::decide::{Standing, concerned};
use super::error::{Class, Step, classify, store_error};
use super::heads::Heads;
use super::insert::{Claims, append, insert};
use super::plan::Plan;
use super::sql::Sql;

#[derive(Debug)]
pub(super) struct Writer {
    connector: Connector,
    sql: Arc<Sql>,
    connection: Option<PgConnection>,
    last_use: Instant,
    heads: Heads,
}

/// How a group goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In one round trip; by a plain insert if nobody else seems to write and the group is fit for
    /// it, else by the function.
    Fast { alone: bool },
    /// Looks first. Some text may not be JSON if the database has said so.
    Exact { doubtful: bool },
}

/// By the function.
const COMPARING: Way = Way::Fast { alone: false };

/// What came of a try.
#[derive(Debug)]
enum Tried {
    Done(Vec<AppendResult>),
    /// Nothing was written; this way is the next.
    Next(Way),
    /// The database failed.
    Failed(sqlx::Error, Step),
    /// The database did not answer in time.
    Silent,
    /// What is stored is not what it should be.
    Stored(StoreError),
}

impl Writer {
    pub(super) fn new(connector: Connector, sql: Arc<Sql>, connection: PgConnection) -> Self {
        let (connection, last_use) = (Some(connection), Instant::now());
        Self { connector, sql, connection, last_use, heads: Heads::new() }
    }

    /// Carries out appends in order and answers each.
    pub(super) async fn carry_out(&mut self, appends: &[&Append]) -> Vec<AppendResult> {
        match self.try_all_ways(appends).await {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); appends.len()],
        }
    }

    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            // It is closed in any case; a server that is gone cannot be told.
            drop(connection.close().await);
        }
    }

    async fn try_all_ways(&mut self, appends: &[&Append]) -> Result<Vec<AppendResult>, StoreError> {
        let mut way = Way::Fast { alone: self.heads.alone() };
        let mut retries = 0;
        let mut corrected = false;
        // Set once the group may have been written without our knowing.
        let mut unknown: Option<StoreError> = None;
        loop {
            if let Err(error) = self.ready().await {
                return Err(unknown.unwrap_or(error));
            }
            let (error, step) = match self.try_way(way, appends).await {
                Tried::Done(answers) => return Ok(answers),
                Tried::Next(Way::Fast { .. }) if corrected => {
                    // What was corrected was forgotten again: the exact way remembers nothing.
                    way = Way::Exact { doubtful: false };
                    continue;
                }
                Tried::Next(next) => {
                    corrected |= way == next;
                    way = next;
                    continue;
                }
                Tried::Stored(error) => return Err(unknown.unwrap_or(error)),
                Tried::Silent => {
                    self.disconnect();
                    let what = "the database did not answer in time".into();
                    return Err(
                        unknown.unwrap_or(StoreError::OutcomeUnknown { what, source: None })
                    );
                }
                Tried::Failed(error, step) => (error, step),
            };
            match (classify(&error), way) {
                // Another was first at the position; else an id or a version is there already.
                (Class::Duplicate, Way::Fast { alone: true }) if is_of_position(&error) => {
                    self.heads.was_not_alone();
                    way = COMPARING;
                }
                (Class::Duplicate, Way::Fast { .. }) => way = Way::Exact { doubtful: false },
                (Class::Data, Way::Fast { .. } | Way::Exact { doubtful: false }) => {
                    way = Way::Exact { doubtful: true };
                }
                (Class::Retry, _) if retries < RETRIES => {
                    pause(retries).await;
                    retries += 1;
                }
                (Class::Broken, _) if unknown.is_none() => {
                    // A repeat finds out what happened, as the ids make it happen once.
                    unknown = Some(store_error(error, step));
                    self.disconnect();
                    way = Way::Exact { doubtful: false };
                }
                (class, _) => {
                    if class == Class::Broken {
                        self.disconnect();
                    }
                    return Err(unknown.unwrap_or_else(|| store_error(error, step)));
                }
            }
        }
    }

    /// Sees to it that there is a connection.
    async fn ready(&mut self) -> Result<(), StoreError> {
        if self.last_use.elapsed() >= TRUSTED_FOR
            && let Some(connection) = &mut self.connection
            && !alive(connection).await
        {
            self.disconnect();
        }
        if self.connection.is_none() {
            self.connection = Some(self.connector.connect().await?);
        }
        self.last_use = Instant::now();
        Ok(())
    }

    fn disconnect(&mut self) {
        self.connection = None;
        self.heads.doubt();
    }

    async fn try_way(&mut self, way: Way, appends: &[&Append]) -> Tried {
        let limit = self.connector.answer_timeout();
        let Some(connection) = &mut self.connection else { return Tried::Silent };
        let (sql, heads) = (&self.sql, &mut self.heads);
        let tried = match way {
            Way::Fast { alone } => {
                timeout(limit, fast(connection, sql, heads, appends, alone)).await
            }
            Way::Exact { doubtful } => {
                timeout(limit, exact(connection, sql, heads, appends, doubtful)).await
            }
        };
        tried.unwrap_or(Tried::Silent)
    }
}

/// Whether the primary key of the log refused an insert.
fn is_of_position(error: &sqlx::Error) -> bool {
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    constraint.is_some_and(|constraint| constraint.ends_with("_pkey"))
}

/// One round trip.
async fn fast(
    connection: &mut PgConnection,
    sql: &Sql,
    heads: &mut Heads,
    appends: &[&Append],
    alone: bool,
) -> Tried {
    let plan = Plan::new(appends, heads);
    if alone && plan.rests_on_the_end_alone() {
        let base = plan.claims.known;
        return match insert(sql, base, &plan.rows).execute(connection).await {
            // The log ends before the position that was remembered.
            Ok(inserted) if inserted.rows_affected() == 0 => Tried::Next(COMPARING),
            Ok(_) => Tried::Done(plan.done(base, heads)),
            Err(error) => Tried::Failed(error, Step::Commit),
        };
    }
    if plan.repeats_itself() {
        return Tried::Next(Way::Exact { doubtful: false });
    }
    let statement = append(&sql.append, &plan.claims, &plan.rows);
    let answer = async {
        let row = statement.fetch_one(connection).await?;
        let base: i64 = row.try_get(0)?;
        Ok((base, row.try_get::<Option<Vec<Option<i64>>>, _>(1)?, row.try_get::<bool, _>(2)?))
    };
    match answer.await {
        Ok((base, None, false)) => Tried::Done(plan.done(base, heads)),
        // An id is there already: a repeat, or one that is used for something else.
        Ok((_, None, true)) => Tried::Next(Way::Exact { doubtful: false }),
        Ok((base, Some(actual), _)) if plan.corrected(base, &actual, heads) => {
            Tried::Next(COMPARING)
        }
        // Others write to the same streams, and may do so again before a second try.
        Ok((_, Some(_), _)) => Tried::Next(Way::Exact { doubtful: false }),
        Err(error) => Tried::Failed(error, Step::Commit),
    }
}

/// Looks, decides and writes in one transaction.
async fn exact(
    connection: &mut PgConnection,
    sql: &Sql,
    heads: &mut Heads,
    appends: &[&Append],
    doubtful: bool,
) -> Tried {
    let unfit = match doubtful {
        false => Ok(HashSet::new()),
        true => unfit(connection, sql, appends).await,
    };
    let unfit = match unfit {
        Ok(unfit) => unfit,
        Err(error) => return Tried::Failed(error, Step::Write),
    };
    let mut transaction = match connection.begin().await {
        Ok(transaction) => transaction,
        Err(error) => return Tried::Failed(error, Step::Write),
    };
    let decided = decide_and_insert(&mut transaction, sql, appends, &unfit).await;
    let (mut standing, answers, written) = match decided {
        Ok(decided) => decided,
        Err(stop) => {
            // Now, not with the next statement: until then everybody else would wait for the lock.
            // If even this fails, the connection is broken and the server sees to it.
            drop(transaction.rollback().await);
            return match stop {
                Stop::Driver(error) => Tried::Failed(error, Step::Write),
                Stop::Stored(error) => Tried::Stored(error),
            };
        }
    };
    if let Err(error) = transaction.commit().await {
        return Tried::Failed(error, Step::Commit);
    }
    heads.seen(standing.base);
    for (stream, version) in standing.heads.drain() {
        heads.put(&stream, version);
    }
    heads.advance(standing.base + i64::try_from(written).unwrap_or(0));
    Tried::Done(answers)
}

/// Why a transaction goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    Driver(sqlx::Error),
    Stored(StoreError),
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Stored(error)
    }
}

/// Takes the lock, looks, decides on each append and inserts what is new. The lock is held until
/// the transaction ends. Gives the answers and the number of rows.
pub(super) async fn decide_and_insert(
    connection: &mut PgConnection,
    sql: &Sql,
    appends: &[&Append],
    unfit: &HashSet<usize>,
) -> Result<(Standing, Vec<AppendResult>, usize), Stop> {
    let (streams, ids) = concerned(appends);
    let names: Vec<&str> = streams.iter().copied().map(StreamId::as_str).collect();
    let looked = sqlx::query(sql.look.clone()).bind(&names).bind(&ids);
    let rows = looked.fetch_all(&mut *connection).await?;
    let mut standing = Standing::read(&streams, &rows)?;
    let decision = standing.decide(appends, unfit);
    if decision.rows.len() > 0 {
        let claims = Claims { known: standing.base, ..Claims::default() };
        append(&sql.append, &claims, &decision.rows).execute(connection).await?;
    }
    Ok((standing, decision.answers, decision.rows.len()))
}

/// The places of appends that hold text which is not JSON to the database.
pub(super) async fn unfit(
    connection: &mut PgConnection,
    sql: &Sql,
    appends: &[&Append],
) -> Result<HashSet<usize>, sqlx::Error> {
    let (mut texts, mut owners) = (Vec::new(), Vec::new());
    for (index, append) in appends.iter().enumerate() {
        for event in append.writes().iter().flat_map(|write| &write.events) {
            let metadata = event.metadata.as_ref().map(Json::as_str);
            for text in [event.payload.as_str()].into_iter().chain(metadata) {
                // The driver could not even send the others; they are refused elsewhere.
                if !text.contains('\0') {
                    texts.push(text);
                    owners.push(index);
                }
            }
        }
    }
    let statement = sqlx::query_scalar(sql.not_json.clone()).bind(&texts);
    let found: Vec<i64> = statement.fetch_one(connection).await?;
    let place = |place: &i64| usize::try_from(*place - 1).ok();
    Ok(found.iter().filter_map(place).filter_map(|place| owners.get(place)).copied().collect())
}
