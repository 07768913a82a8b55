//! Second factors: what somebody shows beside their password, or in its place.
//!
//! Where they are kept is behind [`FactorStore`], who must show one is the gateway's matter. Invariants: a
//! guess is counted in the store before anybody learns what it was worth, so that neither parallel guesses nor
//! several gateways pass the limit; one that nobody had time to look at is none; a code of either kind is taken
//! once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Cause;
use super::accounts::{Accounts, AccountsError, Home};
use super::password::{Busy, Hasher};
use crate::clock::{Clock, Timestamp};
use crate::identity::{Factor, UserId};
use crate::storage::sql::{Engine, Location};
use crate::telemetry::audit::{Audit, Event, EventKind};

mod ceremony;
#[cfg(test)]
mod conformance;
mod enrol;
#[cfg(not(feature = "passkeys"))]
mod no_passkey;
#[cfg(feature = "passkeys")]
mod passkey;
mod recovery;
mod reset;
mod sql;
mod sqlite;
mod store;
mod totp;

pub use ceremony::{Answered, NewPasskey, Once, Question};
pub use enrol::EnrolError;
#[cfg(not(feature = "passkeys"))]
pub use no_passkey::Site;
#[cfg(feature = "passkeys")]
pub use passkey::Site;
pub use reset::ResetToken;
pub(super) use sql::{MYSQL_BESIDE, POSTGRES_BESIDE};
pub(super) use sqlite::BESIDE_ACCOUNTS;
pub use sqlite::SqliteFactors;
pub use store::{
    AfterReset, Answer, Change, CodeHash, FactorId, FactorStore, Guesses, Held, Kind, Reset, Row,
};
pub use totp::{Square, TotpSecret};

use recovery::RecoveryCode;
use sql::{MySqlFactors, PostgresFactors};

/// Where the second factors are of accounts that people declare in a file. A database of accounts has those of
/// its own users beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In an SQLite file.
    Sqlite(PathBuf),
    /// In a PostgreSQL or MySQL database, for several gateways.
    Sql(Location),
}

/// The second factors of these accounts: beside them, or at `place` if people declare them.
///
/// A server that does not answer is no error: it may come up later. To be called on the runtime that its
/// connections are to belong to.
pub async fn store_of(accounts: &Accounts, place: &Place) -> Result<Arc<dyn FactorStore>, AccountsError> {
    Ok(match (accounts.home(), place) {
        (Some(Home::Sqlite(database)), _) => Arc::new(SqliteFactors::beside(database)),
        (Some(Home::Postgres(database)), _) => Arc::new(PostgresFactors::beside(database)),
        (Some(Home::MySql(database)), _) => Arc::new(MySqlFactors::beside(database)),
        (None, Place::Sqlite(file)) => Arc::new(SqliteFactors::open(file).await?),
        (None, Place::Sql(location)) => match location.engine() {
            Engine::Postgres => Arc::new(PostgresFactors::declared(location)),
            Engine::MySql => Arc::new(MySqlFactors::declared(location)),
        },
    })
}

/// Encrypts the secrets of factors.
pub trait Vault: Send + Sync {
    /// Encrypts `plain` so that it is only worth something for the same `context`.
    fn seal(&self, context: &[u8], plain: Vec<u8>) -> Option<Vec<u8>>;
    /// What [`Self::seal`] was given.
    fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>>;
    /// Whether the newest key sealed this.
    fn is_newest_of(&self, sealed: &[u8]) -> bool;
}

/// The second factors of everybody. Clones are the same.
#[derive(Clone)]
pub struct Factors {
    store: Arc<dyn FactorStore>,
    vault: Arc<dyn Vault>,
    hasher: Hasher,
    clock: Clock,
    audit: Audit,
}

/// What somebody shows.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// A one-time code.
    Code(&'a str),
    /// A recovery code.
    Recovery(&'a str),
}

/// What it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is right; this was shown.
    Right(Factor),
    /// It is wrong, or was used before.
    Wrong,
    /// Too many were wrong; nothing was looked at.
    Wait(Duration),
    /// Too much to do; nothing was looked at.
    Busy,
}

/// What a user has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The one-time codes, if they have them.
    pub totp: Option<Line>,
    /// The passkeys.
    pub passkeys: Vec<Line>,
    /// How many recovery codes are left.
    pub codes_left: usize,
}

impl Summary {
    /// The hosts of the passkeys, each once, if the user has nothing else to show at `host`.
    ///
    /// A passkey works on the host where it was made, and nowhere else.
    #[must_use]
    pub fn hosts_elsewhere(&self, host: &str) -> Option<Vec<&str>> {
        let hosts: BTreeSet<&str> = self.passkeys.iter().filter_map(|line| line.host.as_deref()).collect();
        let is_elsewhere = self.totp.is_none() && !hosts.is_empty() && !hosts.contains(host);
        is_elsewhere.then(|| hosts.into_iter().collect())
    }

    /// Whether a login needs more than the password.
    #[must_use]
    pub const fn has_second(&self) -> bool {
        self.totp.is_some() || !self.passkeys.is_empty()
    }
}

/// A factor as its user reads of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Names it in a form.
    pub id: FactorId,
    /// What its user calls it.
    pub name: String,
    /// When it was enrolled.
    pub created: Timestamp,
    /// When it was shown last.
    pub last_used: Option<Timestamp>,
    /// The host that a passkey belongs to.
    pub host: Option<String>,
}

impl Factors {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        store: Arc<dyn FactorStore>,
        vault: Arc<dyn Vault>,
        hasher: Hasher,
        clock: Clock,
        audit: Audit,
    ) -> Self {
        Self { store, vault, hasher, clock, audit }
    }

    /// What `user` has.
    pub async fn of(&self, user: &UserId) -> Result<Summary, AccountsError> {
        let held = self.store.of_user(user.clone()).await?;
        let mut summary = Summary { codes_left: held.codes.len(), ..Summary::default() };
        for Row { id, kind, name, created, last_used, credential, .. } in held.rows {
            let host = credential.map(|(_, host)| host);
            let line = Line { id, name, created, last_used, host };
            match kind {
                Kind::Totp => summary.totp = Some(line),
                Kind::Passkey => summary.passkeys.push(line),
            }
        }
        Ok(summary)
    }

    /// Looks at what `user` shows. `cause` is for the audit trail.
    pub async fn check(
        &self,
        user: &UserId,
        shown: Shown<'_>,
        cause: Cause<'_>,
    ) -> Result<Verdict, AccountsError> {
        let held = self.store.of_user(user.clone()).await?;
        let now = self.clock.now();
        let wait = waiting(held.guesses, now);
        if !wait.is_zero() {
            self.note(EventKind::FactorThrottled, user, None, cause);
            return Ok(Verdict::Wait(wait));
        }
        let looked = match shown {
            Shown::Code(code) => Ok(self.look_at_code(user, &held, code)),
            Shown::Recovery(code) => self.look_at_recovery(user, &held, code).await,
        };
        // Nothing was looked at: no guess.
        let Ok(seen) = looked else { return Ok(Verdict::Busy) };
        // SECURITY: of guesses at the same moment one is answered. What the others showed is told to nobody.
        if !self.store.change(Change::Guess(user.clone(), held.guesses, now)).await? {
            return Ok(Verdict::Wait(AT_ONCE));
        }
        let verdict = self.settle(seen).await?;
        match verdict {
            Verdict::Right(factor) => {
                self.store.change(Change::Right(user.clone())).await?;
                self.note(EventKind::FactorAccepted, user, Some(factor.as_str()), cause);
            }
            Verdict::Wrong => self.note(EventKind::FactorFailure, user, None, cause),
            Verdict::Wait(_) | Verdict::Busy => {}
        }
        Ok(verdict)
    }

    /// Seals what older keys sealed with the newest one, so that those can be retired. Answers how many.
    pub async fn reseal(&self) -> Result<usize, AccountsError> {
        let mut count = 0;
        for (user, id, from) in self.store.sealed().await? {
            if self.vault.is_newest_of(&from) {
                continue;
            }
            let context = context(&user, &id);
            let plain = self.vault.open(&context, &from);
            let Some(to) = plain.and_then(|plain| self.vault.seal(&context, plain.to_vec())) else {
                tracing::error!(user = %user, "a second factor was sealed by a key that is gone; reset the user");
                continue;
            };
            count += usize::from(self.store.change(Change::Reseal { id, from, to, used: None }).await?);
        }
        Ok(count)
    }

    /// Uses up something that is worth something once, until `until`; answers whether it was unused.
    pub async fn spend(&self, hash: [u8; 32], until: Timestamp) -> Result<bool, AccountsError> {
        self.store.change(Change::SpendOnce { hash, until, now: self.clock.now() }).await
    }

    fn look_at_code(&self, user: &UserId, held: &Held, code: &str) -> Option<Seen> {
        let now = self.clock.now();
        let row = held.rows.iter().find(|row| row.kind == Kind::Totp)?;
        let opened = self.vault.open(&context(user, &row.id), &row.sealed);
        let Some(secret) = opened.and_then(|bytes| TotpSecret::from_bytes(&bytes)) else {
            tracing::error!(user = %user, "a one-time code cannot be checked: its key is gone; reset the user");
            return None;
        };
        let taking = |step| (Factor::Totp, Change::TakeStep(row.id.clone(), step, now));
        secret.step_of(code, now).map(taking)
    }

    // SECURITY: one hash is computed on every way through, so that the first group cannot be guessed alone.
    async fn look_at_recovery(&self, user: &UserId, held: &Held, typed: &str) -> Result<Option<Seen>, Busy> {
        let typed = RecoveryCode::parse(typed);
        let (label, secret) = typed.map(|code| (code.label, code.secret)).unwrap_or_default();
        let found = held.codes.iter().find(|code| code.label == label);
        let is_right = self.hasher.verify(secret, found.map(|code| code.phc.clone())).await?;
        let code = found.filter(|_| is_right);
        Ok(code.map(|code| (Factor::RecoveryCode, Change::SpendCode(user.clone(), code.clone()))))
    }

    // SECURITY: the store takes each step (RFC 6238 section 5.2) and each recovery code once, for all gateways.
    async fn settle(&self, seen: Option<Seen>) -> Result<Verdict, AccountsError> {
        let Some((factor, taking)) = seen else { return Ok(Verdict::Wrong) };
        let is_taken = self.store.change(taking).await?;
        Ok(if is_taken { Verdict::Right(factor) } else { Verdict::Wrong })
    }

    fn note(&self, kind: EventKind, user: &UserId, detail: Option<&str>, cause: Cause<'_>) {
        self.audit.record(Event {
            user: Some(user.as_str()),
            address: Some(cause.address),
            request_id: Some(cause.request_id),
            detail,
            ..Event::new(kind)
        });
    }
}

/// A factor that was shown, and what takes it.
type Seen = (Factor, Change);

impl std::fmt::Debug for Factors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Factors").field("store", &self.store).finish_non_exhaustive()
    }
}

/// What a secret is sealed for: a row that is put in another's place is worth nothing.
fn context(user: &UserId, id: &FactorId) -> Vec<u8> {
    [user.as_str().to_ascii_lowercase().as_bytes(), b"\n", id.as_str().as_bytes()].concat()
}

/// How long after these guesses the next one is looked at.
fn waiting(guesses: Guesses, now: Timestamp) -> Duration {
    if guesses.count >= LAST_GUESS {
        return LONGEST_WAIT;
    }
    let Some(beyond) = guesses.count.checked_sub(FREE_GUESSES) else { return Duration::ZERO };
    let wait = FIRST_WAIT.saturating_mul(1 << beyond.min(10)).min(LONGEST_WAIT);
    wait.saturating_sub(now.since(guesses.last))
}

/// Wrong guesses that cost nothing.
const FREE_GUESSES: u32 = 5;
/// After them, a wait that doubles with each wrong guess.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// After so many only an administrator helps (NIST SP 800-63B-4, 3.2.2).
const LAST_GUESS: u32 = 100;
/// For a guess that came at the same moment as another.
const AT_ONCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
