//! The memory store, beside plain maps under a lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use chat_core::NewEvent;
use uuid::Uuid;

use super::rows::Pace;
use super::{Ceiling, Goals, Kind, Role, STREAMS, Subject};
use crate::load::Load;

pub(super) const MEMORY: Subject = Subject {
    name: "memory",
    loses: "everything, when the process ends",
    kind: Kind::Memory,
    parameters: "",
    ceilings: &[
        Ceiling {
            role: Role::Batched,
            what: "a vector for each stream and a map of ids under one mutex, 1,000 events at a time",
            run: |_, time| Box::pin(async move { plain_maps(time, 1_000).await }),
        },
        Ceiling {
            role: Role::Single,
            what: "the same, one event at a time",
            run: |_, time| Box::pin(async move { plain_maps(time, 1).await }),
        },
    ],
    wants_group_commit: true,
    first: true,
    goals: Goals::NONE,
    plain_read: None,
    space: None,
};

#[derive(Debug)]
struct Plain {
    streams: Vec<Vec<Arc<NewEvent>>>,
    ids: HashMap<Uuid, (usize, usize)>,
}

async fn plain_maps(time: Duration, batch: usize) -> Result<f64> {
    tokio::task::spawn_blocking(move || {
        let load = Load::new();
        let plain = Mutex::new(Plain { streams: vec![Vec::new(); STREAMS], ids: HashMap::new() });
        let (mut pace, mut written) = (Pace::alone(time), 0);
        while pace.goes_on(written) {
            let events: Vec<_> = (0..batch).map(|_| load.event()).collect();
            let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
            let Plain { streams, ids } = &mut *plain;
            for event in events {
                let stream = written % STREAMS;
                let Some(events) = streams.get_mut(stream) else { continue };
                if ids.insert(event.id.0, (stream, events.len())).is_none() {
                    events.push(Arc::new(event));
                    written += 1;
                }
            }
        }
        Ok(pace.rate(written))
    })
    .await?
}
