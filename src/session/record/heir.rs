//! What the user of a session has shown, and the session that follows when they show more.
//!
//! Invariant: an heir is never better proved than by what is handed to it, and never lives longer.

use super::{Body, Session};
use crate::clock::Timestamp;
use crate::identity::Factor;
use crate::session::keyring::KeyId;
use crate::session::lifetime::TokenAge;
use crate::session::proofs::Proofs;
use crate::session::token::SessionId;

impl Session {
    /// What they showed within this session, and when.
    #[must_use]
    pub fn proofs(&self) -> Proofs {
        match self.body.proofs {
            // Of a session from before proofs were noted, only the login is known.
            proofs if proofs.is_empty() => Proofs::default().with(Factor::Password, self.authenticated()),
            proofs => proofs,
        }
    }

    /// The session that goes on in the place of this one, of whose user `proofs` is known at `now`. Its
    /// absolute limit counts from the same login.
    pub(in crate::session) fn heir(&self, id: SessionId, key: KeyId, proofs: Proofs, now: Timestamp) -> Self {
        let authenticated = proofs.latest().unwrap_or_else(|| self.authenticated()).as_millis();
        let body = Body { authenticated, proofs, ..self.body.clone() };
        Self::from_body(id, key, body, TokenAge { generation: 0, since: now }, now)
    }
}
