//! A request of a session: who shows the ticket, whether it counts, and what the browser gets back.
//!
//! Invariants: a session that is shown by another device, or by a token that was replaced, is over;
//! a browser keeps its old cookie until it has shown the new one, so that an answer that is lost on
//! the way logs nobody out.

use std::sync::Arc;

use http::header::HeaderValue;

use super::find::{Sought, Source};
use super::{EndReason, Settings, Shared, trail::Cause};
use crate::session::binding::{Device, Mismatch};
use crate::session::cookie::{Form, Ticket};
use crate::session::lifetime::{Ended, TokenState};
use crate::session::record::{Listing, Session};
use crate::session::store::StoreError;
use crate::telemetry::audit::EventKind;

/// What a request shows beside its ticket.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// Where it comes from.
    pub device: Device<'a>,
    /// Whether it keeps the session alive.
    pub activity: Activity,
    /// Its id, for the audit trail.
    pub request_id: &'a str,
}

/// Whether a request keeps an idle session alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It does.
    Counts,
    /// It only looks.
    DoesNotCount,
}

/// What a ticket opens.
#[derive(Clone, Debug)]
pub enum Resumed {
    /// A live session.
    Live(Live),
    /// A session that reached this limit, just now or a moment ago.
    Expired(Ended),
    /// Nothing, or nothing any more.
    Gone,
}

/// A live session, and what its browser is to be told.
#[derive(Clone, Debug)]
pub struct Live {
    /// The session.
    pub session: Arc<Session>,
    /// What brings the browser's cookie up to date; mostly nothing. An answer that cannot carry it may
    /// drop it: the next one gets it again.
    pub renewal: Option<Renewal>,
}

/// A newer cookie for the browser of a session.
#[derive(Clone, Debug)]
pub struct Renewal {
    session: Arc<Session>,
    generation: u32,
    cookies: Vec<HeaderValue>,
}

impl Renewal {
    /// The `Set-Cookie` values; none if the browser has shown a newer token since. To be asked for when
    /// the answer goes out, which may be long after the request came.
    #[must_use]
    pub fn into_cookies(self) -> Vec<HeaderValue> {
        if self.session.token().generation > self.generation { Vec::new() } else { self.cookies }
    }
}

impl Shared {
    pub(super) async fn resume(&self, ticket: &Ticket, visit: Visit<'_>) -> Result<Resumed, StoreError> {
        let source =
            ticket.carried.as_ref().map_or(Source::Store, |carried| Source::Browser(carried, ticket.key));
        match self.find(ticket.token.session(), source).await? {
            Sought::Live(session) => Ok(self.welcome(session, ticket, visit).await),
            Sought::Expired(limit) => Ok(Resumed::Expired(limit)),
            Sought::Gone => Ok(Resumed::Gone),
        }
    }

    async fn welcome(&self, session: Arc<Session>, ticket: &Ticket, visit: Visit<'_>) -> Resumed {
        let settings = self.settings.load_full();
        if let Some(mismatch) = settings.policy.binding.mismatch(session.device(), visit.device) {
            return self.destroy(&session, reason(mismatch), visit).await;
        }
        let now = self.clock.now();
        let state = settings.policy.lifetimes.token(session.token(), ticket.generation, now);
        if state == TokenState::Reused {
            return self.destroy(&session, EndReason::TokenReused, visit).await;
        }
        if state == TokenState::Next {
            session.advance(ticket.generation, now);
            self.note(EventKind::SessionRenewed, &session, "new token", cause(visit));
            self.list_if_needed(&session);
        }
        if visit.activity == Activity::Counts {
            self.touch(&session, now);
        }
        let renewal = self.update(&settings, &session, ticket, state);
        Resumed::Live(Live { session, renewal })
    }

    /// The cookies that bring a browser up to date. Its record moves to the key that signs as soon as the
    /// browser shows a cookie of that key: from then on nothing depends on the old one.
    fn update(
        &self,
        settings: &Settings,
        session: &Arc<Session>,
        ticket: &Ticket,
        state: TokenState,
    ) -> Option<Renewal> {
        let signer = settings.ring.signer().id();
        if ticket.key == signer && session.key() != signer {
            session.rekey(signer);
            self.list_if_needed(session);
        }
        let current = session.token().generation;
        let next = match state {
            TokenState::Due => Some(current.saturating_add(1)),
            TokenState::Previous => Some(current),
            _ if ticket.key != signer || self.is_outdated(settings, session, ticket) => Some(current),
            _ => None,
        };
        let generation = next?;
        let cookies = self.cookies(settings, &ticket.token, generation, session)?;
        Some(Renewal { session: Arc::clone(session), generation, cookies })
    }

    /// Whether a record that its browser keeps is too far behind the session.
    fn is_outdated(&self, settings: &Settings, session: &Session, ticket: &Ticket) -> bool {
        let Some(carried) = ticket.carried.as_ref().filter(|_| self.form == Form::Record) else {
            return false;
        };
        session.last_seen().since(carried.last_seen) >= settings.policy.lifetimes.idle / UPDATES_PER_IDLE
    }

    async fn destroy(&self, session: &Session, why: EndReason, visit: Visit<'_>) -> Resumed {
        if let Err(error) = self.end(session, why, cause(visit)).await {
            tracing::warn!(%error, "a destroyed session is still to be removed from the store");
        }
        Resumed::Gone
    }

    fn list_if_needed(&self, session: &Arc<Session>) {
        if session.list() == Listing::Needed {
            self.list(session);
        }
    }
}

const fn reason(mismatch: Mismatch) -> EndReason {
    match mismatch {
        Mismatch::UserAgent => EndReason::OtherBrowser,
        Mismatch::Address => EndReason::OtherNetwork,
    }
}

const fn cause(visit: Visit<'_>) -> Cause<'_> {
    Cause { address: Some(visit.device.address), request_id: Some(visit.request_id) }
}

/// A cookie that carries its record is written anew so often within the idle limit.
const UPDATES_PER_IDLE: u32 = 10;
