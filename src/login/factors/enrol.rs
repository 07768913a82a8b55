//! How somebody gets second factors, gets recovery codes, and loses either.
//!
//! Who may is asked before. Invariant: a factor is enrolled only by who has just shown that it works.

use super::recovery::{self, RecoveryCode};
use super::{Change, CodeHash, FactorId, Factors, Kind, Row, TotpSecret, context};
use crate::identity::UserId;
use crate::login::Cause;
use crate::login::accounts::AccountsError;
use crate::login::password::Busy;
use crate::telemetry::audit::EventKind;

/// Why a factor or codes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The store does not answer.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// All threads that hash have enough to do.
    #[error("too much to do at once")]
    Busy,
    /// The browser cannot be asked for a passkey.
    #[error("no passkey can be asked for: {0}")]
    Passkey(String),
    /// The secret cannot be sealed.
    #[error("the secret cannot be sealed")]
    Sealing,
}

impl From<Busy> for EnrolError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

impl Factors {
    /// Enrols one-time codes of `secret`, in the place of others, if `code` is one of them now.
    pub async fn add_totp(
        &self,
        user: &UserId,
        secret: &TotpSecret,
        code: &str,
        cause: Cause<'_>,
    ) -> Result<bool, EnrolError> {
        let now = self.clock.now();
        let Some(step) = secret.step_of(code, now) else { return Ok(false) };
        let id = FactorId::generate()?;
        let sealed = self.vault.seal(&context(user, &id), secret.to_bytes()).ok_or(EnrolError::Sealing)?;
        let row = Row {
            id,
            kind: Kind::Totp,
            name: String::new(),
            sealed,
            credential: None,
            last_step: step,
            created: now,
            last_used: Some(now),
        };
        let added = self.store.change(Change::Add(user.clone(), row)).await?;
        self.note(EventKind::FactorAdded, user, Some("one-time codes"), cause);
        Ok(added)
    }

    /// Removes a factor of the user; with the last one go the recovery codes.
    pub async fn remove(&self, user: &UserId, id: FactorId, cause: Cause<'_>) -> Result<bool, AccountsError> {
        let removed = self.store.change(Change::Remove(user.clone(), id)).await?;
        if removed {
            self.note(EventKind::FactorRemoved, user, None, cause);
            if !self.of(user).await?.has_second() {
                self.store.change(Change::RemoveAll(user.clone())).await?;
            }
        }
        Ok(removed)
    }

    /// Makes recovery codes in the place of all others; nobody ever sees them again.
    pub async fn new_codes(&self, user: &UserId, cause: Cause<'_>) -> Result<Vec<String>, EnrolError> {
        let (mut printed, mut hashes) = (Vec::new(), Vec::<CodeHash>::new());
        while hashes.len() < recovery::COUNT {
            let code = RecoveryCode::generate()?;
            if hashes.iter().any(|other| other.label == code.label) {
                continue;
            }
            printed.push(code.to_printed());
            hashes.push(CodeHash { label: code.label, phc: self.hasher.hash(code.secret).await? });
        }
        self.store.change(Change::SetCodes(user.clone(), hashes)).await?;
        self.note(EventKind::FactorAdded, user, Some("recovery codes"), cause);
        Ok(printed)
    }
}
