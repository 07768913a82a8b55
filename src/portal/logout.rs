//! The question whether to sign out, and the end of a session.
//!
//! Invariants: GET ends nothing; when the answer says "signed out", the end of the session is
//! durable.

use bytes::Bytes;
use http::header::{HeaderName, SET_COOKIE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::csrf::{self, Forged};
use super::login::REASON_SIGNED_OUT;
use super::{Activity, Caller, Portal, PortalError, ReturnTo, Visit, page};
use crate::session::engine::EndReason;
use crate::session::record::Session;

impl Portal {
    /// Asks; who is not signed in is sent to the login page.
    pub(super) async fn ask_logout(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        Ok(match self.caller(visit, Activity::DoesNotCount).await? {
            Caller::Known(session) => self.question(visit, &session, None),
            Caller::Nobody | Caller::Expired => visit.to_login(""),
        })
    }

    /// Ends the session, in all tabs of this browser.
    pub(super) async fn submit_logout(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        if let Err(forged) = csrf::check_origin(visit.headers, visit.host) {
            self.note_forgery(visit, forged);
            return Err(forged.into());
        }
        if let Caller::Known(session) = self.caller(visit, Activity::DoesNotCount).await? {
            if let Err(forged) = self.check_session_form(visit, &session) {
                self.note_forgery(visit, forged);
                return Ok(self.question(visit, &session, Some(&visit.words().form_expired)));
            }
            self.engine.end(&session, EndReason::Logout).await?;
        }
        Ok(self.signed_out(visit))
    }

    fn question(&self, visit: &Visit<'_>, session: &Session, alarm: Option<&'static str>) -> Response<Bytes> {
        let token = csrf::session_token(&self.engine.ring(), session.id().as_bytes(), self.clock.now());
        let status = if alarm.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
        let context = LogoutPage { token, user: session.identity().user.as_str(), alarm };
        page::render(visit.place(), status, "logout.html", &context)
    }

    pub(super) fn check_session_form(&self, visit: &Visit<'_>, session: &Session) -> Result<(), Forged> {
        let token = visit.field("token").unwrap_or_default();
        csrf::check_session(&self.engine.ring(), session.id().as_bytes(), &token, self.clock.now())
    }

    fn signed_out(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let next = ReturnTo::parse(&visit.field("next").unwrap_or_default()).outside(visit.portal);
        let query = if next == ReturnTo::default() {
            format!("?reason={REASON_SIGNED_OUT}")
        } else {
            format!("?reason={REASON_SIGNED_OUT}&next={}", next.to_query())
        };
        let mut response = visit.to_login(&query);
        for cookie in self.engine.clear_cookies() {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response.headers_mut().insert(CLEAR_SITE_DATA, HeaderValue::from_static(EVERYTHING));
        response
    }
}

#[derive(Serialize)]
struct LogoutPage<'a> {
    token: String,
    user: &'a str,
    alarm: Option<&'static str>,
}

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What the application left in the browser goes as well.
const EVERYTHING: &str = "\"cache\",\"cookies\",\"storage\"";
