//! Brakes tries by key, in memory of a fixed size: keys share slots by a seeded hash, so nobody can
//! make it grow, and nobody can choose whose slot to share.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const SLOTS: usize = 16_384;

/// Lets `burst` tries through at once for each key, and one more after each `every`.
#[derive(Debug)]
pub(crate) struct Throttle {
    burst: u32,
    every: Duration,
    started: Instant,
    hasher: RandomState,
    /// For each slot: when the tries so far will have been paid off.
    paid: Mutex<Box<[Duration]>>,
}

impl Throttle {
    pub(crate) fn new(burst: u32, every: Duration) -> Self {
        Self {
            burst,
            every,
            started: Instant::now(),
            hasher: RandomState::new(),
            paid: Mutex::new(vec![Duration::ZERO; SLOTS].into()),
        }
    }

    /// Takes one try of the key, or says how long to wait.
    pub(crate) fn take(&self, key: impl Hash) -> Result<(), Duration> {
        let now = self.started.elapsed();
        let slot = usize::try_from(self.hasher.hash_one(key) % SLOTS as u64).unwrap_or(0);
        let mut slots = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(paid) = slots.get_mut(slot) else {
            return Ok(());
        };
        let after = (*paid).max(now) + self.every;
        let most = now + self.every * self.burst;
        if after > most {
            return Err(after - most);
        }
        *paid = after;
        Ok(())
    }
}

/// What counts as one visitor: an IPv4 address, or the /64 that one household or host gets.
pub(crate) fn visitor(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_one_per_interval() {
        let throttle = Throttle::new(3, Duration::from_secs(10));
        for _ in 0..3 {
            assert_eq!(throttle.take("ann"), Ok(()));
        }
        assert_eq!(throttle.take("ann"), Err(Duration::from_secs(10)));
        // A few of many others may share the slot.
        assert!((0..100).filter(|other| throttle.take(other).is_ok()).count() >= 98);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(throttle.take("ann"), Ok(()));
        assert!(throttle.take("ann").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_try_costs_nothing() {
        let throttle = Throttle::new(1, Duration::from_secs(10));
        assert_eq!(throttle.take(1), Ok(()));
        for _ in 0..1_000 {
            assert_eq!(throttle.take(1), Err(Duration::from_secs(10)));
        }
    }

    #[test]
    fn a_household_is_one_visitor() {
        let visitor = |text: &str| visitor(text.parse().unwrap());
        assert_eq!(visitor("2001:db8::1"), visitor("2001:db8::ffff"));
        assert_ne!(visitor("2001:db8::1"), visitor("2001:db8:0:1::1"));
        assert_eq!(visitor("::ffff:192.0.2.1"), visitor("192.0.2.1"));
    }
}
