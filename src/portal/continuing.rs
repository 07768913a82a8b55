//! The page that offers to go on with a form whose way was interrupted.
//!
//! The form is shown as hidden fields of one that leads to us; pressed, we answer 307, and the browser sends
//! the same fields to where they belonged. Invariants: nothing is sent unless a person presses the button;
//! a form is let through once; only who sent it sees it.

use bytes::Bytes;
use http::header::{HeaderValue, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{Response, StatusCode};
use serde::Serialize;

use super::browser::Browser;
use super::csrf::{self, Nonce};
use super::kept::{KeptForm, Then};
use super::kept_fields::{Fields, is_form};
use super::proving::Gate;
use super::{Activity, Caller, Portal, PortalError, Request, ReturnTo, Visit, page};
use crate::identity::UserId;
use crate::session::record::Session;

/// A form that came from somebody who must show first who they are.
#[derive(Debug)]
pub struct Interrupted<'a> {
    /// The headers of its request.
    pub headers: &'a http::HeaderMap,
    /// Where it was sent: path and query as they came.
    pub target: &'a str,
    /// Its type.
    pub content_type: &'a str,
    /// Its body.
    pub body: Bytes,
    /// Who sent it; nothing if their session is over.
    pub user: Option<&'a UserId>,
}

/// A form that is kept.
#[derive(Debug)]
pub struct Waiting {
    /// The page that offers it, below the portal.
    pub page: String,
    /// What binds it to the browser.
    pub cookie: HeaderValue,
}

impl Portal {
    /// Whether a form of this type and of who sends these headers would be kept.
    #[must_use]
    pub fn would_keep(&self, headers: &http::HeaderMap, content_type: &str, user: Option<&UserId>) -> bool {
        let knows_browser = || Browser::presented(headers, &self.engine.ring()).is_some();
        is_form(content_type) && (user.is_some() || knows_browser())
    }

    /// Keeps a form for who sent it; nothing if nobody knows who that was, or it could not be sent again.
    pub async fn keep(&self, form: Interrupted<'_>) -> Option<Waiting> {
        let Interrupted { headers, target, content_type, body, user } = form;
        Fields::of(content_type, &body)?;
        // A target that cannot be kept as it is would send the form elsewhere.
        if ReturnTo::parse(target).as_str() != target {
            return None;
        }
        let ring = self.engine.ring();
        let browser = match user {
            Some(user) => Browser::of(headers, &ring, user).ok()?,
            None => Browser::presented(headers, &ring)?,
        };
        let form = KeptForm {
            target: target.to_owned(),
            content_type: content_type.to_owned(),
            body: body.to_vec(),
        };
        let cookie = browser.to_cookie(&ring)?;
        let id = self.forms.keep(&form, &browser, &ring, self.clock.now()).await?;
        Some(Waiting { page: format!("/continue?id={id}"), cookie })
    }

    /// Shows what is kept.
    pub(super) async fn show_continue(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let session = match self.caller(visit, Activity::Counts).await? {
            Caller::Known(session) => session,
            Caller::Nobody | Caller::Expired => {
                let here = format!("{}/continue?{}", visit.portal, visit.query.unwrap_or_default());
                let next = ReturnTo::parse(&here);
                return Ok(visit.to_login(&format!("?next={}", next.to_query())));
            }
        };
        let id = visit.query_value("id").unwrap_or_default();
        let form = self.hand_out(visit, &session, id, Then::Stays).await?;
        let shown = form.and_then(|form| Some((Fields::of(&form.content_type, &form.body)?, form.target)));
        Ok(self.continue_page(visit, &session, id, shown))
    }

    /// What is said to somebody who sends a form on and may not; nothing if they may. Looks at the head alone.
    pub async fn refuse_to_go_on(
        &self,
        request: &Request<'_>,
    ) -> Result<Option<Response<Bytes>>, PortalError> {
        let settings = self.settings.load_full();
        let visit = Visit::of(request.clone(), &settings);
        Ok(match self.gate_to_go_on(&visit).await? {
            Gate::Open(_) => None,
            Gate::Shut(response) => Some(response),
        })
    }

    /// Sends the browser on with what it has just sent.
    pub(super) async fn go_on(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let session = match self.gate_to_go_on(visit).await? {
            Gate::Open(session) => session,
            Gate::Shut(response) => return Ok(response),
        };
        let id = visit.query_value("id").unwrap_or_default();
        match self.hand_out(visit, &session, id, Then::Goes).await? {
            Some(form) => Ok(again(&ReturnTo::parse(&form.target))),
            None => Ok(self.continue_page(visit, &session, "", None)),
        }
    }

    async fn hand_out(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        id: &str,
        then: Then,
    ) -> Result<Option<KeptForm>, PortalError> {
        let ring = self.engine.ring();
        let owner = Browser::of(visit.headers, &ring, &session.identity().user)?;
        Ok(self.forms.hand_out(id, &owner, &ring, self.clock.now(), then).await?)
    }

    async fn gate_to_go_on(&self, visit: &Visit<'_>) -> Result<Gate, PortalError> {
        csrf::check_origin(visit.headers, visit.host)
            .inspect_err(|&forged| self.note_forgery(visit, forged))?;
        let Caller::Known(session) = self.caller(visit, Activity::Counts).await? else {
            return Ok(Gate::Shut(visit.to_login("")));
        };
        let token = visit.query_value("token").unwrap_or_default();
        csrf::check_session(&self.engine.ring(), session.id().as_bytes(), token, self.clock.now())
            .inspect_err(|&forged| self.note_forgery(visit, forged))?;
        Ok(Gate::Open(session))
    }

    fn continue_page(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        id: &str,
        shown: Option<(Fields, String)>,
    ) -> Response<Bytes> {
        let (status, alarm) = match shown {
            Some(_) => (StatusCode::OK, None),
            None => (StatusCode::NOT_FOUND, Some(&*visit.words().form_gone)),
        };
        let (fields, target) = shown.unzip();
        let context = ContinuePage {
            token: self.form_token(session),
            id,
            alarm,
            target: target.as_deref().map(path_of),
            fields,
        };
        page::render(visit.place(), status, "continue.html", &context)
    }

    /// Says who signed in in this browser, so that a form of theirs can be kept when their session is over.
    pub(super) fn note_user(
        &self,
        visit: &Visit<'_>,
        user: &UserId,
    ) -> Result<Option<HeaderValue>, PortalError> {
        let ring = self.engine.ring();
        Ok(Browser::of(visit.headers, &ring, user)?.to_cookie(&ring))
    }

    /// SECURITY: takes the worth from every page that the browser has open, so that what was proved on them
    /// signs nobody in when it comes again from the history.
    pub(super) fn spend_nonce(mut response: Response<Bytes>) -> Result<Response<Bytes>, PortalError> {
        response.headers_mut().append(SET_COOKIE, Nonce::generate()?.to_cookie());
        Ok(response)
    }
}

/// The browser sends the same body once more (RFC 9110 section 15.4.8), and says where it comes from: with
/// the policy of our other answers it would not, and old applications refuse a form without a referrer.
fn again(target: &ReturnTo) -> Response<Bytes> {
    let mut response = page::see_other(HeaderValue::from_static("/"));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, target.to_location());
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

#[derive(Serialize)]
struct ContinuePage<'a> {
    token: String,
    id: &'a str,
    alarm: Option<&'a str>,
    target: Option<&'a str>,
    fields: Option<Fields>,
}
