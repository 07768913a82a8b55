//! What an administrator sees of one cookie or one session.
//!
//! How it is told to people is left to the admin room. Invariant: looking changes nothing: it is no
//! activity, takes nothing into memory, ends nothing and leaves no line in the audit trail.

use std::sync::Arc;

use http::HeaderMap;

use super::{Engine, Settings, Shared};
use crate::clock::Timestamp;
use crate::session::cache::{Buried, Look};
use crate::session::cookie::{self, Carried, Form, Found, Ticket};
use crate::session::keyring::KeyId;
use crate::session::lifetime::{Ended, TokenState};
use crate::session::record::{Session, Untrusted};
use crate::session::store::{Claim, Row, StoreError};
use crate::session::token::SessionId;

#[cfg(test)]
mod tests;

/// How a session stands.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It lives.
    Live(Arc<Session>),
    /// It reached this limit; the session, if it can still be read.
    Expired(Ended, Option<Arc<Session>>),
    /// It was ended here a moment ago.
    Ended,
    /// The store does not have it: it was ended, it was swept, or it never was.
    Absent,
    /// What the store has cannot be trusted.
    Refused(&'static str),
}

/// What a cookie is.
#[derive(Clone, Debug)]
pub enum Inspection {
    /// There is no cookie of our name.
    Absent,
    /// It is none that we wrote.
    Refused {
        /// As [`Found::Refused`] says.
        why: &'static str,
        /// The key that it names.
        signer: Option<KeyId>,
    },
    /// A guest's.
    Guest {
        /// The key that signed it.
        signer: KeyId,
        /// When the guest came first.
        issued: Timestamp,
        /// The guest's name for backends.
        pseudonym: String,
    },
    /// A session's.
    Session {
        /// The key that signed it.
        signer: KeyId,
        /// Whether it holds the record too.
        form: Form,
        /// Which session.
        id: SessionId,
        /// How often its token was renewed.
        generation: u32,
        /// What that token is worth, if the session lives.
        token: Option<TokenState>,
        /// How the session stands.
        standing: Result<Standing, StoreError>,
    },
}

impl Engine {
    /// How the session with this id stands.
    pub async fn standing(&self, id: SessionId) -> Result<Standing, StoreError> {
        self.shared.standing(id, None).await
    }

    /// What the session cookie among these headers is.
    pub async fn inspect(&self, headers: &HeaderMap) -> Inspection {
        let settings = self.shared.settings.load_full();
        match self.present(headers) {
            Found::Absent => Inspection::Absent,
            Found::Refused(why) => {
                let signer = cookie::claimed_signer(headers, &settings.policy.cookie);
                Inspection::Refused { why, signer }
            }
            Found::Guest(guest) => Inspection::Guest {
                signer: guest.key,
                issued: guest.issued,
                pseudonym: guest.token.session().pseudonym(),
            },
            Found::Valid(ticket) => self.shared.inspect(&settings, &ticket).await,
        }
    }
}

impl Shared {
    async fn inspect(&self, settings: &Settings, ticket: &Ticket) -> Inspection {
        let id = ticket.token.session();
        let carried = ticket.carried.as_ref().map(|carried| (carried, ticket.key));
        let standing = self.standing(id, carried).await;
        let token = match &standing {
            Ok(Standing::Live(session)) => {
                let lifetimes = &settings.policy.lifetimes;
                Some(lifetimes.token(session.token(), ticket.generation, self.clock.now()))
            }
            _ => None,
        };
        let form = if ticket.carried.is_some() { Form::Record } else { Form::Token };
        Inspection::Session { signer: ticket.key, form, id, generation: ticket.generation, token, standing }
    }

    async fn standing(
        &self,
        id: SessionId,
        carried: Option<(&Carried, KeyId)>,
    ) -> Result<Standing, StoreError> {
        match self.cache.look(id) {
            Look::Buried(Buried::Ended) => return Ok(Standing::Ended),
            Look::Buried(Buried::Expired(limit)) => return Ok(Standing::Expired(limit, None)),
            Look::Unknown(_) => {}
        }
        match self.form {
            Form::Token if carried.is_none() => self.standing_of_stored(id).await,
            // A record from a time when no store kept it.
            Form::Token => Ok(Standing::Absent),
            Form::Record => self.standing_of_carried(id, carried).await,
        }
    }

    async fn standing_of_stored(&self, id: SessionId) -> Result<Standing, StoreError> {
        let opened = match self.store.load(id).await {
            Ok(None) => return Ok(Standing::Absent),
            Ok(Some(row)) => self.open_row(id, &row).map_err(Untrusted::as_str),
            Err(StoreError::Corrupt(_)) => Err(UNREADABLE),
            Err(error) => return Err(error),
        };
        Ok(match (self.cache.get(id), opened) {
            (Some(known), Ok(stored)) if stored.last_seen() > known.last_seen() => self.judged(stored.into()),
            (Some(known), _) => self.judged(known),
            (None, Ok(stored)) => self.judged(stored.into()),
            (None, Err(why)) => Standing::Refused(why),
        })
    }

    async fn standing_of_carried(
        &self,
        id: SessionId,
        carried: Option<(&Carried, KeyId)>,
    ) -> Result<Standing, StoreError> {
        let shown = carried.map(|(carried, key)| {
            Session::open_carried(id, key, carried, &self.settings.load().ring).map(Arc::new)
        });
        let session = match (self.cache.get(id), shown) {
            (Some(known), _) => known,
            (None, Some(Ok(shown))) => shown,
            (None, Some(Err(why))) => return Ok(Standing::Refused(why.as_str())),
            (None, None) => return Ok(Standing::Absent),
        };
        let user = session.identity().user.clone();
        let claim = Claim { id, user, created: session.created() };
        let permitted = self.store.permits(claim).await?;
        Ok(if permitted { self.judged(session) } else { Standing::Ended })
    }

    pub(super) fn open_row(&self, id: SessionId, row: &Row) -> Result<Session, Untrusted> {
        if row.id != id {
            return Err(Untrusted::Damaged);
        }
        Session::open(row, &self.settings.load().ring)
    }

    /// Whether a session may go on, by the rules and keys of this moment.
    fn judged(&self, session: Arc<Session>) -> Standing {
        let settings = self.settings.load();
        if settings.ring.key(session.key()).is_none() {
            return Standing::Refused(Untrusted::Key.as_str());
        }
        match settings.policy.lifetimes.ended(session.times(), self.clock.now()) {
            Some(limit) => Standing::Expired(limit, Some(session)),
            None => Standing::Live(session),
        }
    }
}

/// What is said of a row that holds no session.
pub(super) const UNREADABLE: &str = "row cannot be read";
