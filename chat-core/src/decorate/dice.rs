//! Randomness that follows from a seed, for whoever must decide without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014), shared between tasks: the numbers are those of the seed,
/// who draws which is up to the schedule.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero if that is zero.
    pub(crate) fn below(&self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// Whether something with this probability happens.
    pub(crate) fn happens(&self, rate: f64) -> bool {
        // The upper 53 bits make every number in 0..1 that an f64 can tell apart there.
        const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
        rate > 0.0 && ((self.next() >> 11) as f64) * SCALE < rate
    }

    /// A time from `least` to `most`.
    pub(crate) fn between(&self, least: Duration, most: Duration) -> Duration {
        const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
        let share = ((self.next() >> 11) as f64) * SCALE;
        least + most.saturating_sub(least).mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_from_their_seed_and_keep_their_bounds() {
        let (one, two) = (Dice::new(7), Dice::new(7));
        let mut happened = 0;
        for _ in 0..10_000 {
            assert_eq!(one.next(), two.next());
            assert!(one.below(3) == two.below(3) && two.below(1) == one.below(1));
            let (least, most) = (Duration::from_millis(5), Duration::from_millis(9));
            let wait = one.between(least, most);
            assert!(wait >= least && wait <= most && wait == two.between(least, most));
            assert_eq!(one.below(0), two.below(0));
            let happens = one.happens(0.25);
            assert_eq!(happens, two.happens(0.25));
            happened += u32::from(happens);
        }
        assert!((2_200..2_800).contains(&happened), "{happened}");
        assert!(!one.happens(0.0) && one.happens(1.0));
    }
}
