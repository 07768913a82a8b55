//! One-time links of an administrator, for who lost everything.
//!
//! Invariants: the store holds a hash; a link serves once, within its time, and the newest of a user only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Factors;
use super::store::{AfterReset, Change, FactorStore, Reset};
use crate::login::Cause;
use crate::login::accounts::AccountsError;
use crate::secret::Secret;
use crate::telemetry::audit::EventKind;

/// What a one-time link holds: 256 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetToken(Secret<Vec<u8>>);

impl ResetToken {
    /// Makes a link's token for `user` and keeps its hash.
    pub async fn issue(store: &dyn FactorStore, reset: Reset) -> Result<Self, super::EnrolError> {
        let mut bytes = vec![0; LENGTH];
        getrandom::fill(&mut bytes)?;
        let token = Self(Secret::new(bytes));
        store.change(Change::AddReset(token.hash(), reset)).await?;
        Ok(token)
    }

    /// What a link holds.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == LENGTH).then(|| Self(Secret::new(bytes)))
    }

    /// What stands in the link.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.expose())
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose()).into()
    }
}

impl Factors {
    /// Whom a link is for, while it is worth something.
    pub async fn look_at_reset(&self, token: &ResetToken) -> Result<Option<Reset>, AccountsError> {
        let found = self.store.reset(token.hash()).await?;
        Ok(found.filter(|reset| self.clock.now() < reset.expires))
    }

    /// Uses up a link; nothing if it is worth nothing.
    pub async fn spend_reset(&self, token: &ResetToken) -> Result<Option<Reset>, AccountsError> {
        let Some(reset) = self.look_at_reset(token).await? else { return Ok(None) };
        // SECURITY: of two who use it at once, one does.
        let is_spent = self.store.change(Change::SpendReset(token.hash())).await?;
        Ok(is_spent.then_some(reset))
    }

    /// Makes a link good again that could not do what it is for; a newer one of its user takes its place.
    pub async fn give_back_reset(&self, token: &ResetToken, reset: Reset) {
        if let Err(error) = self.store.change(Change::AddReset(token.hash(), reset)).await {
            tracing::warn!(%error, "a one-time link is used up though it has set no password");
        }
    }

    /// Removes what its user lost.
    pub async fn after_reset(&self, reset: &Reset, cause: Cause<'_>) -> Result<(), AccountsError> {
        let user = reset.user.clone();
        self.store
            .change(match reset.factors {
                AfterReset::Removed => Change::RemoveAll(user),
                AfterReset::Kept => Change::Right(user),
            })
            .await?;
        self.note(EventKind::AccountReset, &reset.user, None, cause);
        Ok(())
    }
}

/// Bytes.
const LENGTH: usize = 32;
