//! What scripts may know of a session: whose it is and how long it lasts.
//!
//! Invariant: asking never counts as activity; only `extend` does, and only from our own origin.

use bytes::Bytes;
use http::header::{SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::{Activity, Caller, Portal, PortalError, Resumed, Visit, csrf, page};
use crate::clock::Timestamp;
use crate::session::engine::{Live, Renewal};
use crate::session::lifetime::{Lifetimes, Times};
use crate::session::record::Session;

/// What goes with every 401 (RFC 9110 11.6.1). No browser knows the scheme, so none asks by itself.
pub const CHALLENGE: HeaderValue = HeaderValue::from_static("Cookie realm=\"vestibule\"");

impl Portal {
    /// The session that asks, without keeping it alive.
    pub(super) async fn show_session(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let caller = self.caller(visit, Activity::DoesNotCount).await?;
        Ok(self.describe(visit, &caller))
    }

    /// Keeps an idle session alive.
    pub(super) async fn extend_session(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        if let Err(forged) = csrf::check_origin(visit.headers, visit.host) {
            self.note_forgery(visit, forged);
            return Err(forged.into());
        }
        let Resumed::Live(Live { session, renewal }) = self.resume(visit, Activity::Counts).await? else {
            return Ok(self.describe(visit, &Caller::Nobody));
        };
        let mut response = self.describe(visit, &Caller::Known(session));
        // A session that its browser keeps lives on only with a newer cookie.
        for cookie in renewal.into_iter().flat_map(Renewal::into_cookies) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        Ok(response)
    }

    fn describe(&self, visit: &Visit<'_>, caller: &Caller) -> Response<Bytes> {
        match caller {
            Caller::Known(session) => json(StatusCode::OK, &self.info(session)),
            Caller::Nobody | Caller::Expired => {
                let login_url = format!("{}/login", visit.portal);
                let mut response =
                    json(StatusCode::UNAUTHORIZED, &NoSession { error: "not signed in", login_url });
                response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
                response
            }
        }
    }

    fn info<'a>(&self, session: &'a Session) -> Info<'a> {
        let (lifetimes, now) = (self.engine.policy().lifetimes, self.clock.now());
        Info {
            user: session.identity().user.as_str(),
            idle_seconds_left: lifetimes.ends_at(session.times()).since(now).as_secs(),
            absolute_seconds_left: absolute_end(&lifetimes, session).since(now).as_secs(),
        }
    }
}

/// When a session ends whatever its user does.
pub(super) fn absolute_end(lifetimes: &Lifetimes, session: &Session) -> Timestamp {
    lifetimes.ends_at(Times { last_seen: Timestamp::from_millis(i64::MAX), ..session.times() })
}

#[derive(Serialize)]
struct Info<'a> {
    user: &'a str,
    idle_seconds_left: u64,
    absolute_seconds_left: u64,
}

#[derive(Serialize)]
struct NoSession {
    error: &'static str,
    login_url: String,
}

pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Bytes> {
    let body = serde_json::to_string(value).unwrap_or_default();
    page::respond(status, "application/json; charset=utf-8", body)
}
