//! Factors over a real store: what is taken, how often, and by whom.

use std::net::{IpAddr, Ipv4Addr};

use tempfile::TempDir;

use super::*;
use crate::clock::ClockHand;
use crate::login::password::HashingConfig;
use crate::secret::Secret;
use crate::telemetry::audit::Lines;

const CHEAP: HashingConfig = HashingConfig { threads: 1, queue: 32, memory: 64, passes: 1 };

/// Adds a byte that names the key, and hides nothing.
struct OpenVault(u8);

impl Vault for OpenVault {
    fn seal(&self, context: &[u8], plain: Vec<u8>) -> Option<Vec<u8>> {
        Some([&[self.0], context, b"|", plain.as_slice()].concat())
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let plain = sealed.get(1..)?.strip_prefix(context)?.strip_prefix(b"|")?;
        Some(Zeroizing::new(plain.to_vec()))
    }

    fn is_newest_of(&self, sealed: &[u8]) -> bool {
        sealed.first() == Some(&self.0)
    }
}

pub(super) struct House {
    _folder: TempDir,
    pub(super) factors: Factors,
    hand: ClockHand,
    lines: Lines,
}

impl House {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteFactors::open(&folder.path().join("factors.db")).await.unwrap());
        let (clock, hand) = Clock::movable();
        let (audit, lines) = Audit::to_memory();
        let hasher = Hasher::start(CHEAP).unwrap();
        let factors = Factors::new(store, Arc::new(OpenVault(1)), hasher, clock, audit);
        Self { _folder: folder, factors, hand, lines }
    }

    /// Alice with one-time codes; her secret.
    async fn with_totp() -> (Self, TotpSecret) {
        let house = Self::new().await;
        let secret = TotpSecret::generate().unwrap();
        let code = house.code(&secret);
        assert!(house.factors.add_totp(&alice(), &secret, &code, CAUSE).await.unwrap());
        house.hand.advance(Duration::from_secs(30));
        (house, secret)
    }

    fn code(&self, secret: &TotpSecret) -> String {
        let now = self.factors.clock.now();
        let fits = |code: &String| secret.step_of(code, now) == Some(now.as_seconds() / 30);
        (0..1_000_000).map(|number| format!("{number:06}")).find(fits).unwrap()
    }

    async fn show(&self, shown: Shown<'_>) -> Verdict {
        self.factors.check(&alice(), shown, CAUSE).await.unwrap()
    }
}

pub(super) fn alice() -> UserId {
    UserId::try_from("alice").unwrap()
}

#[tokio::test]
async fn a_code_is_taken_once_and_none_of_an_earlier_step_after_it() {
    let (house, secret) = House::with_totp().await;
    let earlier = house.code(&secret);
    house.hand.advance(Duration::from_secs(30));
    let code = house.code(&secret);
    assert_eq!(house.show(Shown::Code(&code)).await, Verdict::Right(Factor::Totp));
    assert_eq!(house.show(Shown::Code(&code)).await, Verdict::Wrong);
    assert_eq!(house.show(Shown::Code(&earlier)).await, Verdict::Wrong);
    assert_eq!(house.lines.count(EventKind::FactorAccepted), 1);
    assert_eq!(house.lines.count(EventKind::FactorFailure), 2);
}

#[tokio::test]
async fn guesses_are_slowed_down_and_forgotten_when_one_is_right() {
    let (house, secret) = House::with_totp().await;
    for _ in 0..FREE_GUESSES {
        assert_eq!(house.show(Shown::Code("x")).await, Verdict::Wrong);
    }
    let right = house.code(&secret);
    assert_eq!(house.show(Shown::Code(&right)).await, Verdict::Wait(FIRST_WAIT));
    house.hand.advance(FIRST_WAIT);
    assert_eq!(house.show(Shown::Recovery("x")).await, Verdict::Wrong);
    assert_eq!(house.show(Shown::Recovery("x")).await, Verdict::Wait(FIRST_WAIT * 2));
    house.hand.advance(FIRST_WAIT * 2);
    let right = house.code(&secret);
    assert_eq!(house.show(Shown::Code(&right)).await, Verdict::Right(Factor::Totp));
    assert_eq!(house.show(Shown::Code("x")).await, Verdict::Wrong);
    assert_eq!(house.lines.count(EventKind::FactorThrottled), 2);
}

#[tokio::test]
async fn of_guesses_at_once_one_is_looked_at() {
    let (house, _) = House::with_totp().await;
    let guess = || house.show(Shown::Code("000000"));
    let verdicts: [Verdict; 6] = tokio::join!(guess(), guess(), guess(), guess(), guess(), guess()).into();
    assert!(verdicts.iter().filter(|verdict| **verdict == Verdict::Wrong).count() < 6, "{verdicts:?}");
}

#[tokio::test]
async fn what_nobody_has_time_to_look_at_is_no_guess() {
    let (mut house, _) = House::with_totp().await;
    let codes = house.factors.new_codes(&alice(), CAUSE).await.unwrap();
    let hasher = std::mem::replace(&mut house.factors.hasher, Hasher::always_busy());
    for _ in 0..=FREE_GUESSES {
        assert_eq!(house.show(Shown::Recovery("x")).await, Verdict::Busy);
    }
    house.factors.hasher = hasher;
    assert_eq!(house.show(Shown::Recovery(&codes[0])).await, Verdict::Right(Factor::RecoveryCode));
}

#[test]
fn the_wait_doubles_to_an_hour_and_ends_after_a_hundred() {
    let last = Timestamp::from_millis(0);
    for (count, seconds) in [(0, 0), (4, 0), (5, 30), (6, 60), (10, 960), (12, 3600), (99, 3600), (100, 3600)]
    {
        assert_eq!(waiting(Guesses { count, last }, last), Duration::from_secs(seconds), "{count}");
    }
    let later = last + Duration::from_hours(2);
    assert_eq!(waiting(Guesses { count: 99, last }, later), Duration::ZERO);
    assert_eq!(waiting(Guesses { count: 100, last }, later), LONGEST_WAIT);
}

#[tokio::test]
async fn a_recovery_code_is_taken_once_and_others_go_when_new_ones_come() {
    let (house, _) = House::with_totp().await;
    let codes = house.factors.new_codes(&alice(), CAUSE).await.unwrap();
    assert_eq!(codes.len(), 10);
    let [first, second, ..] = codes.as_slice() else { panic!("no codes") };
    assert_eq!(house.show(Shown::Recovery(first)).await, Verdict::Right(Factor::RecoveryCode));
    assert_eq!(house.show(Shown::Recovery(first)).await, Verdict::Wrong);
    assert_eq!(house.factors.of(&alice()).await.unwrap().codes_left, 9);
    house.factors.new_codes(&alice(), CAUSE).await.unwrap();
    assert_eq!(house.show(Shown::Recovery(second)).await, Verdict::Wrong);
}

#[tokio::test]
async fn with_the_last_factor_go_the_recovery_codes() {
    let (house, _) = House::with_totp().await;
    house.factors.new_codes(&alice(), CAUSE).await.unwrap();
    let summary = house.factors.of(&alice()).await.unwrap();
    assert!(house.factors.remove(&alice(), summary.totp.unwrap().id, CAUSE).await.unwrap());
    assert_eq!(house.factors.of(&alice()).await.unwrap(), Summary::default());
}

#[tokio::test]
async fn what_an_older_key_sealed_is_sealed_anew_and_works() {
    let (mut house, secret) = House::with_totp().await;
    house.factors.vault = Arc::new(OpenVault(2));
    assert_eq!(house.factors.reseal().await.unwrap(), 1);
    assert_eq!(house.factors.reseal().await.unwrap(), 0);
    let code = house.code(&secret);
    assert_eq!(house.show(Shown::Code(&code)).await, Verdict::Right(Factor::Totp));
}

#[tokio::test]
async fn a_link_serves_once_within_its_time_and_takes_what_was_lost() {
    let (house, _) = House::with_totp().await;
    let issue = |factors| Reset { user: alice(), expires: house.factors.clock.now() + HOUR, factors };
    let old = ResetToken::issue(&*house.factors.store, issue(AfterReset::Kept)).await.unwrap();
    let token = ResetToken::issue(&*house.factors.store, issue(AfterReset::Removed)).await.unwrap();
    assert_eq!(house.factors.look_at_reset(&old).await.unwrap(), None, "the newest only");
    let again = ResetToken::parse(&token.to_text()).unwrap();
    let spent = house.factors.spend_reset(&again).await.unwrap().unwrap();
    assert!(house.factors.spend_reset(&token).await.unwrap().is_none());
    house.factors.give_back_reset(&token, spent).await;
    let spent = house.factors.spend_reset(&token).await.unwrap().unwrap();
    house.factors.after_reset(&spent, CAUSE).await.unwrap();
    assert!(!house.factors.of(&alice()).await.unwrap().has_second());
    let late = ResetToken::issue(&*house.factors.store, issue(AfterReset::Kept)).await.unwrap();
    house.hand.advance(HOUR);
    assert!(house.factors.spend_reset(&late).await.unwrap().is_none());
}

#[tokio::test]
async fn something_is_spent_once_and_forgotten_when_it_is_worth_nothing() {
    let house = House::new().await;
    let spend = || house.factors.spend([7; 32], house.factors.clock.now() + HOUR);
    assert!(spend().await.unwrap() && !spend().await.unwrap());
    house.hand.advance(HOUR * 2);
    assert!(spend().await.unwrap());
}

#[tokio::test]
async fn debug_shows_no_secret_of_a_code_that_is_typed() {
    let house = House::new().await;
    let reset = Reset { user: alice(), expires: Timestamp::from_millis(1), factors: AfterReset::Kept };
    let token = ResetToken::issue(&*house.factors.store, reset).await.unwrap();
    assert!(!format!("{token:?}{:?}", Secret::new(token.to_text())).contains(&token.to_text()));
}

const HOUR: Duration = Duration::from_hours(1);
const CAUSE: Cause<'static> = Cause { address: IpAddr::V4(Ipv4Addr::LOCALHOST), request_id: "r" };
