//! What a user changes of their own account, and what it takes from the rest of this room.
//!
//! Invariant: a password that may not be chosen is never set.

use std::sync::Arc;

use super::accounts::AccountsError;
use super::factors::FactorStore;
use super::password::Hasher;
use super::{Login, PasswordProblem, check_new_password};
use crate::identity::{Identity, UserId};
use crate::secret::Secret;
use crate::telemetry::audit::{Event, EventKind};

/// What became of a new password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPassword {
    /// It is set.
    Set,
    /// It may not be chosen.
    Refused(PasswordProblem),
    /// Too much to do; nothing was changed.
    Busy,
}

impl Login {
    /// Gives `user` another password.
    pub async fn set_password(
        &self,
        user: &UserId,
        password: Secret<String>,
        request_id: &str,
    ) -> Result<NewPassword, AccountsError> {
        if let Err(problem) = check_new_password(user.as_str(), &password) {
            return Ok(NewPassword::Refused(problem));
        }
        let Ok(phc) = self.hasher.hash(password).await else { return Ok(NewPassword::Busy) };
        self.accounts.set_password(user, phc).await?;
        self.audit.record(Event {
            user: Some(user.as_str()),
            request_id: Some(request_id),
            ..Event::new(EventKind::PasswordChanged)
        });
        Ok(NewPassword::Set)
    }

    /// Whom a passkey signs in; nobody if the account is gone or disabled.
    pub async fn identity(&self, user: &UserId) -> Result<Option<Identity>, AccountsError> {
        let account = self.accounts.find(user).await?;
        Ok(account.filter(|account| !account.disabled).map(|account| account.identity()))
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
