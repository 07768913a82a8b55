//! What proves an identity: accounts, passwords, and the throttle before them.
//!
//! What follows from a proved identity is left to the session room. Invariant: an unknown name, a
//! wrong password and a disabled account get one answer after the same work.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::identity::{AuthMethod, UserId};
use crate::secret::Secret;
use crate::storage::Meeting;
use crate::telemetry::audit::{Audit, Event, EventKind};

pub mod accounts;
mod change;
pub mod factors;
mod gone;
mod lanes;
mod new_password;
pub mod password;
pub mod stored;
pub mod throttle;

pub use change::{NewPassword, PasswordMark, Standing, Unset};
pub use new_password::{PASSWORD_MINIMUM, PasswordProblem, check_new_password};

use accounts::{Account, Accounts, AccountsError, Credentials, Directory, Place};
use factors::FactorStore;
use password::{Hasher, HashingConfig, Lane};
use throttle::{DeviceId, Origin, Shared, Throttle, Wait};

/// How people prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How people sign in, in the order in which the login page offers it; reloadable.
    pub methods: Vec<AuthMethod>,
    /// Where the accounts are; a change needs a restart.
    pub users: Place,
    /// Where the second factors of accounts are that people declare in a file; a change needs a restart.
    pub factors: factors::Place,
    /// How often somebody may try; reloadable.
    pub throttle: ThrottleConfig,
}

/// How many failed logins are answered before the answer is "wait".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// For one account name from one network (IPv4 /24, IPv6 /64) or known device; from everywhere ten
    /// times as many in ten times the time.
    pub per_account: Rate,
    /// For one client address (IPv4 address or IPv6 /64), whatever the name.
    pub per_address: Rate,
}

/// So many in so long, as in `10 in 10m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub period: Duration,
}

/// Checks who somebody is.
#[derive(Debug)]
pub struct Login {
    accounts: Accounts,
    factors: Arc<dyn FactorStore>,
    hasher: Hasher,
    throttle: Throttle,
    clock: Clock,
    audit: Audit,
}

impl Login {
    /// Opens the accounts and starts the hashing threads; `directory` is what was read of a file that
    /// declares accounts, `meeting` where failures are counted together with other gateways.
    pub async fn open(
        config: &Config,
        directory: Option<Directory>,
        meeting: &Meeting,
        clock: Clock,
        audit: Audit,
    ) -> Result<Self, OpenError> {
        let hasher = Hasher::start(HashingConfig::default())?;
        hasher.expect(directory.iter().flat_map(Directory::hashes));
        let accounts = Accounts::at(&config.users, directory).await?;
        let factors = factors::store_of(&accounts, &config.factors).await?;
        let shared = Shared::open(meeting).await;
        let login = Self::new(accounts, factors, hasher, config.throttle, clock, audit);
        Ok(Self { throttle: login.throttle.sharing(shared), ..login })
    }

    /// Puts the parts together.
    #[must_use]
    pub fn new(
        accounts: Accounts,
        factors: Arc<dyn FactorStore>,
        hasher: Hasher,
        throttle: ThrottleConfig,
        clock: Clock,
        audit: Audit,
    ) -> Self {
        Self { accounts, factors, hasher, throttle: Throttle::new(throttle, clock.clone()), clock, audit }
    }

    /// Other limits from now on.
    pub fn reload(&self, throttle: ThrottleConfig) {
        self.throttle.reload(throttle);
    }

    /// Takes over what the file of accounts declares now; answers whose account is another one or gone, or
    /// nothing if nothing is new.
    pub fn take_over(&self, directory: Directory) -> Option<BTreeSet<UserId>> {
        self.hasher.expect(directory.hashes());
        self.accounts.replace(directory)
    }

    /// Looks at one attempt to log in. An error means that the accounts cannot be read, which is
    /// nobody's failure.
    pub async fn attempt(&self, attempt: Attempt<'_>) -> Result<Outcome, AccountsError> {
        let origin = attempt.device.map_or(Origin::Stranger(attempt.address), Origin::Known);
        let place = match self.throttle.reserve(attempt.user, origin).await {
            Ok(place) => place,
            Err(Wait(retry_after)) => {
                self.record(EventKind::LoginThrottled, &attempt, None);
                return Ok(Outcome::Throttled { retry_after });
            }
        };
        match self.check(&attempt).await {
            Ok(Verdict::Right(found)) => {
                place.succeeded().await;
                self.record(EventKind::LoginSuccess, &attempt, None);
                let found = self.renewed(found, attempt.password).await;
                self.note_login(found.account.user.clone());
                Ok(Outcome::Proved(Standing::of(&found), AuthMethod::Password))
            }
            Ok(Verdict::Refused(reason)) => {
                self.record(EventKind::LoginFailure, &attempt, Some(reason));
                Ok(Outcome::Refused)
            }
            Ok(Verdict::Busy) => {
                place.withdraw().await;
                Ok(Outcome::Busy)
            }
            Err(error) => {
                place.withdraw().await;
                Err(error)
            }
        }
    }

    /// Whether `user` still has an account that may log in. One that cannot be read may not.
    pub async fn still_enabled(&self, user: &UserId) -> Result<bool, AccountsError> {
        Ok(self.standing(user).await?.is_some())
    }

    /// Whether the accounts and their second factors can be read.
    pub async fn reachable(&self) -> Result<(), AccountsError> {
        self.accounts.credentials(None).await?;
        self.factors.reset([0; 32]).await.map(drop)
    }

    /// Makes up a password that is allowed: 99 bit that can be read aloud.
    pub fn generate_password() -> Result<Secret<String>, getrandom::Error> {
        new_password::generate_password()
    }

    /// Closes the accounts and what belongs to them.
    pub async fn stop(&self) {
        self.throttle.close().await;
        self.factors.close().await;
        self.accounts.close().await;
    }

    // SECURITY: one read and one hash on every way through; the branches differ only after that.
    async fn check(&self, attempt: &Attempt<'_>) -> Result<Verdict, AccountsError> {
        let user = UserId::try_from(attempt.user.trim()).ok();
        let found = self.accounts.credentials(user).await?;
        let hash = found.as_ref().map(|found| found.hash.clone());
        let lane = if attempt.device.is_some() { Lane::Known } else { Lane::Anybody };
        let Ok(right) = self.hasher.verify_in(lane, attempt.password.clone(), hash).await else {
            return Ok(Verdict::Busy);
        };
        Ok(match found {
            None => Verdict::Refused("unknown user"),
            Some(_) if !right => Verdict::Refused("wrong password"),
            Some(Credentials { account: Account { disabled: true, .. }, .. }) => Verdict::Refused("disabled"),
            Some(found) => Verdict::Right(found),
        })
    }

    /// Renews a hash of another kind or cost, once and before the answer: what the login goes on with is marked
    /// by the hash. No login fails because of it.
    async fn renewed(&self, found: Credentials, password: Secret<String>) -> Credentials {
        if self.accounts.edited_by_hand().is_some() || !self.hasher.needs_rehash(&found.hash) {
            return found;
        }
        let Ok(hash) = self.hasher.hash(password.clone()).await else { return found };
        let user = found.account.user.clone();
        match self.accounts.renew_hash(user.clone(), found.hash.clone(), hash.clone()).await {
            Ok(true) => Credentials { hash, ..found },
            Ok(false) => self.renewed_by_another(user, password).await.unwrap_or(found),
            Err(error) => {
                tracing::warn!(%error, "the hash of a password is not renewed");
                found
            }
        }
    }

    /// What another login with the same password has renewed meanwhile; nothing if the password is another one.
    async fn renewed_by_another(&self, user: UserId, password: Secret<String>) -> Option<Credentials> {
        let now = self.accounts.credentials(Some(user)).await.ok().flatten()?;
        let is_right = self.hasher.verify(password, Some(now.hash.clone())).await.ok()?;
        is_right.then_some(now)
    }

    /// After the answer: it may neither make a login slower, nor fail it.
    fn note_login(&self, user: UserId) {
        let (accounts, now) = (self.accounts.clone(), self.clock.now());
        tokio::spawn(async move {
            if let Err(error) = accounts.record_login(&user, now).await {
                tracing::warn!(%error, "login not noted in its account");
            }
        });
    }

    fn record(&self, kind: EventKind, attempt: &Attempt<'_>, detail: Option<&str>) {
        let user = bounded(attempt.user);
        self.audit.record(Event {
            user: Some(&user),
            address: Some(attempt.address),
            request_id: Some(attempt.request_id),
            detail,
            ..Event::new(kind)
        });
    }
}

/// What somebody typed, and where it came from.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The name as typed: anything at all.
    pub user: &'a str,
    /// The password as typed.
    pub password: Secret<String>,
    /// The client's address.
    pub address: IpAddr,
    /// The device, if it signed in to the account of this name before.
    pub device: Option<DeviceId>,
    /// The request's id, for the audit trail.
    pub request_id: &'a str,
}

/// The request that changes or shows something, for the audit trail.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The request's id.
    pub request_id: &'a str,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They are who they say.
    Proved(Standing, AuthMethod),
    /// Unknown, wrong or disabled: one answer.
    Refused,
    /// Too many failures; nothing was looked at.
    Throttled {
        /// How long until an attempt is looked at again.
        retry_after: Duration,
    },
    /// Too many attempts at once; nothing was looked at.
    Busy,
}

/// Why logins cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The accounts cannot be opened.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The hashing threads cannot be started.
    #[error("cannot start the threads that check passwords: {0}; allow this process more threads")]
    Threads(#[from] io::Error),
}

#[derive(Debug)]
enum Verdict {
    Right(Credentials),
    Refused(&'static str),
    Busy,
}

/// A name in the audit trail has at most this many characters, whatever was typed.
const AUDIT_NAME_LIMIT: usize = 128;

fn bounded(name: &str) -> Cow<'_, str> {
    if name.len() <= AUDIT_NAME_LIMIT {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().take(AUDIT_NAME_LIMIT).collect())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::accounts::Profile;
    use super::*;
    use crate::clock::{ClockHand, Stopwatch};
    use crate::identity::Group;
    use crate::telemetry::audit::Lines;

    const CHEAP: HashingConfig = HashingConfig { threads: 1, queue: 8, memory: 64, passes: 1 };
    const THROTTLE: ThrottleConfig = ThrottleConfig {
        per_account: Rate { count: 3, period: Duration::from_mins(3) },
        per_address: Rate { count: 100, period: Duration::from_mins(10) },
    };
    const RIGHT: &str = "correct horse battery";

    struct House {
        folder: TempDir,
        login: Login,
        lines: Lines,
        hand: ClockHand,
    }

    impl House {
        async fn new(hashing: HashingConfig, throttle: ThrottleConfig) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let accounts = Accounts::open(&folder.path().join("users.db")).await.unwrap();
            let hasher = Hasher::start(hashing).unwrap();
            let (clock, hand) = Clock::movable();
            for name in ["alice", "dora"] {
                let phc = hasher.hash(Secret::new(RIGHT.to_owned())).await.unwrap();
                let groups = vec![Group::try_from("wiki").unwrap()];
                let profile = Profile { groups, ..Profile::default() };
                accounts.add(&user(name), phc, profile, clock.now()).await.unwrap();
            }
            accounts.disable(&user("dora")).await.unwrap();
            let (audit, lines) = Audit::to_memory();
            let factors = beside(&accounts).await;
            let login = Login::new(accounts, factors, hasher, throttle, clock, audit);
            Self { folder, login, lines, hand }
        }

        async fn attempt(&self, name: &str, password: &str) -> Outcome {
            let attempt = Attempt {
                user: name,
                password: Secret::new(password.to_owned()),
                address: IpAddr::from([192, 0, 2, 1]),
                device: None,
                request_id: "r1",
            };
            self.login.attempt(attempt).await.unwrap()
        }

        async fn phc(&self) -> String {
            self.login.accounts.credentials(Some(user("alice"))).await.unwrap().unwrap().hash
        }
    }

    async fn beside(accounts: &Accounts) -> Arc<dyn FactorStore> {
        factors::store_of(accounts, &factors::Place::Sqlite("unused".into())).await.unwrap()
    }

    fn user(name: &str) -> UserId {
        UserId::try_from(name).unwrap()
    }

    /// Lets the follow-up of a login finish, by its effect and not by time.
    async fn until<F: Future<Output = bool>>(done: impl Fn() -> F) {
        while !done().await {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_right_password_proves_the_identity_of_the_account() {
        let house = House::new(CHEAP, THROTTLE).await;
        for typed in ["alice", "Alice", " alice "] {
            let Outcome::Proved(Standing { identity, .. }, method) = house.attempt(typed, RIGHT).await else {
                panic!("{typed} is refused")
            };
            assert_eq!((identity.user, method), (user("alice"), AuthMethod::Password));
            assert_eq!(identity.groups.len(), 1);
        }
        assert_eq!(house.lines.count(EventKind::LoginSuccess), 3);
        let noted = || async {
            house.login.accounts.find(&user("alice")).await.unwrap().unwrap().last_login.is_some()
        };
        until(noted).await;
    }

    #[tokio::test]
    async fn unknown_wrong_and_disabled_get_one_answer_and_their_own_audit_line() {
        let house = House::new(CHEAP, THROTTLE).await;
        let table = [
            ("bob", RIGHT, "unknown user"),
            ("no\r\nname", RIGHT, "unknown user"),
            ("", RIGHT, "unknown user"),
            ("alice", "wrong", "wrong password"),
            ("dora", "wrong", "wrong password"),
            ("dora", RIGHT, "disabled"),
        ];
        for (name, password, reason) in table {
            assert_eq!(house.attempt(name, password).await, Outcome::Refused, "{name:?}");
            let line = house.lines.all().pop().unwrap();
            assert!(line.contains(reason) && line.contains("authn_login_fail"), "{name:?}: {line}");
        }
    }

    #[tokio::test]
    async fn the_audit_trail_holds_no_password_and_no_endless_name() {
        let house = House::new(CHEAP, THROTTLE).await;
        house.attempt(&"\u{e9}".repeat(5_000), "hunter2-hunter2").await;
        house.attempt("alice", RIGHT).await;
        for line in house.lines.all() {
            assert!(!line.contains("hunter2") && !line.contains(RIGHT), "{line}");
            assert!(line.len() < 600, "{line}");
        }
    }

    #[tokio::test]
    async fn too_many_failures_are_throttled_even_with_the_right_password_until_time_passes() {
        let house = House::new(CHEAP, THROTTLE).await;
        for _ in 0..3 {
            assert_eq!(house.attempt("alice", "wrong").await, Outcome::Refused);
        }
        let throttled = Outcome::Throttled { retry_after: Duration::from_secs(1) };
        assert_eq!(house.attempt("alice", RIGHT).await, throttled);
        assert_eq!(house.lines.count(EventKind::LoginThrottled), 1);
        house.hand.advance(Duration::from_secs(1));
        assert!(matches!(house.attempt("alice", RIGHT).await, Outcome::Proved(..)));
    }

    #[tokio::test]
    async fn names_that_nobody_has_are_throttled_alike() {
        let house = House::new(CHEAP, THROTTLE).await;
        for _ in 0..3 {
            assert_eq!(house.attempt("nobody", "wrong").await, Outcome::Refused);
        }
        assert!(matches!(house.attempt("nobody", "wrong").await, Outcome::Throttled { .. }));
    }

    #[tokio::test]
    async fn parallel_guesses_do_not_pass_the_limit() {
        let house = House::new(CHEAP, THROTTLE).await;
        let guess = || house.attempt("alice", "wrong");
        let answers: [Outcome; 6] = tokio::join!(guess(), guess(), guess(), guess(), guess(), guess()).into();
        assert_eq!(answers.iter().filter(|&answer| *answer == Outcome::Refused).count(), 3);
    }

    #[tokio::test]
    async fn a_busy_answer_counts_as_no_failure() {
        let mut house = House::new(CHEAP, THROTTLE).await;
        let cheap = std::mem::replace(&mut house.login.hasher, Hasher::always_busy());
        for _ in 0..10 {
            assert_eq!(house.attempt("alice", RIGHT).await, Outcome::Busy);
        }
        house.login.hasher = cheap;
        for _ in 0..3 {
            assert_eq!(house.attempt("alice", "wrong").await, Outcome::Refused);
        }
    }

    #[tokio::test]
    async fn a_hash_of_an_older_cost_is_renewed_after_login() {
        let mut house = House::new(CHEAP, THROTTLE).await;
        let before = house.phc().await;
        house.login.hasher = Hasher::start(HashingConfig { passes: 2, ..CHEAP }).unwrap();
        assert!(matches!(house.attempt("alice", RIGHT).await, Outcome::Proved(..)));
        until(|| async { house.phc().await != before }).await;
        assert!(house.phc().await.contains("t=2"));
        assert!(matches!(house.attempt("alice", RIGHT).await, Outcome::Proved(..)));
    }

    #[tokio::test]
    async fn logins_that_renew_a_hash_at_once_go_on_with_the_same_one() {
        let mut house = House::new(CHEAP, THROTTLE).await;
        house.login.hasher = Hasher::start(HashingConfig { passes: 2, ..CHEAP }).unwrap();
        let at_once = tokio::join!(
            house.attempt("alice", RIGHT),
            house.attempt("alice", RIGHT),
            house.attempt("alice", RIGHT)
        );
        let now = PasswordMark::of(&house.phc().await);
        for outcome in [at_once.0, at_once.1, at_once.2] {
            assert!(matches!(outcome, Outcome::Proved(Standing { password, .. }, _) if password == now));
        }
    }

    #[tokio::test]
    async fn an_account_is_enabled_until_it_is_disabled_or_removed() {
        let house = House::new(CHEAP, THROTTLE).await;
        assert!(house.login.still_enabled(&user("alice")).await.unwrap());
        assert!(!house.login.still_enabled(&user("dora")).await.unwrap());
        assert!(!house.login.still_enabled(&user("nobody")).await.unwrap());
        assert!(house.folder.path().exists());
    }

    #[tokio::test]
    async fn accounts_that_cannot_be_read_are_an_error_and_no_failure() {
        let house = House::new(CHEAP, THROTTLE).await;
        house.login.stop().await;
        for _ in 0..10 {
            let attempt = Attempt {
                user: "alice",
                password: Secret::new(RIGHT.to_owned()),
                address: IpAddr::from([192, 0, 2, 1]),
                device: None,
                request_id: "r1",
            };
            assert!(house.login.attempt(attempt).await.is_err());
        }
        assert_eq!(house.lines.all().len(), 0);
    }

    #[tokio::test]
    async fn time_does_not_tell_an_unknown_user_from_a_wrong_password() {
        let often = Rate { count: 10_000, period: Duration::from_secs(1) };
        let throttle = ThrottleConfig { per_account: often, per_address: often };
        // A few milliseconds a hash: many short samples stand noise better than few long ones.
        let hashing = HashingConfig { threads: 1, memory: 2 * 1024, ..HashingConfig::default() };
        let house = House::new(hashing, throttle).await;
        let long = "x".repeat(password::PASSWORD_LIMIT + 1);
        let attempts = [
            ("nobody", "wrong"),
            ("alice", "wrong"),
            ("dora", RIGHT),
            ("not a name", "wrong"),
            ("alice", &long),
        ];
        let mut times = vec![Vec::new(); attempts.len()];
        for round in 0..101 {
            for turn in 0..attempts.len() {
                let which = (round + turn) % attempts.len();
                let stopwatch = Stopwatch::start();
                house.attempt(attempts[which].0, attempts[which].1).await;
                times[which].push(stopwatch.elapsed());
            }
        }
        let undisturbed: Vec<Duration> = times.iter_mut().map(|times| undisturbed(times)).collect();
        let (least, most) = (undisturbed.iter().min().unwrap(), undisturbed.iter().max().unwrap());
        assert!(*most < least.mul_f64(1.3), "{:?} {undisturbed:?}", attempts.map(|attempt| attempt.0));
    }

    #[tokio::test]
    async fn time_tells_no_hash_of_another_program_from_another_or_from_nobody() {
        let often = Rate { count: 100_000, period: Duration::from_secs(1) };
        let throttle = ThrottleConfig { per_account: often, per_address: often };
        let hashing = HashingConfig { threads: 1, memory: 1024, ..HashingConfig::default() };
        let house = House::new(hashing, throttle).await;
        for (name, hash) in FOREIGN {
            let now = house.login.clock.now();
            house.login.accounts.add(&user(name), hash.to_owned(), Profile::default(), now).await.unwrap();
            house.attempt(name, "wrong").await;
        }
        house.login.accounts.disable(&user("bcrypt-4")).await.unwrap();
        let names: Vec<&str> =
            FOREIGN.iter().map(|(name, _)| *name).chain(["nobody", "alice", "dora", "not a name"]).collect();
        let mut times = vec![Vec::new(); names.len()];
        for round in 0..41 {
            for turn in 0..names.len() {
                let which = (round + turn) % names.len();
                let stopwatch = Stopwatch::start();
                assert_eq!(house.attempt(names[which], "wrong").await, Outcome::Refused);
                times[which].push(stopwatch.elapsed());
            }
        }
        let undisturbed: Vec<Duration> = times.iter_mut().map(|times| undisturbed(times)).collect();
        let (least, most) = (undisturbed.iter().min().unwrap(), undisturbed.iter().max().unwrap());
        assert!(*most < least.mul_f64(1.3), "{names:?} {undisturbed:?}");
    }

    /// Hashes of little and of much work in each family; nobody knows most of these passwords.
    const FOREIGN: [(&str, &str); 12] = [
        ("bcrypt-4", "$2y$04$tMp5JKtL2Enn417qVqCFd.nCSVsHGreItFbJuo/z3uGeh67zabz4S"),
        ("bcrypt-7", "$2y$07$tMp5JKtL2Enn417qVqCFd.nCSVsHGreItFbJuo/z3uGeh67zabz4S"),
        ("argon2-1", "$argon2id$v=19$m=512,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"),
        (
            "argon2-8",
            "argon2$argon2id$v=19$m=4096,t=2,p=4$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
        ),
        ("apr1", "$apr1$xBbcD9Wz$WTuu4Dh9IaAydWcjWxdzU/"),
        ("sha256", "$5$saltstring$aXLr59fnwrVg6Wz/o5uKtjZU0xGSbMc6YxPqiHv2NE."),
        (
            "sha512",
            "$6$saltstring$Vy1qkR4howG25g0MrA26uBcI9k9c5cxzfoR6VfYPEDH6Qz8CJGsLsSf6i7jmz6/3LKpWlmhxHaJqvorDx2KhI.",
        ),
        ("ssha", "{SSHA}xlhten4Md/YT2nnyAWAZPmLCalhzYWx0c2FsdA=="),
        ("pbkdf2-1", "pbkdf2_sha256$1000$seasalt$B4Z5Cum0PMgRdOBgciYsdCAY1DcYMltvBCObhdQxhHU="),
        ("pbkdf2-20", "pbkdf2_sha256$20000$seasalt$B4Z5Cum0PMgRdOBgciYsdCAY1DcYMltvBCObhdQxhHU="),
        (
            "scrypt-8",
            "scrypt:256:8:1$seasalt$a8a1120807e544fb3aed23d978876af0a9ac1e9079d349c847e29b899218c7bce6ead842349617ae31a982580bbf26f727c04ed3bb430810319bd44b203e88d0",
        ),
        (
            "scrypt-11",
            "scrypt:2048:8:1$seasalt$a8a1120807e544fb3aed23d978876af0a9ac1e9079d349c847e29b899218c7bce6ead842349617ae31a982580bbf26f727c04ed3bb430810319bd44b203e88d0",
        ),
    ];

    /// The quickest tenth: a busy machine makes attempts longer, never shorter.
    fn undisturbed(times: &mut [Duration]) -> Duration {
        times.sort_unstable();
        times[times.len() / 10]
    }
}
