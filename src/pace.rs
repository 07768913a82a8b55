//! How much passes while a client is waited for: what makes slow clients bearable, and too slow ones known.
//!
//! Only waiting counts: whoever has nothing to send or to take is not slow, and a backend that takes its
//! time is not held against the client. Leaves the ending of what is too slow to others. Invariant: the
//! clock is read when a wait begins and when it ends, and not at all while bytes flow.

use std::time::Duration;

use crate::clock::Stopwatch;

/// What must pass at least while a client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeastPace {
    window: Duration,
    bytes: u64,
}

impl LeastPace {
    /// On average `rate` bytes a second over each `window` of waiting; 0 asks for nothing.
    #[must_use]
    pub fn new(rate: u64, window: Duration) -> Self {
        let bytes = u128::from(rate).saturating_mul(window.as_millis()) / 1000;
        Self { window, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
    }

    /// How long is waited before anybody is found too slow.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }
}

/// How one client keeps up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    wait: Option<Stopwatch>,
    /// The length of all waits that are over.
    waited: Duration,
    /// How much of all waiting belongs to windows that are over.
    judged: Duration,
    /// What passed in the window.
    bytes: u64,
}

impl Pace {
    /// From now on the client is waited for, if it was not before.
    pub fn wait(&mut self) {
        if self.wait.is_some() {
            return;
        }
        // What passed while nobody waited says nothing of what comes.
        if self.waited == self.judged {
            self.bytes = 0;
        }
        self.wait = Some(Stopwatch::start());
    }

    /// The client did something: the wait, if there is one, is over.
    pub fn go_on(&mut self) {
        if let Some(wait) = self.wait.take() {
            self.waited += wait.elapsed();
        }
    }

    /// So many bytes passed.
    pub const fn passed(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The wait that is under way.
    #[must_use]
    pub const fn current_wait(&self) -> Option<Stopwatch> {
        self.wait
    }

    /// How long the client may be waited for before it is worth another look; an error if too little passed.
    pub fn check(&mut self, least: &LeastPace) -> Result<Duration, TooSlow> {
        self.judge(self.waited + self.wait.map_or(Duration::ZERO, Stopwatch::elapsed), least)
    }

    fn judge(&mut self, waited: Duration, least: &LeastPace) -> Result<Duration, TooSlow> {
        let window = waited.saturating_sub(self.judged);
        if let Some(left) = least.window.checked_sub(window).filter(|left| !left.is_zero()) {
            return Ok(left);
        }
        if self.bytes < least.bytes {
            return Err(TooSlow);
        }
        self.judged = waited;
        self.bytes = 0;
        Ok(least.window)
    }
}

/// Less than the least passed over a whole window of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is slower than `server.limits.min_rate`")]
pub struct TooSlow;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    /// Looks after each second of waiting, in which so many bytes passed.
    fn seconds(bytes_each: &[u64], rate: u64) -> Option<usize> {
        let least = LeastPace::new(rate, WINDOW);
        let mut pace = Pace::default();
        bytes_each.iter().position(|&bytes| {
            pace.passed(bytes);
            pace.waited += Duration::from_secs(1);
            pace.judge(pace.waited, &least).is_err()
        })
    }

    #[test]
    fn nobody_is_too_slow_before_a_window_is_over() {
        assert_eq!(seconds(&[0; 9], 1), None);
        assert_eq!(seconds(&[0; 10], 1), Some(9));
        assert_eq!(seconds(&[9; 10], 10), Some(9));
        assert_eq!(seconds(&[10; 100], 10), None);
    }

    #[test]
    fn a_good_window_does_not_pay_for_the_next() {
        let bytes = [&[1_000_000; 10][..], &[1; 20]].concat();
        assert_eq!(seconds(&bytes, 10), Some(19));
    }

    #[test]
    fn what_passed_before_anybody_waited_does_not_count() {
        let mut pace = Pace::default();
        pace.passed(1_000_000);
        pace.wait();
        assert_eq!(pace.judge(WINDOW, &LeastPace::new(1, WINDOW)), Err(TooSlow));
    }

    #[test]
    fn time_without_a_wait_is_no_time() {
        let mut pace = Pace::default();
        pace.go_on();
        let left = pace.check(&LeastPace::new(1, Duration::from_nanos(1)));
        assert_eq!((left, pace.current_wait().is_none()), (Ok(Duration::from_nanos(1)), true));
    }

    proptest! {
        #[test]
        fn who_keeps_the_rate_in_each_second_is_never_too_slow(rate in 0_u64..1000, extra: [u16; 32]) {
            prop_assert_eq!(seconds(&extra.map(|extra| rate + u64::from(extra)), rate), None);
        }
    }
}
