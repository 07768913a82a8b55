//! How a session goes on under a new token after its user proved once more who they are.
//!
//! Invariants: the old token is worth nothing from then on; a session that was ended meanwhile has no
//! heir; its absolute limit does not move.

use std::sync::Arc;

use super::{EndReason, Engine, OpenError, Opened, Shared, trail::Cause};
use crate::session::proofs::Proofs;
use crate::session::record::{Ending, Session};
use crate::session::store::StoreError;
use crate::session::token::Token;
use crate::telemetry::audit::EventKind;

impl Engine {
    /// Puts another session in the place of this one, whose user has shown `proofs` (ASVS 5.0, 7.2.4).
    /// Nothing if it was ended meanwhile.
    pub async fn elevate(&self, session: &Session, proofs: Proofs) -> Result<Option<Opened>, OpenError> {
        let shared = &self.shared;
        let settings = shared.settings.load_full();
        let token = Token::generate();
        let heir = session.heir(token.session(), settings.ring.signer().id(), proofs, shared.clock.now());
        let heir = Arc::new(heir);
        let cookies = shared.establish(&settings, &token, &heir).await?;
        // SECURITY: who ended the old session meanwhile did not know of the new one.
        if !self.still_lives(session).await? || !shared.give_way(session).await {
            shared.end(&heir, EndReason::Revoked, Cause::default()).await?;
            return Ok(None);
        }
        shared.note(EventKind::SessionRenewed, &heir, "proved again", Cause::default());
        Ok(Some(Opened { cookies, session: heir }))
    }
}

impl Shared {
    /// Ends a session whose heir has begun; answers whether it was this that ended it. A store that
    /// fails is asked again by the upkeep: here the session is over.
    async fn give_way(&self, session: &Session) -> bool {
        if session.end() == Ending::Again {
            return false;
        }
        let ended: Result<(), StoreError> = self.end(session, EndReason::Replaced, Cause::default()).await;
        if let Err(error) = ended {
            tracing::warn!(%error, "a session that gave way is still to be removed from the store");
        }
        true
    }
}
