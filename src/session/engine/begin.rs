//! How a session begins.
//!
//! Invariants: a session always begins with a new token; it is stored before its browser hears of it.

use std::cmp::Reverse;
use std::sync::Arc;

use http::header::HeaderValue;

use super::{EndReason, Engine, Settings, Shared, trail::Cause};
use crate::clock::Clock;
use crate::identity::{AuthMethod, Identity, UserId};
use crate::session::binding::Device;
use crate::session::cookie::{self, Form, Ticket};
use crate::session::keyring::KeyRing;
use crate::session::lifetime::Remember;
use crate::session::proofs::Proofs;
use crate::session::record::{Session, Start};
use crate::session::store::StoreError;
use crate::session::token::Token;
use crate::session::{Beyond, Limit};
use crate::telemetry::audit::EventKind;

impl Engine {
    /// Begins a session for somebody who proved who they are. Its token is always a new one, so what
    /// a browser presented before is worth nothing (no fixation).
    pub async fn open(&self, login: Login<'_>) -> Result<Opened, OpenError> {
        let shared = &self.shared;
        let settings = shared.settings.load_full();
        if let Some(Limit { sessions, beyond: Beyond::Refuse }) = settings.policy.limit {
            shared.check_room(sessions.get(), &login.identity.user).await?;
        }
        let token = Token::generate();
        let session = Arc::new(login.session(&token, &settings.ring, &shared.clock));
        let cookies = shared.establish(&settings, &token, &session).await?;
        shared.note(EventKind::SessionCreated, &session, session.method().as_str(), Cause::default());
        match settings.policy.limit {
            Some(Limit { sessions, beyond: Beyond::EvictOldest }) => {
                shared.evict_beyond(sessions.get(), &session).await;
            }
            Some(Limit { sessions, beyond: Beyond::Refuse }) => {
                shared.withdraw_beyond(sessions.get(), &session).await?;
            }
            None => {}
        }
        Ok(Opened { cookies, session })
    }
}

/// What begins a session.
#[derive(Debug)]
pub struct Login<'a> {
    /// Who somebody proved to be.
    pub identity: Identity,
    /// How.
    pub method: AuthMethod,
    /// Whether they want to stay signed in.
    pub remember: Remember,
    /// What they showed, and when.
    pub proofs: Proofs,
    /// Their browser and where it is.
    pub device: Device<'a>,
}

impl Login<'_> {
    fn session(self, token: &Token, ring: &KeyRing, clock: &Clock) -> Session {
        let Self { identity, method, remember, proofs, device } = self;
        let Device { user_agent, address } = device;
        let start = Start { identity, method, proofs, remember, user_agent, address, now: clock.now() };
        Session::new(token.session(), ring.signer().id(), start)
    }
}

/// A session that has begun.
#[derive(Debug)]
pub struct Opened {
    /// The `Set-Cookie` values for the browser; the only place where its token is.
    pub cookies: Vec<HeaderValue>,
    /// The session.
    pub session: Arc<Session>,
}

/// Why no session begins.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user has as many sessions as they may have: these.
    #[error("the user has {} sessions, which is the limit", .0.len())]
    AtLimit(Vec<Arc<Session>>),
    /// What the login proved does not fit into cookies.
    #[error("the session does not fit into cookies: the user is in too many groups")]
    TooLarge,
}

impl Shared {
    /// Stores a session whose first token is `token`, and answers the cookies for its browser.
    pub(super) async fn establish(
        &self,
        settings: &Settings,
        token: &Token,
        session: &Arc<Session>,
    ) -> Result<Vec<HeaderValue>, OpenError> {
        let ends_at = settings.policy.lifetimes.ends_at(session.times());
        let sealed = session.to_row(&settings.ring, ends_at);
        let row = sealed.ok_or_else(|| StoreError::Unavailable("the record cannot be sealed".to_owned()))?;
        let cookies = self.cookies(settings, token, 0, session).ok_or(OpenError::TooLarge)?;
        session.verify(self.freshness.present(self.clock.now()));
        let look = self.cache.look(session.id());
        self.store.insert(row).await?;
        self.take_in(look, session);
        Ok(cookies)
    }

    /// The cookies for a session whose newest token is of this generation; nothing if browsers would
    /// not keep them.
    pub(super) fn cookies(
        &self,
        settings: &Settings,
        token: &Token,
        generation: u32,
        session: &Session,
    ) -> Option<Vec<HeaderValue>> {
        let signer = settings.ring.signer();
        let policy = &settings.policy;
        let carried = match self.form {
            Form::Token => None,
            Form::Record => Some(session.carry(&settings.ring)?),
        };
        let ticket = Ticket { token: token.clone(), generation, key: signer.id(), carried };
        let age = policy.lifetimes.cookie_age(session.times(), self.clock.now());
        cookie::set(&ticket.value(signer, &policy.cookie.name), &policy.cookie, age)
    }

    async fn check_room(&self, count: usize, user: &UserId) -> Result<(), OpenError> {
        let live = self.sessions_of(user).await?;
        if live.len() < count { Ok(()) } else { Err(OpenError::AtLimit(live)) }
    }

    /// Takes back a session that began while another login took the last place. Whichever of several
    /// was stored last sees all others, so no more than allowed stay; perhaps fewer.
    async fn withdraw_beyond(&self, count: usize, newest: &Session) -> Result<(), OpenError> {
        let mut live = self.sessions_of(&newest.identity().user).await?;
        live.retain(|session| session.id() != newest.id());
        if live.len() < count {
            return Ok(());
        }
        self.end(newest, EndReason::Evicted, Cause::default()).await?;
        Err(OpenError::AtLimit(live))
    }

    /// Ends the oldest sessions of the user of `newest`, until no more than `count` are left. Its own
    /// login is good even if the store fails meanwhile.
    async fn evict_beyond(&self, count: usize, newest: &Session) {
        let user = &newest.identity().user;
        let mut others = match self.sessions_of(user).await {
            Ok(sessions) => sessions,
            Err(error) => {
                tracing::warn!(%error, "sessions beyond the limit of a user were not ended");
                return;
            }
        };
        others.retain(|session| session.id() != newest.id());
        others.sort_by_key(|session| Reverse((session.created(), session.id())));
        for session in others.iter().skip(count.saturating_sub(1)) {
            if let Err(error) = self.end(session, EndReason::Evicted, Cause::default()).await {
                tracing::warn!(%error, "a session beyond the limit of a user is still to be removed");
            }
        }
    }
}
