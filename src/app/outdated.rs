//! A start: sessions of people whom a file declares otherwise than when the gateway last ran.
//!
//! A reload compares the file with the one before (`reload`); a start has nothing but the sessions. Invariant: a
//! store that does not answer keeps no gateway from starting.

use super::Problems;
use super::control::Running;
use crate::identity::{Identity, UserId};
use crate::session::engine::EndReason;

impl Running {
    /// Ends the sessions of who is gone from the file of accounts or disabled there, and those that carry other
    /// groups, names or addresses.
    pub(super) async fn end_outdated_sessions(&self) {
        if self.login.takes_passwords() {
            return;
        }
        if let Err(error) = self.try_to_end_outdated_sessions().await {
            tracing::warn!(%error, "sessions may carry what a file of accounts no longer declares");
        }
    }

    async fn try_to_end_outdated_sessions(&self) -> Result<(), Problems> {
        for user in self.engine.users().await.map_err(Problems::one)? {
            match self.login.standing(&user).await.map_err(Problems::one)? {
                Some(standing) => self.end_unlike(&user, &standing.identity).await?,
                None => {
                    self.engine.end_user(&user, EndReason::AccountDisabled).await.map_err(Problems::one)?;
                }
            }
        }
        Ok(())
    }

    async fn end_unlike(&self, user: &UserId, identity: &Identity) -> Result<(), Problems> {
        for session in self.engine.sessions_of(user).await.map_err(Problems::one)? {
            if session.identity() != identity {
                self.engine.end(&session, EndReason::Revoked).await.map_err(Problems::one)?;
            }
        }
        Ok(())
    }
}
