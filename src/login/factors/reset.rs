//! One-time links of an administrator, for who lost everything.
//!
//! Invariants: the store holds a hash; a link serves once, within its time, and the newest of a user only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Factors;
use super::store::{AfterReset, Change, FactorStore, Reset};
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

    /// Uses up a link and removes what its user lost; nothing if it is worth nothing.
    pub async fn use_reset(
        &self,
        token: &ResetToken,
        request_id: &str,
    ) -> Result<Option<Reset>, AccountsError> {
        let Some(reset) = self.look_at_reset(token).await? else { return Ok(None) };
        // SECURITY: of two who use it at once, one does.
        if !self.store.change(Change::SpendReset(token.hash())).await? {
            return Ok(None);
        }
        let user = reset.user.clone();
        self.store
            .change(match reset.factors {
                AfterReset::Removed => Change::RemoveAll(user),
                AfterReset::Kept => Change::Right(user),
            })
            .await?;
        self.note(EventKind::AccountReset, &reset.user, None, request_id);
        Ok(Some(reset))
    }
}

/// Bytes.
const LENGTH: usize = 32;
