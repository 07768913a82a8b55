//! Where a user is signed in, told in plain words, and the end of some of it.
//!
//! Invariants: only sessions of the very user are listed or ended, whatever a form names; the session
//! that asks ends by signing out, never here.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::device::DeviceName;
use super::proving::FormGate;
use super::strings::Strings;
use super::{Portal, PortalError, Visit, form, page};
use crate::clock::Timestamp;
use crate::identity::UserId;
use crate::session::engine::EndReason;
use crate::session::record::Session;

impl Portal {
    /// Ends sessions of the user who asks, but for the one that asks.
    pub(super) async fn end_own_sessions(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let session = match self.gate_form(visit, "/account").await? {
            FormGate::Open(session) => session,
            FormGate::Stale(session) => {
                return self.account_page(visit, &session, Some(&visit.words().form_expired)).await;
            }
            FormGate::Shut(response) => return Ok(response),
        };
        self.end_chosen(visit, &session.identity().user, Some(&session)).await?;
        Ok(visit.to(&format!("/account?reason={REASON_ENDED}")))
    }

    /// Ends those sessions of `user` that the form names, or all of them, but never `kept`.
    pub(super) async fn end_chosen(
        &self,
        visit: &Visit<'_>,
        user: &UserId,
        kept: Option<&Session>,
    ) -> Result<(), PortalError> {
        let chosen = Chosen::of(visit);
        // SECURITY: the names in the form only pick among the user's own sessions.
        for session in self.engine.sessions_of(user).await? {
            let is_kept = kept.is_some_and(|kept| kept.id() == session.id());
            if !is_kept && chosen.holds(&session) {
                self.engine.end(&session, EndReason::Revoked).await?;
            }
        }
        Ok(())
    }
}

/// A session as its user reads of it.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// Names it in a form. This is no secret: it opens nothing.
    id: String,
    device: String,
    address: String,
    since: String,
    last_seen: String,
    is_this: bool,
}

impl Line {
    /// The session; `this` is the one that asks.
    fn of(session: &Session, this: Option<&Session>, now: Timestamp, words: &Strings) -> Self {
        Self {
            id: session.id().to_hex(),
            device: words.told_device(DeviceName::of(session.user_agent())),
            address: session.address().to_canonical().to_string(),
            since: page::readable(session.created()),
            last_seen: words.ago(now.since(session.last_seen())),
            is_this: this.is_some_and(|this| this.id() == session.id()),
        }
    }

    /// As many of the sessions as a page shows, and a word on the others.
    pub(super) fn some(
        sessions: &[Arc<Session>],
        this: Option<&Session>,
        now: Timestamp,
        words: &Strings,
    ) -> (Vec<Self>, Option<String>) {
        let shown = sessions.iter().take(SHOWN).map(|session| Self::of(session, this, now, words)).collect();
        let left_out = sessions.len().saturating_sub(SHOWN);
        (shown, (left_out > 0).then(|| words.more_sessions.of(left_out as u64)))
    }
}

/// What the account page is told when sessions were ended.
pub(super) const REASON_ENDED: &str = "ended";

/// The sessions that a form names.
enum Chosen {
    All,
    These(Vec<String>),
}

impl Chosen {
    fn of(visit: &Visit<'_>) -> Self {
        if visit.says("all", "yes") { Self::All } else { Self::These(form::list(&visit.body, "end")) }
    }

    fn holds(&self, session: &Session) -> bool {
        match self {
            Self::All => true,
            Self::These(ids) => ids.contains(&session.id().to_hex()),
        }
    }
}

/// The newest; with more of them the page would be too long, and the form too large.
const SHOWN: usize = 50;
