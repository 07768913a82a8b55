//! The account page: who you are here, since when, where else, and the way out.
//!
//! Ending sessions from here is left to [`super::sessions`]. Invariant: it shows the session that asks
//! and others of the same user, nobody else's.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use super::session_info::absolute_end;
use super::sessions::{Line, REASON_ENDED};
use super::strings::Strings;
use super::{Activity, Caller, Portal, PortalError, Visit, csrf, page};
use crate::session::engine::{OfUser, Others};
use crate::session::record::Session;

impl Portal {
    /// The page of whoever is signed in; others are sent to the login page.
    pub(super) async fn show_account(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        match self.caller(visit, Activity::Counts).await? {
            Caller::Known(session) => self.account_page(visit, &session, None).await,
            Caller::Nobody | Caller::Expired => Ok(visit.to_login("")),
        }
    }

    pub(super) async fn account_page(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        alarm: Option<&'static str>,
    ) -> Result<Response<Bytes>, PortalError> {
        let (identity, words) = (session.identity(), visit.words());
        let context = AccountPage {
            token: csrf::session_token(&self.engine.ring(), session.id().as_bytes(), self.clock.now()),
            alarm,
            note: match visit.query_value("reason") {
                Some(REASON_ENDED) => Some(&*words.sessions_ended),
                other => words.changed(other),
            }
            .filter(|_| alarm.is_none()),
            user: identity.user.as_str(),
            name: identity.name.as_deref(),
            email: identity.email.as_deref(),
            groups: identity.groups.iter().map(crate::identity::Group::as_str).collect(),
            method: session.method().as_str(),
            since: page::readable(session.authenticated()),
            until: page::readable(absolute_end(&self.engine.policy().lifetimes, session)),
            takes_passwords: self.login.takes_passwords(),
            sessions: self.sessions_for(session, words).await,
        };
        let status = if alarm.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
        Ok(page::render(visit.place(), status, "account.html", &context))
    }

    /// The list of the user's sessions, this one first. A store that does not answer takes away no more of the page than
    /// that; one that cannot list has none to show.
    async fn sessions_for(&self, session: &Session, words: &Strings) -> Sessions {
        match self.engine.known_of(&session.identity().user).await {
            Ok(OfUser { mut sessions, others: Others::None }) => {
                sessions.sort_by_key(|other| other.id() != session.id());
                let (lines, more) = Line::some(&sessions, Some(session), self.clock.now(), words);
                Sessions { has_others: sessions.len() > 1, lines, more, is_unknown: false }
            }
            // Memory alone may leave some out.
            Ok(OfUser { others: Others::Perhaps(_), .. }) => Sessions::default(),
            Err(error) => {
                tracing::debug!(%error, "sessions of a user cannot be listed");
                Sessions { is_unknown: true, ..Sessions::default() }
            }
        }
    }
}

#[derive(Serialize)]
struct AccountPage<'a> {
    token: String,
    alarm: Option<&'static str>,
    note: Option<&'static str>,
    user: &'a str,
    name: Option<&'a str>,
    email: Option<&'a str>,
    groups: Vec<&'a str>,
    method: &'a str,
    since: String,
    until: String,
    takes_passwords: bool,
    sessions: Sessions,
}

#[derive(Default, Serialize)]
struct Sessions {
    lines: Vec<Line>,
    more: Option<String>,
    has_others: bool,
    is_unknown: bool,
}
