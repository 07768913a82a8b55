//! How often somebody may fail to log in: per account name and per client address.
//!
//! An attempt takes its place before the password is looked at and gets it back by success, so
//! that parallel attempts cannot pass the limit between a check and a count. The limit is a GCRA
//! ("leaky bucket as a meter"): `10 in 10m` allows ten failures at once, then one a minute.
//! Invariant: memory is bounded, however many names and addresses try.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;
use unicode_normalization::UnicodeNormalization;

use super::{Rate, ThrottleConfig};
use crate::clock::{Clock, Timestamp};

/// Counts failures.
#[derive(Debug)]
pub struct Throttle {
    clock: Clock,
    // Names are kept as keyed hashes: 8 bytes each, whatever somebody typed.
    hashing: RandomState,
    state: Mutex<State>,
}

impl Throttle {
    /// Starts with nothing counted.
    #[must_use]
    pub fn new(config: ThrottleConfig, clock: Clock) -> Self {
        let state = State { config, accounts: Meters::new(), addresses: Meters::new() };
        Self { clock, hashing: RandomState::new(), state: Mutex::new(state) }
    }

    /// Other limits from now on; what is counted stays counted.
    pub fn reload(&self, config: ThrottleConfig) {
        self.state().config = config;
    }

    /// Takes a place for one attempt, or says how long to wait for one.
    ///
    /// `user` is the name as typed: names that nobody has are counted as well, or the answer would
    /// tell them apart.
    pub fn reserve(&self, user: &str, address: IpAddr) -> Result<Reservation<'_>, Wait> {
        let account = self.hashing.hash_one(folded(user));
        let address = AddressKey::from(address);
        let now = micros(self.clock.now());
        let mut state = self.state();
        let State { config, accounts, addresses } = &mut *state;
        let waiting = accounts.waiting(&account, config.per_account, now);
        let waiting = waiting.max(addresses.waiting(&address, config.per_address, now));
        if waiting > 0 {
            return Err(Wait(Duration::from_micros(waiting.unsigned_abs())));
        }
        accounts.take(account, config.per_account, now);
        addresses.take(address, config.per_address, now);
        Ok(Reservation { throttle: self, account, address })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one attempt. Dropped, it stays used up: that is a failure, and also what a client
/// gets that goes away before the answer.
#[derive(Debug)]
#[must_use]
pub struct Reservation<'a> {
    throttle: &'a Throttle,
    account: u64,
    address: AddressKey,
}

impl Reservation<'_> {
    /// The password was right: the account begins anew, the address gets its place back.
    pub fn succeeded(self) {
        let mut state = self.throttle.state();
        state.accounts.forget(&self.account);
        let rate = state.config.per_address;
        state.addresses.give_back(&self.address, rate);
    }

    /// The password was never looked at: both places are given back.
    pub fn withdraw(self) {
        let mut state = self.throttle.state();
        let ThrottleConfig { per_account, per_address } = state.config;
        state.accounts.give_back(&self.account, per_account);
        state.addresses.give_back(&self.address, per_address);
    }
}

/// How long until the next attempt is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

#[derive(Debug)]
struct State {
    config: ThrottleConfig,
    accounts: Meters<u64>,
    addresses: Meters<AddressKey>,
}

/// Whom an address stands for: one IPv4 address, or the /64 that one IPv6 subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum AddressKey {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

/// For each key the microsecond at which it will have used up nothing ("theoretical arrival time").
#[derive(Debug)]
struct Meters<K>(Cache<K, i64>);

impl<K: Hash + Eq + Copy> Meters<K> {
    fn new() -> Self {
        Self(Cache::new(KEYS))
    }

    /// Microseconds until there is a place; zero when there is one.
    fn waiting(&self, key: &K, rate: Rate, now: i64) -> i64 {
        let after = self.level(key, rate, now).saturating_add(interval(rate));
        after.saturating_sub(now).saturating_sub(span(rate)).max(0)
    }

    fn take(&mut self, key: K, rate: Rate, now: i64) {
        let after = self.level(&key, rate, now).saturating_add(interval(rate));
        self.0.insert(key, after);
    }

    fn give_back(&mut self, key: &K, rate: Rate) {
        if let Some(mut level) = self.0.get_mut(key) {
            *level = level.saturating_sub(interval(rate));
        }
    }

    fn forget(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// Never more than a full meter, so that a clock set back or a shorter period locks nobody out
    /// for longer than that.
    fn level(&self, key: &K, rate: Rate, now: i64) -> i64 {
        let level = self.0.get(key).copied().unwrap_or(now);
        level.clamp(now, now.saturating_add(span(rate)))
    }
}

/// Names, and addresses, that are remembered at once: some MiB when full. When it is full, those
/// that came once go first.
const KEYS: usize = 65_536;

/// Names that are typed differently but mean one account are one.
fn folded(user: &str) -> String {
    user.trim().nfc().flat_map(char::to_lowercase).collect()
}

fn micros(now: Timestamp) -> i64 {
    now.as_millis().saturating_mul(1000)
}

/// What one failure costs, in microseconds.
fn interval(rate: Rate) -> i64 {
    let period = i64::try_from(rate.period.as_micros()).unwrap_or(i64::MAX);
    (period / i64::from(rate.count.max(1))).max(1)
}

/// What all failures at once cost; not the period itself, which need not divide evenly.
fn span(rate: Rate) -> i64 {
    interval(rate).saturating_mul(i64::from(rate.count.max(1)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::ClockHand;

    const CONFIG: ThrottleConfig = ThrottleConfig {
        per_account: Rate { count: 3, period: Duration::from_mins(3) },
        per_address: Rate { count: 6, period: Duration::from_mins(1) },
    };

    fn throttle() -> (Throttle, ClockHand) {
        let (clock, hand) = Clock::movable();
        (Throttle::new(CONFIG, clock), hand)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn fails(throttle: &Throttle, user: &str, from: &str) -> bool {
        throttle.reserve(user, address(from)).is_ok()
    }

    #[test]
    fn failures_for_one_account_are_limited_from_wherever_they_come() {
        let (throttle, _) = throttle();
        for from in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            assert!(fails(&throttle, "alice", from));
        }
        assert!(!fails(&throttle, "alice", "192.0.2.4"));
        assert!(fails(&throttle, "bob", "192.0.2.4"));
    }

    #[test]
    fn failures_from_one_address_are_limited_whatever_the_name() {
        let (throttle, _) = throttle();
        for user in ["a", "b", "c", "d", "e", "f"] {
            assert!(fails(&throttle, user, "192.0.2.1"));
        }
        assert!(!fails(&throttle, "g", "192.0.2.1"));
        assert!(fails(&throttle, "g", "192.0.2.2"));
    }

    #[test]
    fn places_come_back_one_by_one_and_the_wait_is_told() {
        let (throttle, hand) = throttle();
        for _ in 0..3 {
            assert!(fails(&throttle, "alice", "192.0.2.1"));
        }
        let wait = |seconds| Some(Wait(Duration::from_secs(seconds)));
        assert_eq!(throttle.reserve("alice", address("192.0.2.1")).err(), wait(60));
        hand.advance(Duration::from_secs(59));
        assert_eq!(throttle.reserve("alice", address("192.0.2.1")).err(), wait(1));
        hand.advance(Duration::from_secs(1));
        assert!(fails(&throttle, "alice", "192.0.2.1"));
        assert!(!fails(&throttle, "alice", "192.0.2.1"));
        hand.advance(Duration::from_mins(3));
        for _ in 0..3 {
            assert!(fails(&throttle, "alice", "192.0.2.1"));
        }
    }

    #[test]
    fn success_begins_the_account_anew_but_not_the_address() {
        let (throttle, _) = throttle();
        for _ in 0..2 {
            assert!(fails(&throttle, "alice", "192.0.2.1"));
        }
        throttle.reserve("alice", address("192.0.2.1")).unwrap().succeeded();
        for _ in 0..3 {
            assert!(fails(&throttle, "alice", "192.0.2.1"));
        }
        assert!(!fails(&throttle, "alice", "192.0.2.9"));
        assert!(fails(&throttle, "bob", "192.0.2.1"), "five failures so far");
        assert!(!fails(&throttle, "carol", "192.0.2.1"), "six failures so far");
    }

    #[test]
    fn an_attempt_that_was_never_looked_at_costs_nothing() {
        let (throttle, _) = throttle();
        for _ in 0..20 {
            throttle.reserve("alice", address("192.0.2.1")).unwrap().withdraw();
        }
        assert!(fails(&throttle, "alice", "192.0.2.1"));
    }

    #[test]
    fn spellings_of_one_name_share_one_limit() {
        let (throttle, _) = throttle();
        for spelling in ["Ren\u{e9}", " REN\u{c9} ", "rene\u{301}"] {
            assert!(fails(&throttle, spelling, "192.0.2.1"));
        }
        assert!(!fails(&throttle, "ren\u{e9}", "192.0.2.1"));
    }

    #[test]
    fn addresses_of_one_subscriber_share_one_limit() {
        let table = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ];
        for (one, other, same) in table {
            assert_eq!(
                AddressKey::from(address(one)) == AddressKey::from(address(other)),
                same,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn parallel_attempts_do_not_pass_the_limit() {
        let (throttle, _) = throttle();
        let passed = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let (throttle, passed) = (&throttle, &passed);
                scope.spawn(move || {
                    for attempt in 0..50_u8 {
                        let from = IpAddr::from([10, 0, thread, attempt]);
                        passed.fetch_add(
                            usize::from(throttle.reserve("alice", from).is_ok()),
                            Ordering::Relaxed,
                        );
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 3);
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_does_not_free_a_throttled_account() {
        let (throttle, _) = throttle();
        for _ in 0..3 {
            assert!(fails(&throttle, "alice", "192.0.2.1"));
        }
        for number in 0..150_000_u32 {
            let from = IpAddr::from(number.to_be_bytes());
            _ = throttle.reserve(&format!("user{number}"), from).is_ok();
            if number % 5_000 == 0 {
                assert!(!fails(&throttle, "alice", "192.0.2.2"));
            }
        }
        assert!(throttle.state().accounts.0.len() <= KEYS);
        assert!(throttle.state().addresses.0.len() <= KEYS);
        assert!(!fails(&throttle, "alice", "192.0.2.2"));
    }

    #[test]
    fn a_clock_set_back_locks_out_no_longer_than_a_full_meter() {
        let mut meters = Meters::new();
        for _ in 0..3 {
            meters.take("alice", CONFIG.per_account, 10_000_000_000);
        }
        assert_eq!(meters.waiting(&"alice", CONFIG.per_account, 0), interval(CONFIG.per_account));
    }

    #[test]
    fn a_smaller_limit_holds_at_once() {
        let (throttle, _) = throttle();
        for _ in 0..2 {
            assert!(fails(&throttle, "alice", "192.0.2.1"));
        }
        throttle.reload(ThrottleConfig { per_account: Rate { count: 1, ..CONFIG.per_account }, ..CONFIG });
        assert!(!fails(&throttle, "alice", "192.0.2.1"));
    }
}
