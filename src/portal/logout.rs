//! The question whether to sign out, and the end of a session.
//!
//! Invariants: GET ends nothing; when the answer says "signed out", the end of the session is
//! durable.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::header::{COOKIE, HeaderName, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::csrf::{self, Forged};
use super::login::REASON_SIGNED_OUT;
use super::{Activity, Caller, Portal, PortalError, ReturnTo, Visit, known_device, page};
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
        let gone = self.engine.clear_cookies();
        let others = expire_others(visit.headers, &gone);
        for cookie in gone.into_iter().chain(others) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response.headers_mut().insert(CLEAR_SITE_DATA, HeaderValue::from_static(BUT_COOKIES));
        response
    }
}

/// Takes from the browser what it showed beside the session: the application's own session above all, which the
/// next person at this machine must not find. Cookies of a whole domain stay, as they are not of this host alone,
/// and so does that of the device.
fn expire_others(headers: &HeaderMap, gone: &[HeaderValue]) -> Vec<HeaderValue> {
    let name_of =
        |pair: &[u8]| pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii().to_vec();
    let kept: Vec<Vec<u8>> = gone.iter().map(|cookie| name_of(cookie.as_bytes())).collect();
    let lines = headers.get_all(COOKIE).iter();
    let shown = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(name_of);
    let others: BTreeSet<Vec<u8>> = shown
        .filter(|name| *name != known_device::COOKIE.as_bytes() && !kept.contains(name))
        // The name of a cookie is a token, as that of a header (RFC 6265 section 4.1.1).
        .filter(|name| HeaderName::from_bytes(name).is_ok())
        .collect();
    let expired = others.into_iter().take(MOST).map(|name| [name.as_slice(), EXPIRED.as_bytes()].concat());
    expired.filter_map(|cookie| HeaderValue::try_from(cookie).ok()).collect()
}

#[derive(Serialize)]
struct LogoutPage<'a> {
    token: String,
    user: &'a str,
    alarm: Option<&'static str>,
}

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What the application left in the browser goes as well. `"cookies"` would also take those of every other host
/// of the domain, and that of the device.
const BUT_COOKIES: &str = "\"cache\",\"storage\"";

/// As it must look for names that begin with `__Host-` or `__Secure-`, too.
const EXPIRED: &str = "=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0";

/// Cookies; no browser keeps many more for a host.
const MOST: usize = 60;
