//! How long what is in memory may be trusted when other processes share the store.
//!
//! A session in memory is right at the moment when the store was asked for it, and from then on for as
//! long as the store tells of changes. Invariant: the answer errs towards asking again; a clock that
//! was moved back makes nothing last longer.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{OnceLock, Weak};
use std::time::Duration;

use super::Shared;
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::session::store::{Listener, Sharing};
use crate::session::token::SessionId;

#[derive(Debug)]
pub(super) struct Freshness {
    sharing: OnceLock<Sharing>,
    /// Moves whenever the telling begins or ends: odd while changes are told. No clock is compared, so
    /// none that is moved makes a session look as if it were read during the present telling.
    epoch: AtomicU64,
    /// Until when changes were told, if they are not now.
    until: AtomicI64,
    confirmed: AtomicI64,
}

/// When the store was asked for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) struct Verified {
    pub(in crate::session) at: Timestamp,
    pub(in crate::session) epoch: u64,
}

impl Freshness {
    pub(super) fn new() -> Self {
        Self {
            sharing: OnceLock::new(),
            epoch: AtomicU64::new(0),
            until: AtomicI64::new(i64::MIN),
            confirmed: AtomicI64::new(i64::MIN),
        }
    }

    /// To be called once, with what the store answered.
    pub(super) fn set_sharing(&self, sharing: Sharing) {
        let _first = self.sharing.set(sharing);
    }

    /// To be taken before the store is asked.
    pub(super) fn present(&self, now: Timestamp) -> Verified {
        Verified { at: now, epoch: self.epoch.load(Ordering::Acquire) }
    }

    /// Whether a session that the store had at `verified` is still right at `now`, or was no longer ago
    /// than `leeway`. Nothing for a session that is in doubt.
    pub(super) fn holds(&self, verified: Option<Verified>, now: Timestamp, leeway: Duration) -> bool {
        if self.sharing.get() == Some(&Sharing::Exclusive) {
            return true;
        }
        // SECURITY: what is in doubt holds for no leeway, however long.
        let Some(Verified { at, epoch }) = verified else { return false };
        let present = self.epoch.load(Ordering::Acquire);
        if is_told(present) && epoch == present {
            return true;
        }
        let was_covered = !is_told(present) && is_told(epoch) && epoch.wrapping_add(1) == present;
        let until = Timestamp::from_millis(self.until.load(Ordering::Acquire));
        let known = if was_covered { at.max(until) } else { at };
        known <= now && now.since(known) <= leeway
    }

    fn began(&self, now: Timestamp) {
        self.confirmed.store(now.as_millis(), Ordering::Release);
        self.move_epoch(|epoch| if is_told(epoch) { epoch.wrapping_add(2) } else { epoch.wrapping_add(1) });
    }

    fn confirmed(&self, now: Timestamp) {
        self.confirmed.store(now.as_millis(), Ordering::Release);
    }

    fn lost(&self) {
        self.until.store(self.confirmed.load(Ordering::Acquire), Ordering::Release);
        self.move_epoch(|epoch| if is_told(epoch) { epoch.wrapping_add(1) } else { epoch });
    }

    fn move_epoch(&self, to: impl Fn(u64) -> u64) {
        let _always = self.epoch.fetch_update(Ordering::AcqRel, Ordering::Acquire, |epoch| Some(to(epoch)));
    }
}

const fn is_told(epoch: u64) -> bool {
    epoch % 2 == 1
}

/// What a store tells of the changes by other processes.
pub(super) struct News(pub(super) Weak<Shared>);

impl Listener for News {
    fn began(&self) {
        if let Some(engine) = self.0.upgrade() {
            engine.freshness.began(engine.clock.now());
            engine.tell_of_an_end();
        }
    }

    fn confirmed(&self) {
        if let Some(engine) = self.0.upgrade() {
            engine.freshness.confirmed(engine.clock.now());
        }
    }

    fn changed(&self, id: SessionId) {
        if let Some(engine) = self.0.upgrade() {
            // Most changes are of sessions that are of no concern here.
            if engine.cache.doubt(id) {
                engine.tell_of_an_end();
            }
        }
    }

    fn changed_user(&self, user: &UserId) {
        if let Some(engine) = self.0.upgrade() {
            engine.cache.doubt_user(user);
            engine.tell_of_an_end();
        }
    }

    fn changed_some(&self) {
        if let Some(engine) = self.0.upgrade() {
            engine.cache.doubt_all();
            engine.tell_of_an_end();
        }
    }

    fn lost(&self) {
        if let Some(engine) = self.0.upgrade() {
            engine.freshness.lost();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECHECK: Duration = Duration::from_secs(5);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + second * 1000)
    }

    fn shared(sharing: Sharing) -> Freshness {
        let freshness = Freshness::new();
        freshness.set_sharing(sharing);
        freshness
    }

    fn read(freshness: &Freshness, second: i64) -> Option<Verified> {
        Some(freshness.present(at(second)))
    }

    #[test]
    fn what_nobody_else_changes_holds_for_ever() {
        let freshness = shared(Sharing::Exclusive);
        assert!(freshness.holds(read(&freshness, 0), at(1_000_000), RECHECK));
    }

    #[test]
    fn what_nobody_tells_of_holds_for_a_moment() {
        let freshness = shared(Sharing::Untold);
        assert!(freshness.holds(read(&freshness, 0), at(5), RECHECK));
        assert!(!freshness.holds(read(&freshness, 0), at(6), RECHECK));
    }

    #[test]
    fn what_is_told_of_holds_as_long_as_the_telling_and_a_moment_more() {
        let freshness = shared(Sharing::Told);
        let before = read(&freshness, 9);
        freshness.began(at(10));
        let during = read(&freshness, 11);
        assert!(freshness.holds(during, at(1_000), RECHECK));
        assert!(!freshness.holds(before, at(1_000), RECHECK), "it was read before");
        freshness.confirmed(at(1_000));
        freshness.lost();
        assert!(freshness.holds(during, at(1_005), RECHECK));
        assert!(!freshness.holds(during, at(1_006), RECHECK));
        assert!(freshness.holds(read(&freshness, 1_006), at(1_007), RECHECK), "it was read since");
        freshness.began(at(1_010));
        assert!(!freshness.holds(during, at(1_010), RECHECK), "something may have been missed");
        assert!(freshness.holds(read(&freshness, 1_011), at(2_000), RECHECK));
    }

    #[test]
    fn two_beginnings_or_two_ends_in_a_row_trust_nothing_from_before() {
        let freshness = shared(Sharing::Told);
        freshness.began(at(0));
        let first = read(&freshness, 1);
        freshness.began(at(100));
        assert!(!freshness.holds(first, at(101), RECHECK));
        let second = read(&freshness, 102);
        freshness.confirmed(at(103));
        freshness.lost();
        freshness.lost();
        assert!(freshness.holds(second, at(104), RECHECK));
        assert!(!freshness.holds(first, at(104), RECHECK));
    }

    #[test]
    fn a_clock_that_was_moved_back_makes_it_ask() {
        let freshness = shared(Sharing::Told);
        freshness.began(at(3_500));
        let ahead = read(&freshness, 3_600);
        freshness.confirmed(at(3_600));
        freshness.lost();
        assert!(!freshness.holds(ahead, at(0), RECHECK));
        freshness.began(at(60));
        assert!(!freshness.holds(ahead, at(61), Duration::from_hours(1)));
    }

    #[test]
    fn what_is_in_doubt_holds_for_no_leeway() {
        let freshness = shared(Sharing::Told);
        freshness.began(at(0));
        assert!(!freshness.holds(None, at(0), Duration::MAX));
    }
}
