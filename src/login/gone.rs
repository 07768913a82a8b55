//! What is left of people whom a file of accounts no longer declares.
//!
//! A database removes it with the account. Invariant: nothing is removed while it is not known who there is.

use std::collections::BTreeSet;

use super::accounts::AccountsError;
use super::factors::{Change, Place};
use super::{Config, Login};
use crate::telemetry::audit::{Event, EventKind};

impl Login {
    /// Removes the second factors of names that the file of accounts no longer has; answers of how many.
    ///
    /// Not where gateways share them: another one may have read a newer file.
    pub async fn forget_who_is_gone(&self, config: &Config) -> Result<usize, AccountsError> {
        if self.accounts.edited_by_hand().is_none() || matches!(config.factors, Place::Sql(_)) {
            return Ok(0);
        }
        let people = self.accounts.list().await?;
        // A file in which nobody stands is more likely a slip than the end of everybody.
        if people.is_empty() {
            return Ok(0);
        }
        let folded = |name: &str| name.to_ascii_lowercase();
        let there: BTreeSet<String> = people.iter().map(|account| folded(account.user.as_str())).collect();
        let kept = self.factors.sealed().await?;
        let kept: BTreeSet<_> = kept.into_iter().map(|(user, ..)| user).collect();
        let gone = kept.into_iter().filter(|user| !there.contains(&folded(user.as_str())));
        let mut count = 0;
        for user in gone {
            // SECURITY: whoever gets the name next must not be asked for the factors of its last owner.
            count += usize::from(self.factors.change(Change::RemoveAll(user.clone())).await?);
            self.audit.record(Event {
                user: Some(user.as_str()),
                detail: Some("the account is gone"),
                ..Event::new(EventKind::FactorRemoved)
            });
        }
        Ok(count)
    }
}
