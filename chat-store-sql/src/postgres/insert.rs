//! The events of a group as the columns that one statement inserts.

use chat_core::ports::{Append, StoreError, StreamWrite};
use chat_core::{Json, NewEvent};
use sqlx::SqlStr;
use uuid::Uuid;

use super::connection::PgQuery;
use super::sql::Sql;

/// Columns of equal length, borrowed from the appends.
#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    streams: Vec<&'a str>,
    versions: Vec<i64>,
    ids: Vec<Uuid>,
    types: Vec<&'a str>,
    schemas: Vec<i32>,
    times: Vec<i64>,
    payloads: Vec<&'a str>,
    /// Empty if no event has any: the database fills up with nulls.
    metadata: Vec<Option<&'a str>>,
}

impl<'a> Rows<'a> {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds the events of a write behind this version of its stream.
    pub(super) fn push(&mut self, write: &'a StreamWrite, mut version: i64) {
        for event in &write.events {
            version += 1;
            self.streams.push(write.stream.as_str());
            self.versions.push(version);
            self.push_event(event);
        }
    }

    fn push_event(&mut self, event: &'a NewEvent) {
        if let Some(metadata) = &event.metadata {
            self.metadata.resize(self.ids.len(), None);
            self.metadata.push(Some(metadata.as_str()));
        }
        self.ids.push(event.id.0);
        self.types.push(event.event_type.as_str());
        self.schemas.push(event.schema_version.into());
        self.times.push(event.recorded_at.0.cast_signed());
        self.payloads.push(event.payload.as_str());
    }

    pub(super) fn ids(&self) -> &[Uuid] {
        &self.ids
    }

    fn only_one(&self) -> Option<Row<'_>> {
        let (&[stream], &[version], &[id], &[event_type], &[schema], &[time], &[payload]) = (
            &*self.streams,
            &*self.versions,
            &*self.ids,
            &*self.types,
            &*self.schemas,
            &*self.times,
            &*self.payloads,
        ) else {
            return None;
        };
        let metadata = self.metadata.first().copied().flatten();
        Some(Row { stream, version, id, event_type, schema, time, payload, metadata })
    }
}

/// The columns of one event.
#[derive(Debug)]
struct Row<'a> {
    stream: &'a str,
    version: i64,
    id: Uuid,
    event_type: &'a str,
    schema: i32,
    time: i64,
    payload: &'a str,
    metadata: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn bind<'q>(self, query: PgQuery<'q>) -> PgQuery<'q>
    where
        'a: 'q,
    {
        query
            .bind(self.stream)
            .bind(self.version)
            .bind(self.id)
            .bind(self.event_type)
            .bind(self.schema)
            .bind(self.time)
            .bind(self.payload)
            .bind(self.metadata)
    }
}

/// What the writer says to the database about a group; see the function in the migrations.
#[derive(Debug, Default)]
pub(super) struct Claims<'a> {
    pub(super) known: i64,
    pub(super) streams: Vec<&'a str>,
    pub(super) heads: Vec<i64>,
    pub(super) sure: Vec<bool>,
    pub(super) suspects: Vec<Uuid>,
}

/// The statement that inserts rows under claims. Borrows for as long as it runs.
pub(super) fn append<'q>(sql: &SqlStr, claims: &'q Claims<'_>, rows: &'q Rows<'_>) -> PgQuery<'q> {
    let query = sqlx::query(sql.clone())
        .bind(claims.known)
        .bind(&claims.streams)
        .bind(&claims.heads)
        .bind(&claims.sure)
        .bind(&claims.suspects);
    bind(query, rows)
}

/// The statement that inserts rows behind a position, if that is the last one. Borrows for as long
/// as it runs.
pub(super) fn insert<'q>(sql: &Sql, known: i64, rows: &'q Rows<'_>) -> PgQuery<'q> {
    rows.only_one().map_or_else(
        || bind(sqlx::query(sql.insert.clone()).bind(known), rows),
        // A row by itself takes the server a tenth less time.
        |row| row.bind(sqlx::query(sql.insert_one.clone()).bind(known)),
    )
}

fn bind<'q>(query: PgQuery<'q>, rows: &'q Rows<'_>) -> PgQuery<'q> {
    query
        .bind(&rows.streams)
        .bind(&rows.versions)
        .bind(&rows.ids)
        .bind(&rows.types)
        .bind(&rows.schemas)
        .bind(&rows.times)
        .bind(&rows.payloads)
        .bind(&rows.metadata)
}

/// Refuses what no column can hold. The database itself says whether text is JSON.
pub(super) fn check(append: &Append) -> Result<(), StoreError> {
    for event in append.writes().iter().flat_map(|write| &write.events) {
        let id = event.id;
        if i64::try_from(event.recorded_at.0).is_err() {
            let what = format!("the time of event {id} is above {}", i64::MAX);
            return Err(StoreError::Invalid { what });
        }
        let texts = [event.event_type.as_str(), event.payload.as_str()];
        let metadata = event.metadata.as_ref().map(Json::as_str);
        if texts.into_iter().chain(metadata).any(|text| text.contains('\0')) {
            let what = format!("event {id} holds the character NUL, which PostgreSQL cannot store");
            return Err(StoreError::Invalid { what });
        }
    }
    Ok(())
}
