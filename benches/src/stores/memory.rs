//! The memory store, beside plain maps under a lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use async_trait::async_trait;
use chat_core::NewEvent;
use chat_core::memory::{MemoryEventStore, MemoryViewStore};
use chat_core::ports::{EventStore, ViewStore};
use uuid::Uuid;

use super::{Ceiling, Database, Role, STREAMS, Subject};
use crate::load::Load;

pub(super) const MEMORY: Subject = Subject {
    name: "memory",
    loses: "everything, when the process ends",
    open: |_| Box::pin(async { Ok(Box::new(Memory::default()) as Box<dyn Database>) }),
    ceilings: &[
        Ceiling {
            role: Role::Batched,
            what: "a vector for each stream and a map of ids under one mutex, 1,000 events at a time",
            run: |_, time| plain_maps(time, 1_000),
        },
        Ceiling {
            role: Role::Single,
            what: "the same, one event at a time",
            run: |_, time| plain_maps(time, 1),
        },
    ],
    wants_group_commit: true,
    has_goals: false,
};

#[derive(Debug, Default)]
struct Memory {
    events: Arc<MemoryEventStore>,
    views: Arc<MemoryViewStore>,
}

#[async_trait]
impl Database for Memory {
    fn events(&self) -> Arc<dyn EventStore> {
        Arc::<MemoryEventStore>::clone(&self.events)
    }

    fn views(&self) -> Arc<dyn ViewStore> {
        Arc::<MemoryViewStore>::clone(&self.views)
    }

    async fn restart(&mut self) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) {}
}

#[derive(Debug)]
struct Plain {
    streams: Vec<Vec<Arc<NewEvent>>>,
    ids: HashMap<Uuid, (usize, usize)>,
}

fn plain_maps(time: Duration, batch: usize) -> Result<f64> {
    let load = Load::new();
    let plain = Mutex::new(Plain { streams: vec![Vec::new(); STREAMS], ids: HashMap::new() });
    let start = Instant::now();
    let mut written = 0;
    while written == 0 || start.elapsed() < time {
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
    Ok(written as f64 / start.elapsed().as_secs_f64())
}
