//! What is known of one server's health, from requests that failed and from checks.
//!
//! A server that cannot be reached, or that gives no answer several times in a row, is left alone for a
//! while that doubles each time, and then gets its share back little by little. Times are milliseconds
//! on a clock of the upstream. Invariants: only atomics; a server that never failed costs a request one
//! load of one of them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::affinity::Affinity;

/// The health of one server, shared by all workers.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Anything below was touched since the server was last known to be well.
    is_doubtful: AtomicBool,
    /// It was told to the log that the server is down.
    is_down: AtomicBool,
    /// The checks say so.
    is_sick: AtomicBool,
    /// Requests without an answer since the last one with.
    silences: AtomicU32,
    /// Times that it was left alone since it was last known to be well.
    absences: AtomicU32,
    /// Until when it is left alone; its share grows from then on.
    out_until: AtomicU64,
    failed_at: AtomicU64,
}

/// How a request failed at a server, by the server's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no connection: nothing was sent.
    Unreachable,
    /// It broke off, or did not answer in time.
    Silent,
}

/// What a person who watches the gateway is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Down,
    Up,
}

impl Health {
    /// Notes that a request failed.
    pub(super) fn failed(&self, failure: Failure, now: u64) -> Option<Change> {
        self.is_doubtful.store(true, Ordering::Relaxed);
        self.failed_at.store(now.max(1), Ordering::Relaxed);
        let silences = self.silences.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // One slow page says little; a closed door says all.
        if failure == Failure::Silent && silences < SILENCES {
            return None;
        }
        // Requests that were under way when it was left alone do not lengthen that.
        if now >= self.out_until.load(Ordering::Relaxed) {
            let absences = self.absences.fetch_add(1, Ordering::Relaxed);
            let time = (SHORTEST << absences.min(DOUBLINGS)).min(LONGEST);
            self.out_until.store(now.saturating_add(time), Ordering::Relaxed);
        }
        self.tell_down()
    }

    /// Notes that a request was answered, with whatever status; `now` is asked only when it matters.
    pub(super) fn answered(&self, now: impl FnOnce() -> u64) -> Option<Change> {
        if !self.is_doubtful.load(Ordering::Relaxed) {
            return None;
        }
        self.silences.store(0, Ordering::Relaxed);
        let is_sick = self.is_sick.load(Ordering::Relaxed);
        if !is_sick && now() >= self.out_until.load(Ordering::Relaxed).saturating_add(RETURN) {
            self.absences.store(0, Ordering::Relaxed);
            self.out_until.store(0, Ordering::Relaxed);
            self.is_doubtful.store(false, Ordering::Relaxed);
        }
        if is_sick { None } else { self.tell_up() }
    }

    /// Takes over what the checks found.
    pub(super) fn checked(&self, verdict: Change, now: u64) -> Option<Change> {
        if verdict == Change::Up {
            if !self.is_sick.swap(false, Ordering::Relaxed) {
                return None;
            }
            // Its share grows from now on.
            self.out_until.store(now.max(1), Ordering::Relaxed);
            return self.tell_up();
        }
        self.is_doubtful.store(true, Ordering::Relaxed);
        self.failed_at.store(now.max(1), Ordering::Relaxed);
        self.is_sick.store(true, Ordering::Relaxed);
        self.tell_down()
    }

    /// Whether it may be asked now; on its way back it gets a part of its visitors, or of all requests.
    pub(super) fn admits(&self, visitor: Affinity, now: impl FnOnce() -> u64) -> bool {
        if !self.is_doubtful.load(Ordering::Relaxed) {
            return true;
        }
        let out_until = self.out_until.load(Ordering::Relaxed);
        if self.is_sick.load(Ordering::Relaxed) {
            return false;
        }
        match now().checked_sub(out_until) {
            None => false,
            Some(back_for) if out_until == 0 || back_for >= RETURN => true,
            Some(back_for) => visitor.lot() < (back_for * 100 / RETURN).max(LEAST_SHARE),
        }
    }

    /// Whether the last that was told of it is good.
    pub(super) fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed)
    }

    /// When a request last failed; zero: never.
    pub(super) fn failed_at(&self) -> u64 {
        self.failed_at.load(Ordering::Relaxed)
    }

    fn tell_down(&self) -> Option<Change> {
        (!self.is_down.swap(true, Ordering::Relaxed)).then_some(Change::Down)
    }

    fn tell_up(&self) -> Option<Change> {
        let was_down = self.is_down.load(Ordering::Relaxed) && self.is_down.swap(false, Ordering::Relaxed);
        was_down.then_some(Change::Up)
    }
}

/// Requests without an answer in a row after which a server is left alone.
const SILENCES: u32 = 5;

/// For how long it is left alone at first; doubled each time.
const SHORTEST: u64 = 1_000;

const LONGEST: u64 = 60_000;

/// Enough to reach the longest time.
const DOUBLINGS: u32 = 6;

/// How long it takes until it has its whole share again.
const RETURN: u64 = 10_000;

/// Its share at the beginning of the return, in percent.
const LEAST_SHARE: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_be_reached_is_left_alone_twice_as_long_each_time() {
        let health = Health::default();
        let mut now = 5;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            health.failed(Failure::Unreachable, now);
            assert!(!is_open(&health, now + seconds * 1000 - 1), "{seconds}");
            now += seconds * 1000;
            assert!((0..1000).any(|lot| health.admits(visitor(lot), || now)), "{seconds}");
        }
    }

    #[test]
    fn failures_that_were_under_way_do_not_lengthen_the_time() {
        let health = Health::default();
        for now in [0, 1, 2, 999] {
            health.failed(Failure::Unreachable, now);
        }
        assert!(is_open(&health, 1000 + RETURN));
    }

    #[test]
    fn one_slow_page_is_no_illness_and_five_in_a_row_are() {
        let health = Health::default();
        for _ in 0..3 {
            for _ in 1..SILENCES {
                assert_eq!(health.failed(Failure::Silent, 0), None);
            }
            assert!(is_open(&health, 0));
            health.answered(|| 0);
        }
        let told: Vec<_> = (0..SILENCES).filter_map(|_| health.failed(Failure::Silent, 0)).collect();
        assert_eq!((told, is_open(&health, 0)), (vec![Change::Down], false));
    }

    #[test]
    fn it_returns_little_by_little() {
        let health = Health::default();
        health.failed(Failure::Unreachable, 0);
        let share = |now| (0..1000).filter(|lot| health.admits(visitor(*lot), || now)).count();
        assert_eq!(share(999), 0);
        assert!((70..130).contains(&share(1000)), "{}", share(1000));
        assert!((450..550).contains(&share(1000 + RETURN / 2)));
        assert_eq!(share(1000 + RETURN), 1000);
    }

    #[test]
    fn a_change_is_told_once() {
        let health = Health::default();
        assert_eq!(health.failed(Failure::Unreachable, 0), Some(Change::Down));
        assert_eq!(health.failed(Failure::Unreachable, 1000), None);
        assert_eq!(health.answered(|| 4000), Some(Change::Up));
        assert_eq!(health.answered(|| 4000), None);
        assert_eq!(health.failed(Failure::Unreachable, 5000), Some(Change::Down));
    }

    #[test]
    fn a_server_that_is_well_again_begins_with_the_shortest_time() {
        let health = Health::default();
        health.failed(Failure::Unreachable, 0);
        health.failed(Failure::Unreachable, 1000);
        health.answered(|| 3000 + RETURN);
        health.failed(Failure::Unreachable, 20_000);
        assert!(is_open(&health, 21_000 + RETURN) && !is_open(&health, 20_999));
    }

    #[test]
    fn a_server_that_the_checks_find_ill_gets_nothing_until_they_find_it_well() {
        let health = Health::default();
        assert_eq!(health.checked(Change::Up, 0), None);
        assert_eq!(health.checked(Change::Down, 1000), Some(Change::Down));
        assert_eq!(health.checked(Change::Down, 90_000), None);
        assert_eq!((health.answered(|| 90_000), health.admits(visitor(1), || 90_000)), (None, false));
        assert_eq!(health.checked(Change::Up, 100_000), Some(Change::Up));
        assert!(!is_open(&health, 100_000) && is_open(&health, 100_000 + RETURN));
    }

    /// Whether everybody is let in.
    fn is_open(health: &Health, now: u64) -> bool {
        (0..100).all(|lot| health.admits(visitor(lot), || now))
    }

    fn visitor(number: u32) -> Affinity {
        Affinity::of(&number.to_be_bytes())
    }
}
