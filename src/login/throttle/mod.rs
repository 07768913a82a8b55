//! How often somebody may fail to log in, so that the limit cannot be turned on its victim.
//!
//! Failures are counted for an account from one network (IPv4 /24, IPv6 /64), so that whoever guesses a
//! password slows down nobody elsewhere; as backstops, more generously, for the account from everywhere and
//! for one address. Gateways that share their sessions count together (`shared`). On a device that signed in to the account before, only the failures of that very
//! device count. How failures become a wait is in [`meter`].
//!
//! An attempt takes its place before the password is looked at and gets it back by success, so
//! that parallel attempts cannot pass the limit between a check and a count.
//! Invariants: memory is bounded, however many names and addresses try; names that nobody has are counted
//! as well, or the answer would tell them apart.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;
use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::ThrottleConfig;
use crate::clock::{Clock, Timestamp};

mod meter;
mod redis;
mod shared;
mod sql;

pub(super) use shared::Shared;

use meter::{Limit, Meter};

/// Counts failures.
#[derive(Debug)]
pub struct Throttle {
    clock: Clock,
    state: Mutex<State>,
    shared: Option<Shared>,
}

impl Throttle {
    /// Starts with nothing counted.
    #[must_use]
    pub fn new(config: ThrottleConfig, clock: Clock) -> Self {
        Self { clock, state: Mutex::new(State { config, meters: Cache::new(KEYS) }), shared: None }
    }

    /// The same, counting together with other gateways.
    #[must_use]
    pub(super) fn sharing(self, shared: Option<Shared>) -> Self {
        Self { shared, ..self }
    }

    /// Lets go of what it shares.
    pub async fn close(&self) {
        if let Some(shared) = &self.shared {
            shared.close().await;
        }
    }

    /// Other limits from now on; what is counted stays counted.
    pub fn reload(&self, config: ThrottleConfig) {
        self.state().config = config;
    }

    /// Takes a place for one attempt, or says how long to wait for one.
    ///
    /// `user` is the name as typed: anything at all.
    pub async fn reserve(&self, user: &str, from: Origin) -> Result<Reservation<'_>, Wait> {
        let now = self.clock.now();
        // What is known here spares the others the question.
        let reservation = self.reserve_here(user, from, now)?;
        let Some(shared) = &self.shared else { return Ok(reservation) };
        match shared.take(&reservation.claims, now).await {
            Duration::ZERO => Ok(reservation),
            wait => {
                reservation.give_back_here(Release::Withdrawn, now);
                Err(Wait(wait))
            }
        }
    }

    fn reserve_here(&self, user: &str, from: Origin, now: Timestamp) -> Result<Reservation<'_>, Wait> {
        let mut state = self.state();
        let claims = claims(user, from, state.config);
        let wait = claims.iter().map(|claim| state.meter(claim.key).wait(claim.limit, now)).max();
        match wait {
            Some(wait) if !wait.is_zero() => return Err(Wait(wait)),
            _ => {}
        }
        for claim in &claims {
            let meter = state.meter(claim.key).after_one(claim.limit, now);
            state.meters.insert(claim.key, meter);
        }
        Ok(Reservation { throttle: self, claims })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an attempt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A device that signed in to this very account before.
    Known(DeviceId),
    /// Any other, at this address.
    Stranger(IpAddr),
}

/// Names a device that signed in before; says nothing of whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId(pub [u8; 16]);

/// The place of one attempt. Dropped, it stays used up: that is a failure, and also what a client
/// gets that goes away before the answer.
#[derive(Debug)]
#[must_use]
pub struct Reservation<'a> {
    throttle: &'a Throttle,
    claims: Vec<Claim>,
}

impl Reservation<'_> {
    /// The password was right: the account begins anew from there, the backstops get a place back.
    pub async fn succeeded(self) {
        self.release(Release::Succeeded).await;
    }

    /// The password was never looked at: all places are given back.
    pub async fn withdraw(self) {
        self.release(Release::Withdrawn).await;
    }

    async fn release(self, release: Release) {
        let now = self.throttle.clock.now();
        self.give_back_here(release, now);
        if let Some(shared) = &self.throttle.shared {
            shared.release(&self.claims, release, now).await;
        }
    }

    fn give_back_here(&self, release: Release, now: Timestamp) {
        let mut state = self.throttle.state();
        for claim in &self.claims {
            if claim.is_forgotten_by(release) {
                state.meters.remove(&claim.key);
            } else {
                state.give_back(claim.key, now);
            }
        }
    }
}

/// Why a place is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    /// The password was right.
    Succeeded,
    /// It was never looked at.
    Withdrawn,
}

/// How long until the next attempt is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

#[derive(Debug)]
struct State {
    config: ThrottleConfig,
    meters: Cache<Key, Meter>,
}

impl State {
    fn meter(&self, key: Key) -> Meter {
        self.meters.get(&key).copied().unwrap_or_default()
    }

    fn give_back(&mut self, key: Key, now: Timestamp) {
        if let Some(mut meter) = self.meters.get_mut(&key) {
            *meter = meter.without_one(now);
        }
    }
}

/// One of the meters that an attempt counts in.
#[derive(Clone, Copy, Debug)]
struct Claim {
    key: Key,
    limit: Limit,
    reach: Reach,
}

impl Claim {
    fn is_forgotten_by(&self, release: Release) -> bool {
        release == Release::Succeeded && self.reach == Reach::Narrow
    }
}

/// Whose failures a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Those of one account from one place: success proves them innocent.
    Narrow,
    /// Those of many.
    Wide,
}

/// Names are kept as digests: 16 bytes each, whatever somebody typed.
type Key = [u8; 16];

fn claims(user: &str, from: Origin, config: ThrottleConfig) -> Vec<Claim> {
    let user = folded(user);
    let narrow = |key| Claim { key, limit: Limit::of(config.per_account), reach: Reach::Narrow };
    let wide = |key, limit| Claim { key, limit, reach: Reach::Wide };
    match from {
        Origin::Known(device) => vec![narrow(key("device", &device.0, &user))],
        // The account from everywhere: at most a hundred failures in a row by default, as NIST SP 800-63B-4,
        // 3.2.2, has it.
        Origin::Stranger(address) => vec![
            narrow(key("network", &network(address), &user)),
            wide(key("account", &[], &user), Limit::tenfold(config.per_account)),
            wide(key("address", &subscriber(address), ""), Limit::of(config.per_address)),
        ],
    }
}

fn key(kind: &str, place: &[u8], user: &str) -> Key {
    // A kind has no NUL and its places one length, so no two of these run together.
    let digest = Sha256::new()
        .chain_update(kind)
        .chain_update([0])
        .chain_update([u8::try_from(place.len()).unwrap_or(u8::MAX)])
        .chain_update(place)
        .chain_update(user);
    let digest: [u8; 32] = digest.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// The network that an address is likely to share with its owner's other addresses.
fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().into_iter().take(3).collect(),
        IpAddr::V6(v6) => v6.octets().into_iter().take(8).collect(),
    }
}

/// Whom an address stands for: one IPv4 address, or the /64 that one IPv6 subscriber has.
fn subscriber(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        v6 @ IpAddr::V6(_) => network(v6),
    }
}

/// Meters that are remembered at once: some MiB when full. When it is full, those
/// that came once go first.
const KEYS: usize = 196_608;

/// Names that are typed differently but mean one account are one.
fn folded(user: &str) -> String {
    user.trim().nfc().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::ClockHand;
    use crate::login::Rate;

    const CONFIG: ThrottleConfig = ThrottleConfig {
        per_account: Rate { count: 3, period: Duration::from_mins(3) },
        per_address: Rate { count: 6, period: Duration::from_mins(1) },
    };

    fn throttle() -> (Throttle, ClockHand) {
        let (clock, hand) = Clock::movable();
        (Throttle::new(CONFIG, clock), hand)
    }

    fn stranger(text: &str) -> Origin {
        Origin::Stranger(text.parse().unwrap())
    }

    fn reserve<'a>(throttle: &'a Throttle, user: &str, from: Origin) -> Result<Reservation<'a>, Wait> {
        throttle.reserve_here(user, from, throttle.clock.now())
    }

    fn fails(throttle: &Throttle, user: &str, from: &str) -> bool {
        throttle.reserve_here(user, stranger(from), throttle.clock.now()).is_ok()
    }

    #[test]
    fn an_account_is_limited_from_one_network_and_open_from_another() {
        let (throttle, _) = throttle();
        for from in ["192.0.2.1", "192.0.2.2", "192.0.2.77"] {
            assert!(fails(&throttle, "alice", from));
        }
        assert!(!fails(&throttle, "alice", "192.0.2.4"), "the same network");
        assert!(fails(&throttle, "alice", "198.51.100.4"), "the victim at home");
        assert!(fails(&throttle, "bob", "192.0.2.4"));
    }

    #[test]
    fn who_waits_for_whose_failures() {
        let device = || Origin::Known(DeviceId([1; 16]));
        let table = [
            ("alice", stranger("192.0.2.1"), true),
            ("alice", stranger("192.0.2.200"), true),
            (" ALICE", stranger("192.0.2.1"), true),
            ("alice", stranger("::ffff:192.0.2.1"), true),
            ("alice", stranger("192.0.3.1"), false),
            ("alice", stranger("2001:db8::1"), false),
            ("alice", device(), false),
            ("bob", stranger("192.0.2.1"), false),
            ("alice@example.com", stranger("192.0.2.1"), false),
        ];
        for (user, origin, waits) in table {
            let (throttle, _) = throttle();
            for _ in 0..3 {
                assert!(fails(&throttle, "alice", "192.0.2.1"));
            }
            assert_eq!(reserve(&throttle, user, origin).is_err(), waits, "{user} {origin:?}");
        }
    }

    #[test]
    fn an_account_that_is_attacked_from_many_networks_is_limited_at_last() {
        let (throttle, hand) = throttle();
        for number in 0..30_u8 {
            assert!(fails(&throttle, "alice", &format!("10.0.{number}.1")), "{number}");
        }
        let refused = reserve(&throttle, "alice", stranger("192.0.2.1")).err();
        assert_eq!(refused, Some(Wait(Duration::from_secs(1))));
        hand.advance(Duration::from_secs(1));
        assert!(fails(&throttle, "alice", "192.0.2.1"));
    }

    #[test]
    fn whoever_waits_at_one_limit_fills_no_other() {
        let (throttle, _) = throttle();
        for user in ["a", "b", "c", "d", "e", "f"] {
            assert!(fails(&throttle, user, "192.0.2.1"));
        }
        for _ in 0..100 {
            assert!(!fails(&throttle, "alice", "192.0.2.1"), "its address has failed too often");
        }
        assert!(fails(&throttle, "alice", "198.51.100.1"), "the account has not");
    }

    #[test]
    fn a_device_that_signed_in_before_is_never_locked_out_by_others() {
        let (throttle, _) = throttle();
        for number in 0..100_u8 {
            _ = fails(&throttle, "alice", &format!("10.0.{number}.1"));
            _ = fails(&throttle, "alice", "192.0.2.1");
        }
        assert!(!fails(&throttle, "alice", "192.0.2.1"));
        let device = Origin::Known(DeviceId([1; 16]));
        for _ in 0..3 {
            assert!(reserve(&throttle, "alice", device).is_ok());
        }
        assert!(reserve(&throttle, "alice", device).is_err(), "a stolen device may not guess for ever");
        assert!(reserve(&throttle, "alice", Origin::Known(DeviceId([2; 16]))).is_ok());
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
    fn the_wait_doubles_and_is_told() {
        let (throttle, hand) = throttle();
        for _ in 0..3 {
            assert!(fails(&throttle, "alice", "192.0.2.1"));
        }
        for seconds in [1, 2, 4, 8] {
            let wait = Wait(Duration::from_secs(seconds));
            assert_eq!(reserve(&throttle, "alice", stranger("192.0.2.1")).err(), Some(wait));
            hand.advance(Duration::from_secs(seconds));
            assert!(fails(&throttle, "alice", "192.0.2.1"));
        }
        hand.advance(Duration::from_mins(10));
        for _ in 0..3 {
            assert!(fails(&throttle, "alice", "192.0.2.1"), "all is forgotten");
        }
    }

    #[test]
    fn success_begins_the_account_anew_but_not_the_address() {
        let (throttle, _) = throttle();
        for _ in 0..2 {
            assert!(fails(&throttle, "alice", "192.0.2.1"));
        }
        reserve(&throttle, "alice", stranger("192.0.2.1"))
            .unwrap()
            .give_back_here(Release::Succeeded, throttle.clock.now());
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
            reserve(&throttle, "alice", stranger("192.0.2.1"))
                .unwrap()
                .give_back_here(Release::Withdrawn, throttle.clock.now());
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
            let of = |text: &str| subscriber(text.parse().unwrap());
            assert_eq!(of(one) == of(other), same, "{one} {other}");
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
                        let from = Origin::Stranger(IpAddr::from([10, 0, 0, thread * 25 + attempt / 2]));
                        let has_passed = reserve(throttle, "alice", from).is_ok();
                        passed.fetch_add(usize::from(has_passed), Ordering::Relaxed);
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
            let from = Origin::Stranger(IpAddr::from((number << 8).to_be_bytes()));
            _ = reserve(&throttle, &format!("user{number}"), from).is_ok();
            if number % 5_000 == 0 {
                assert!(!fails(&throttle, "alice", "192.0.2.2"));
            }
        }
        assert!(throttle.state().meters.len() <= KEYS);
        assert!(!fails(&throttle, "alice", "192.0.2.2"));
    }

    #[test]
    fn a_smaller_limit_holds_from_the_next_failure_on() {
        let (throttle, _) = throttle();
        assert!(fails(&throttle, "alice", "192.0.2.1"));
        throttle.reload(ThrottleConfig { per_account: Rate { count: 1, ..CONFIG.per_account }, ..CONFIG });
        assert!(fails(&throttle, "alice", "192.0.2.1"));
        assert!(!fails(&throttle, "alice", "192.0.2.1"));
    }
}
