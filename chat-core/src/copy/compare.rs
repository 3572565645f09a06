//! Compares events of one stream with what another store holds in their place.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{CopyError, Difference};
use crate::event::{NewEvent, RecordedEvent};
use crate::id::{Position, StreamId, Version};
use crate::ports::{Direction, EventStore, PageLimit};

/// Makes sure that the target holds these events of one stream, given in the order of their
/// versions, without a hole; and where in its log.
pub(super) async fn same(
    target: &dyn EventStore,
    events: &[Arc<RecordedEvent>],
) -> Result<Vec<Position>, CopyError> {
    let mut positions = Vec::with_capacity(events.len());
    while let Some(rest) = events.get(positions.len()..)
        && let Some(first) = rest.first()
    {
        let from = Version(first.version.0.saturating_sub(1));
        let limit = PageLimit::events(rest.len());
        let page = target.read_stream(&first.stream, Direction::Forward, from, limit).await;
        let page = page.map_err(CopyError::Target)?;
        if page.events.is_empty() {
            let (stream, version) = (first.stream.clone(), first.version);
            return Err(Difference::Missing { stream, version }.into());
        }
        for (ours, theirs) in rest.iter().zip(&page.events) {
            same_event(ours, theirs)?;
            positions.push(theirs.position);
        }
    }
    Ok(positions)
}

fn same_event(ours: &RecordedEvent, theirs: &RecordedEvent) -> Result<(), Difference> {
    let (stream, version) = (ours.stream.clone(), ours.version);
    if theirs.stream != stream || theirs.version != version {
        return Err(Difference::Missing { stream, version });
    }
    let (ours, theirs) = (&ours.event, &theirs.event);
    if ours.id != theirs.id {
        let (expected, found) = (ours.id, theirs.id);
        return Err(Difference::OtherEvent { stream, version, expected, found });
    }
    match other_part(ours, theirs) {
        None => Ok(()),
        Some(part) => Err(Difference::OtherContent { stream, version, part }),
    }
}

fn other_part(ours: &NewEvent, theirs: &NewEvent) -> Option<&'static str> {
    // Named one by one, so that a new field is not forgotten here.
    let NewEvent { id: _, event_type, schema_version, recorded_at, payload, metadata } = ours;
    let parts = [
        ("type", *event_type == theirs.event_type),
        ("schema version", *schema_version == theirs.schema_version),
        ("time", *recorded_at == theirs.recorded_at),
        ("payload", *payload == theirs.payload),
        ("metadata", *metadata == theirs.metadata),
    ];
    parts.into_iter().find(|(_, same)| !same).map(|(part, _)| part)
}

/// The events of a page by stream, each stream's in their order; streams in the order of their
/// first event.
pub(super) fn by_stream(events: &[Arc<RecordedEvent>]) -> Vec<Vec<Arc<RecordedEvent>>> {
    let mut index: HashMap<&StreamId, usize> = HashMap::new();
    let mut streams: Vec<Vec<Arc<RecordedEvent>>> = Vec::new();
    for event in events {
        let at = *index.entry(&event.stream).or_insert(streams.len());
        match streams.get_mut(at) {
            Some(stream) => stream.push(Arc::clone(event)),
            None => streams.push(vec![Arc::clone(event)]),
        }
    }
    streams
}
