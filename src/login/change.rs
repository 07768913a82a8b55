//! What a user changes of their own account, and what it takes from the rest of this room.
//!
//! Invariant: a password that may not be chosen is never set.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::accounts::{AccountsError, Credentials};
use super::factors::FactorStore;
use super::password::Hasher;
use super::{Cause, Login, PasswordProblem, check_new_password};
use crate::identity::{Identity, UserId};
use crate::secret::Secret;
use crate::telemetry::audit::{Event, EventKind};

/// Why a new password is not set; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// It may not be chosen.
    Refused(PasswordProblem),
    /// Too much to do.
    Busy,
}

/// A password that may be chosen, ready to be stored.
pub struct NewPassword(String);

/// Shows no hash.
impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewPassword").finish_non_exhaustive()
    }
}

/// What somebody is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What backends are told of them.
    pub identity: Identity,
    /// Changes with the password.
    pub password: PasswordMark,
}

impl Standing {
    pub(super) fn of(found: &Credentials) -> Self {
        Self { identity: found.account.identity(), password: PasswordMark::of(&found.hash) }
    }
}

/// Tells one stored password from the next, and nothing of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordMark([u8; 16]);

impl PasswordMark {
    /// That of a password with this hash.
    #[must_use]
    pub fn of(hash: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(hash).into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

impl Login {
    /// Makes what is stored of a password that `user` may choose.
    pub async fn prepare_password(
        &self,
        user: &UserId,
        password: Secret<String>,
    ) -> Result<NewPassword, Unset> {
        check_new_password(user.as_str(), &password).map_err(Unset::Refused)?;
        self.hasher.hash(password).await.map(NewPassword).map_err(|_| Unset::Busy)
    }

    /// Gives `user` another password.
    pub async fn set_password(
        &self,
        user: &UserId,
        password: NewPassword,
        cause: Cause<'_>,
    ) -> Result<(), AccountsError> {
        self.accounts.set_password(user, password.0).await?;
        self.audit.record(Event {
            user: Some(user.as_str()),
            address: Some(cause.address),
            request_id: Some(cause.request_id),
            ..Event::new(EventKind::PasswordChanged)
        });
        Ok(())
    }

    /// Whether users may choose their passwords here: not where people edit the accounts by hand.
    #[must_use]
    pub fn takes_passwords(&self) -> bool {
        self.accounts.edited_by_hand().is_none()
    }

    /// What `user` is now; nothing if the account is gone, disabled or damaged.
    pub async fn standing(&self, user: &UserId) -> Result<Option<Standing>, AccountsError> {
        match self.accounts.credentials(Some(user.clone())).await {
            Ok(found) => Ok(found.filter(|found| !found.account.disabled).map(|found| Standing::of(&found))),
            Err(error) if error.is_damage() => {
                tracing::error!(%error, user = %user, "a damaged account may not sign in");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Where the second factors of these accounts are.
    #[must_use]
    pub fn factor_store(&self) -> Arc<dyn FactorStore> {
        Arc::clone(&self.factors)
    }

    /// The threads that hash.
    #[must_use]
    pub fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }
}
