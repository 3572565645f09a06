//! When a call is repeated, and after which wait. No I/O; the time is given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_core::Timestamp;
use chat_core::ports::LlmError;
use reqwest::header::HeaderMap;

use crate::config::Retries;

/// Why an attempt failed, and what the provider says about trying again.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: LlmError,
    /// `x-should-retry`, which stands above every other rule.
    pub(crate) should_retry: Option<bool>,
}

impl From<LlmError> for Failure {
    fn from(error: LlmError) -> Self {
        Self { error, should_retry: None }
    }
}

/// Decides about repetitions; the jitter follows from a seed.
#[derive(Debug)]
pub(crate) struct Retrier {
    limits: Retries,
    jitter: AtomicU64,
}

impl Retrier {
    pub(crate) fn new(limits: Retries) -> Self {
        let seed = limits.jitter_seed.unwrap_or_else(fresh_seed);
        Self { limits, jitter: AtomicU64::new(seed) }
    }

    /// How long to wait before the next attempt, `done` of which have failed; `None` to give up.
    pub(crate) fn wait(&self, failure: &Failure, done: u32) -> Option<Duration> {
        if done > self.limits.most || !failure.should_retry.unwrap_or(failure.error.is_retryable())
        {
            return None;
        }
        match failure.error.retry_after.filter(|asked| !asked.is_zero()) {
            Some(asked) if asked > self.limits.longest_asked_wait => None,
            Some(asked) => Some(asked),
            None => Some(self.backoff(done)),
        }
    }

    /// Doubles with each attempt; up to a quarter is taken off, so that clients part.
    fn backoff(&self, done: u32) -> Duration {
        let factor = 2_u32.saturating_pow(done.saturating_sub(1));
        let wait = self.limits.first_wait.saturating_mul(factor).min(self.limits.longest_wait);
        wait.saturating_sub(wait / 4 * u32::from(self.next_byte()) / 255)
    }

    fn next_byte(&self) -> u8 {
        // SplitMix64 (Steele, Lea, Flood 2014); its lowest byte is as good as any.
        let state = self.jitter.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).to_le_bytes()[0]
    }
}

/// `x-should-retry: true` or `false`.
pub(crate) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    header(headers, "x-should-retry")?.parse().ok()
}

/// The wait that the headers ask for: `retry-after-ms`, else `retry-after` in seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let millis = header(headers, "retry-after-ms").and_then(|millis| millis.parse::<f64>().ok());
    if let Some(wait) = millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok())
    {
        return Some(wait);
    }
    let after = header(headers, "retry-after")?;
    if let Ok(seconds) = after.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = httpdate::parse_http_date(after).ok()?;
    // The provider's own clock, if it tells it: ours may be wrong.
    let now = header(headers, "date")
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .or_else(|| UNIX_EPOCH.checked_add(Duration::from_millis(now.0)))?;
    Some(until.duration_since(now).unwrap_or_default())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Something that differs between processes and backends: a hash map's keys do.
fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(SystemTime::UNIX_EPOCH)
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use chat_core::ports::LlmErrorKind;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_wait_is_read_in_every_form() {
        let millis = |pairs| retry_after(&headers(pairs), Timestamp(1_000)).map(|w| w.as_millis());
        assert_eq!(millis(&[("retry-after-ms", "250.5"), ("retry-after", "9")]), Some(250));
        assert_eq!(millis(&[("retry-after", "2")]), Some(2000));
        assert_eq!(millis(&[("retry-after", "0.25")]), Some(250));
        assert_eq!(millis(&[("retry-after", "Thu, 01 Jan 1970 00:00:31 GMT")]), Some(30_000));
        let dated = [
            ("retry-after", "Fri, 07 Mar 2025 10:00:09 GMT"),
            ("date", "Fri, 07 Mar 2025 10:00:02 GMT"),
        ];
        assert_eq!(millis(&dated), Some(7000));
        assert_eq!(millis(&[("retry-after-ms", "soon"), ("retry-after", "3")]), Some(3000));
        for odd in ["-1", "NaN", "inf", "soon", "1e300"] {
            assert_eq!(retry_after(&headers(&[("retry-after", odd)]), Timestamp(0)), None, "{odd}");
        }
        assert_eq!(millis(&[]), None);
    }

    fn failure(kind: LlmErrorKind) -> Failure {
        LlmError::new(kind, "").into()
    }

    #[test]
    fn waits_double_up_to_the_limit_and_repeat_from_their_seed() {
        let limits = Retries { most: 9, jitter_seed: Some(7), ..Retries::default() };
        let waits = |limits: &Retries| -> Vec<Duration> {
            let retrier = Retrier::new(limits.clone());
            let wait = |done| retrier.wait(&failure(LlmErrorKind::Server), done).unwrap();
            (1..=9).map(wait).collect()
        };
        let first = waits(&limits);
        for (number, wait) in (0..).zip(&first) {
            let full = Duration::from_millis(500 * 2_u64.pow(number)).min(Duration::from_secs(8));
            assert!(*wait <= full && *wait >= full * 3 / 4, "{number}: {wait:?} of {full:?}");
        }
        assert_eq!(first, waits(&limits));
        assert_ne!(first, waits(&Retries { jitter_seed: Some(8), ..limits }));
    }

    #[test]
    fn the_provider_decides_whether_and_when() {
        let retrier = Retrier::new(Retries::default());
        let asked = |seconds, done| {
            let error = LlmError::new(LlmErrorKind::RateLimited, "");
            let error = error.with_retry_after(Some(Duration::from_secs(seconds)));
            retrier.wait(&error.into(), done)
        };
        assert_eq!(asked(120, 1), Some(Duration::from_secs(120)));
        assert_eq!(asked(121, 1), None);
        assert_eq!(asked(1, 3), None);
        assert!(asked(0, 1).unwrap() <= Duration::from_millis(500));

        assert_eq!(retrier.wait(&failure(LlmErrorKind::QuotaExhausted), 1), None);
        let told = |kind, told| Failure { should_retry: Some(told), ..failure(kind) };
        assert_eq!(retrier.wait(&told(LlmErrorKind::Server, false), 1), None);
        assert!(retrier.wait(&told(LlmErrorKind::InvalidRequest, true), 1).is_some());
    }
}
