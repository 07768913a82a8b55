//! The account page: who you are here, since when, and the way out.
//!
//! Invariant: it shows the session that asks, never another one.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use super::session_info::absolute_end;
use super::{Activity, Caller, Portal, PortalError, Visit, csrf, page};
use crate::session::record::Session;

impl Portal {
    /// The page of whoever is signed in; others are sent to the login page.
    pub(super) async fn show_account(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        Ok(match self.caller(visit, Activity::Counts).await? {
            Caller::Known(session) => self.account_page(visit, &session),
            Caller::Nobody | Caller::Expired => visit.to_login(""),
        })
    }

    fn account_page(&self, visit: &Visit<'_>, session: &Session) -> Response<Bytes> {
        let identity = session.identity();
        let context = AccountPage {
            token: csrf::session_token(&self.engine.ring(), session.id().as_bytes(), self.clock.now()),
            user: identity.user.as_str(),
            name: identity.name.as_deref(),
            email: identity.email.as_deref(),
            groups: identity.groups.iter().map(crate::identity::Group::as_str).collect(),
            method: session.method().as_str(),
            since: page::readable(session.authenticated()),
            until: page::readable(absolute_end(&self.engine.policy().lifetimes, session)),
        };
        page::render(visit.place(), StatusCode::OK, "account.html", &context)
    }
}

#[derive(Serialize)]
struct AccountPage<'a> {
    token: String,
    user: &'a str,
    name: Option<&'a str>,
    email: Option<&'a str>,
    groups: Vec<&'a str>,
    method: &'a str,
    since: String,
    until: String,
}
