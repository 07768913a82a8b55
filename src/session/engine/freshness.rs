//! How long what is in memory may be trusted when other processes share the store.
//!
//! A session in memory is right at the moment when the store was asked for it, and from then on for as
//! long as the store tells of changes. Invariant: the answer errs towards asking again; a clock that
//! was moved back makes nothing last longer.

use std::sync::atomic::{AtomicI64, Ordering};
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
    /// Since when changes are told.
    since: AtomicI64,
    /// Until when they were told; [`NOW`] while they are.
    until: AtomicI64,
    confirmed: AtomicI64,
}

impl Freshness {
    pub(super) fn new() -> Self {
        Self {
            sharing: OnceLock::new(),
            since: AtomicI64::new(i64::MAX),
            until: AtomicI64::new(i64::MIN),
            confirmed: AtomicI64::new(i64::MIN),
        }
    }

    /// To be called once, with what the store answered.
    pub(super) fn set_sharing(&self, sharing: Sharing) {
        let _first = self.sharing.set(sharing);
    }

    /// Whether a session that the store had at `verified` is still right at `now`, or was no longer ago
    /// than `leeway`.
    pub(super) fn holds(&self, verified: Timestamp, now: Timestamp, leeway: Duration) -> bool {
        if self.sharing.get() == Some(&Sharing::Exclusive) {
            return true;
        }
        let covered = verified.as_millis() > self.since.load(Ordering::Acquire);
        let known = if covered { self.until.load(Ordering::Acquire) } else { verified.as_millis() };
        if known == NOW {
            return true;
        }
        let known = Timestamp::from_millis(known);
        // SECURITY: what is in doubt holds for no leeway, however long.
        verified.as_millis() != i64::MIN && known <= now && now.since(known) <= leeway
    }

    fn began(&self, now: Timestamp) {
        self.confirmed.store(now.as_millis(), Ordering::Release);
        self.since.store(now.as_millis(), Ordering::Release);
        self.until.store(NOW, Ordering::Release);
    }

    fn confirmed(&self, now: Timestamp) {
        self.confirmed.store(now.as_millis(), Ordering::Release);
    }

    fn lost(&self) {
        self.until.store(self.confirmed.load(Ordering::Acquire), Ordering::Release);
    }
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
            engine.cache.doubt(id);
            engine.tell_of_an_end();
        }
    }

    fn changed_user(&self, user: &UserId) {
        if let Some(engine) = self.0.upgrade() {
            for session in engine.cache.of_user(user) {
                engine.cache.doubt(session.id());
            }
            engine.tell_of_an_end();
        }
    }

    fn lost(&self) {
        if let Some(engine) = self.0.upgrade() {
            engine.freshness.lost();
        }
    }
}

/// No wall clock shows it.
const NOW: i64 = i64::MAX;

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

    #[test]
    fn what_nobody_else_changes_holds_for_ever() {
        assert!(shared(Sharing::Exclusive).holds(at(0), at(1_000_000), RECHECK));
    }

    #[test]
    fn what_nobody_tells_of_holds_for_a_moment() {
        let freshness = shared(Sharing::Untold);
        assert!(freshness.holds(at(0), at(5), RECHECK));
        assert!(!freshness.holds(at(0), at(6), RECHECK));
    }

    #[test]
    fn what_is_told_of_holds_as_long_as_the_telling_and_a_moment_more() {
        let freshness = shared(Sharing::Told);
        assert!(!freshness.holds(at(0), at(100), RECHECK), "nothing is told yet");
        freshness.began(at(10));
        assert!(freshness.holds(at(11), at(1_000), RECHECK));
        assert!(!freshness.holds(at(9), at(1_000), RECHECK), "it was read before");
        freshness.confirmed(at(1_000));
        freshness.lost();
        assert!(freshness.holds(at(11), at(1_005), RECHECK));
        assert!(!freshness.holds(at(11), at(1_006), RECHECK));
        freshness.began(at(1_010));
        assert!(!freshness.holds(at(11), at(1_010), RECHECK), "something may have been missed");
        assert!(freshness.holds(at(1_011), at(2_000), RECHECK));
    }

    #[test]
    fn a_clock_that_was_moved_back_and_a_doubt_make_it_ask() {
        let freshness = shared(Sharing::Untold);
        assert!(!freshness.holds(at(3_600), at(0), RECHECK));
        assert!(!freshness.holds(Timestamp::from_millis(i64::MIN), at(0), Duration::MAX));
        let told = shared(Sharing::Told);
        told.began(at(0));
        assert!(!told.holds(Timestamp::from_millis(i64::MIN), at(0), Duration::MAX / 2));
    }
}
