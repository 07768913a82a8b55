//! How failures are counted, and how long the next attempt waits for them. Pure.
//!
//! `10 in 10m` lets ten failures pass at once; after each further one the wait doubles, from a second up
//! to ten minutes. While nobody fails, one failure a minute is forgotten. Invariant: no wait is longer than
//! the longest of its limit, whatever the clock did.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::login::Rate;

/// How many failures are free, and how long one waits at most after more of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) rate: Rate,
    pub(super) longest: Duration,
}

impl Limit {
    /// Whoever fails too often waits no longer than it takes to forget everything.
    pub(super) const fn of(rate: Rate) -> Self {
        Self { rate, longest: rate.period }
    }

    /// Ten times as many failures in ten times the time, and no longer wait.
    pub(super) const fn tenfold(rate: Rate) -> Self {
        let many = Rate { count: rate.count.saturating_mul(10), period: rate.period.saturating_mul(10) };
        Self { rate: many, longest: rate.period }
    }
}

/// What is known of one account, address or device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meter {
    pub(super) failures: u32,
    /// Until then nothing is looked at; since then failures are forgotten.
    pub(super) until: Timestamp,
}

impl Meter {
    /// How long the next attempt waits; zero if it does not.
    ///
    /// Few failures make nobody wait, also where the clock of another gateway, which counted them, is ahead.
    pub(super) fn wait(self, limit: Limit, now: Timestamp) -> Duration {
        if self.failures < limit.rate.count.max(1) {
            return Duration::ZERO;
        }
        self.until.since(now).min(limit.longest)
    }

    /// After one more attempt that is taken for a failure until it succeeds.
    pub(super) fn after_one(self, limit: Limit, now: Timestamp) -> Self {
        let failures = self.failures_at(limit.rate, now).saturating_add(1);
        Self { failures, until: now + delay(limit, failures) }
    }

    /// After an attempt was no failure after all.
    pub(super) fn without_one(self, now: Timestamp) -> Self {
        Self { failures: self.failures.saturating_sub(1), until: self.until.min(now) }
    }

    fn failures_at(self, rate: Rate, now: Timestamp) -> u32 {
        let step = rate.period.as_millis() / u128::from(rate.count.max(1));
        let quiet = now.since(self.until).as_millis() / step.max(1);
        self.failures.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX))
    }
}

/// Exponential rather than a lockout: whoever mistyped eleven times comes in after a second.
fn delay(limit: Limit, failures: u32) -> Duration {
    let Some(beyond) = failures.checked_sub(limit.rate.count.max(1)) else { return Duration::ZERO };
    FIRST.saturating_mul(1 << beyond.min(30)).min(limit.longest)
}

/// What an attempt waits after the first failure that is one too many.
const FIRST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { count: 3, period: Duration::from_mins(3) };
    const LIMIT: Limit = Limit::of(RATE);
    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    #[test]
    fn few_failures_make_nobody_wait_whose_clock_is_behind() {
        let counted_ahead = Meter::default().after_one(LIMIT, NOW + Duration::from_secs(5));
        assert_eq!(counted_ahead.wait(LIMIT, NOW), Duration::ZERO);
        assert_eq!(counted_ahead.after_one(LIMIT, NOW).failures, 2);
    }

    fn after(failures: usize) -> Meter {
        (0..failures).fold(Meter::default(), |meter, _| {
            let at = NOW.max(meter.until);
            meter.after_one(LIMIT, at)
        })
    }

    #[test]
    fn the_wait_doubles_with_each_failure_beyond_those_that_are_free() {
        let waits: Vec<u64> = (1..13)
            .map(|failures| {
                let before = after(failures - 1);
                let at = NOW.max(before.until);
                before.after_one(LIMIT, at).wait(LIMIT, at).as_secs()
            })
            .collect();
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 180, 180]);
    }

    #[test]
    fn failures_are_forgotten_one_by_one_while_nobody_fails() {
        let meter = after(3);
        let minute = |count| meter.until + Duration::from_mins(count);
        assert_eq!(meter.failures_at(RATE, meter.until), 3);
        assert_eq!(meter.failures_at(RATE, minute(1)), 2);
        assert_eq!(meter.failures_at(RATE, minute(3)), 0);
        assert_eq!(meter.failures_at(RATE, minute(1_000_000)), 0);
    }

    #[test]
    fn whoever_waits_and_fails_again_and_again_is_never_faster_than_the_period() {
        let mut meter = after(20);
        for _ in 0..100 {
            let next = meter.after_one(LIMIT, meter.until);
            assert_eq!(next.until.since(meter.until), RATE.period);
            meter = next;
        }
    }

    #[test]
    fn a_wider_limit_lets_nobody_wait_longer() {
        let wide = Limit::tenfold(RATE);
        let meter = (0..60).fold(Meter::default(), |meter, _| meter.after_one(wide, NOW.max(meter.until)));
        assert_eq!(meter.wait(wide, meter.until - RATE.period), RATE.period);
        assert_eq!(meter.wait(wide, Timestamp::default()), RATE.period);
    }

    #[test]
    fn a_clock_set_back_makes_nobody_wait_longer_than_the_period() {
        assert_eq!(after(20).wait(LIMIT, Timestamp::default()), RATE.period);
    }

    #[test]
    fn an_attempt_that_was_no_failure_leaves_no_wait() {
        let meter = after(2).after_one(LIMIT, NOW).without_one(NOW);
        assert_eq!((meter.failures, meter.wait(LIMIT, NOW)), (2, Duration::ZERO));
    }
}
