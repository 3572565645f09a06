//! Hands work from async callers to threads. Bounded: who finds it full waits for room.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chat_core::ports::StoreError;
use tokio::sync::Semaphore;

/// A queue between tasks and threads.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    room: Semaphore,
    capacity: u32,
}

struct State<T> {
    items: VecDeque<(T, u32)>,
    sleepers: usize,
    closed: bool,
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.lock().items.len()).finish_non_exhaustive()
    }
}

impl<T> Queue<T> {
    /// A queue that takes items up to this much weight.
    pub(super) fn new(capacity: u32) -> Self {
        let state = State { items: VecDeque::new(), sleepers: 0, closed: false };
        let room = Semaphore::new(usize::try_from(capacity).unwrap_or(usize::MAX));
        Self { state: Mutex::new(state), arrived: Condvar::new(), room, capacity }
    }

    /// Puts an item at the end; waits while there is no room. An item heavier than the whole queue
    /// waits until the queue is empty.
    ///
    /// Cancel safe: the item is queued as a whole in the last step, or not at all.
    pub(super) async fn push(&self, item: T, weight: u32) -> Result<(), StoreError> {
        let weight = weight.min(self.capacity);
        let permit = self.room.acquire_many(weight).await.map_err(|_| StoreError::Closed)?;
        let wake = {
            let mut state = self.lock();
            if state.closed {
                return Err(StoreError::Closed);
            }
            permit.forget();
            state.items.push_back((item, weight));
            state.sleepers > 0
        };
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for an item and takes it. `None` once the queue is closed and empty.
    pub(super) fn take(&self) -> Option<T> {
        let (item, weight) = self.wait().items.pop_front()?;
        self.give_back(weight);
        Some(item)
    }

    /// Waits for an item, takes it whatever `more` says, and takes all that wait behind it for as
    /// long as `more` agrees. Returns `false` once the queue is closed and empty.
    pub(super) fn take_batch(&self, into: &mut Vec<T>, mut more: impl FnMut(&T) -> bool) -> bool {
        let mut weights = 0;
        {
            let mut state = self.wait();
            while let Some((item, weight)) =
                state.items.pop_front_if(|(item, _)| more(item) || into.is_empty())
            {
                weights += weight;
                into.push(item);
            }
        }
        self.give_back(weights);
        !into.is_empty()
    }

    /// How many items wait.
    pub(super) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Gives others the chance to bring items until this many wait, for a moment at most. Does not
    /// sleep: a thread that sleeps is woken later than the moment lasts.
    pub(super) fn gather(&self, hoped: usize, moment: Duration) {
        let start = Instant::now();
        while self.len() < hoped && start.elapsed() < moment {
            thread::yield_now();
        }
    }

    /// Refuses new items. Those that are queued are still taken.
    pub(super) fn close(&self) {
        self.room.close();
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Refuses new items and drops those that are queued.
    pub(super) fn abandon(&self) {
        self.close();
        let abandoned = std::mem::take(&mut self.lock().items);
        drop(abandoned);
    }

    /// The state, once there is an item or none will come.
    fn wait(&self) -> MutexGuard<'_, State<T>> {
        let mut state = self.lock();
        while state.items.is_empty() && !state.closed {
            state.sleepers += 1;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleepers -= 1;
        }
        state
    }

    fn give_back(&self, weight: u32) {
        self.room.add_permits(usize::try_from(weight).unwrap_or_default());
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn a_full_queue_lets_wait_and_a_taken_item_makes_room() {
        let queue = Queue::new(3);
        queue.push(1, 2).now_or_never().unwrap().unwrap();
        assert!(queue.push(2, 2).now_or_never().is_none());
        assert_eq!(queue.take(), Some(1));
        queue.push(2, 100).now_or_never().unwrap().unwrap();
        assert!(queue.push(3, 1).now_or_never().is_none());
        assert_eq!(queue.take(), Some(2));
    }

    #[test]
    fn a_batch_ends_where_it_is_told_and_the_rest_stays() {
        let queue = Queue::new(10);
        for item in 1..=5 {
            queue.push(item, 1).now_or_never().unwrap().unwrap();
        }
        let mut batch = Vec::new();
        assert!(queue.take_batch(&mut batch, |item| *item != 4));
        assert_eq!(batch, [1, 2, 3]);
        batch.clear();
        assert!(queue.take_batch(&mut batch, |_| true));
        assert_eq!(batch, [4, 5]);
    }

    #[test]
    fn a_closed_queue_refuses_new_items_and_gives_out_the_old_ones() {
        let queue = Queue::new(10);
        queue.push(1, 1).now_or_never().unwrap().unwrap();
        queue.close();
        let refused = queue.push(2, 1).now_or_never().unwrap();
        assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
        assert_eq!((queue.take(), queue.take()), (Some(1), None));
        assert!(!queue.take_batch(&mut Vec::new(), |_| true));
    }
}
