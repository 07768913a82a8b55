//! The pages on which somebody shows who they are once more, or changes what they show.
//!
//! The map of those pages, and the gate before those that change a credential. Invariant: no credential is
//! changed and no other session ended by who has not shown lately that it is still them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{SET_COOKIE, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde::Serialize;

use super::login::retry;
use super::strings::Strings;
use super::{Activity, Caller, Portal, PortalError, ReturnTo, Verb, Visit, asset, csrf, page};
use crate::identity::Factor;
use crate::login::factors::Verdict;
use crate::session::engine::Opened;
use crate::session::record::Session;

impl Portal {
    /// Answers a request for one of these pages, or for a file that pages load.
    pub(super) async fn serve_proving(
        &self,
        visit: &Visit<'_>,
        path: &str,
        verb: Verb,
    ) -> Result<Response<Bytes>, PortalError> {
        match (path, verb) {
            ("/login/factor" | "/login/passkey", Verb::Look) => Ok(visit.to_login("")),
            ("/login/factor", Verb::Post) => self.submit_factor(visit).await,
            ("/login/passkey", Verb::Post) => self.login_by_passkey(visit).await,
            ("/confirm", Verb::Look) => self.show_confirm(visit).await,
            ("/confirm", Verb::Post) => self.submit_confirm(visit).await,
            ("/account/password", _) if !self.login.takes_passwords() => Err(PortalError::NotFound),
            ("/account/password", Verb::Look) => self.show_password(visit).await,
            ("/account/password", Verb::Post) => self.submit_password(visit).await,
            ("/account/factors", Verb::Look) => self.show_factors(visit).await,
            ("/account/factors/totp", Verb::Look) => self.show_totp(visit).await,
            ("/account/factors/totp", Verb::Post) => self.submit_totp(visit).await,
            ("/account/factors/passkey", Verb::Look) => self.show_passkey(visit).await,
            ("/account/factors/passkey", Verb::Post) => self.submit_passkey(visit).await,
            ("/account/factors/codes", Verb::Post) => self.make_codes(visit).await,
            ("/account/factors/remove", Verb::Post) => self.remove_factor(visit).await,
            ("/account/factors/codes" | "/account/factors/remove", Verb::Look) => {
                Ok(visit.to("/account/factors"))
            }
            ("/continue", Verb::Look) => self.show_continue(visit).await,
            ("/continue", Verb::Post) => self.go_on(visit).await,
            ("/reset", Verb::Look) => self.show_reset(visit).await,
            ("/reset", Verb::Post) => self.submit_reset(visit).await,
            ("/account/factors", _) => Err(PortalError::MethodNotAllowed("GET, HEAD")),
            (page, Verb::Other) if PAGES.contains(&page) => {
                Err(PortalError::MethodNotAllowed("GET, HEAD, POST"))
            }
            (path, verb) => asset(visit.look, path, verb),
        }
    }

    /// Lets somebody pass to `page`, a page of ours below the account, who has shown lately who they are.
    pub(super) async fn gate(&self, visit: &Visit<'_>, page: &str) -> Result<Gate, PortalError> {
        let Caller::Known(session) = self.caller(visit, Activity::Counts).await? else {
            return Ok(Gate::Shut(visit.to_login("")));
        };
        let has_second = self.factors.of(&session.identity().user).await?.has_second();
        let proofs = session.proofs();
        let wanted = match (has_second, proofs.second(), proofs.latest()) {
            // SECURITY: a session from before the factor was enrolled proves no more than the password.
            (true, None, _) => "factor",
            (_, _, Some(at)) if self.clock.now().since(at) < FRESH => return Ok(Gate::Open(session)),
            _ => "fresh",
        };
        let next = ReturnTo::parse(&format!("{}{page}", visit.portal));
        Ok(Gate::Shut(visit.to(&format!("/confirm?for={wanted}&next={}", next.to_query()))))
    }

    /// The same for a form, which must be one that this session was shown.
    pub(super) async fn gate_form(&self, visit: &Visit<'_>, page: &str) -> Result<FormGate, PortalError> {
        if let Err(forged) = csrf::check_origin(visit.headers, visit.host) {
            self.note_forgery(visit, forged);
            return Err(forged.into());
        }
        let session = match self.gate(visit, page).await? {
            Gate::Open(session) => session,
            Gate::Shut(response) => return Ok(FormGate::Shut(response)),
        };
        if let Err(forged) = self.check_session_form(visit, &session) {
            self.note_forgery(visit, forged);
            return Ok(FormGate::Stale(session));
        }
        Ok(FormGate::Open(session))
    }

    /// Gives the session a new token after its user has shown `factor`; nothing if it ended meanwhile.
    pub(super) async fn elevate(
        &self,
        session: &Session,
        factor: Factor,
    ) -> Result<Option<Opened>, PortalError> {
        let proofs = session.proofs().with(factor, self.clock.now());
        Ok(self.engine.elevate(session, proofs).await?)
    }

    /// The same after a credential was changed, which proves nothing new.
    pub(super) async fn renew(&self, session: &Session) -> Result<Option<Opened>, PortalError> {
        Ok(self.engine.elevate(session, session.proofs()).await?)
    }

    /// The token of a form within `session`.
    pub(super) fn form_token(&self, session: &Session) -> String {
        csrf::session_token(&self.engine.ring(), session.id().as_bytes(), self.clock.now())
    }
}

/// Whether somebody may pass to a page.
pub(super) enum Gate {
    /// They may.
    Open(Arc<Session>),
    /// Not yet: the way to where they can.
    Shut(Response<Bytes>),
}

/// Whether a form is taken.
pub(super) enum FormGate {
    /// It is.
    Open(Arc<Session>),
    /// It is out of date: it is to be shown again.
    Stale(Arc<Session>),
    /// Whoever sent it may not pass yet.
    Shut(Response<Bytes>),
}

/// What somebody is told whose proof is not taken.
pub(super) struct Objection {
    /// The status of the page.
    pub(super) status: StatusCode,
    /// The words.
    pub(super) text: String,
    retry_after: Option<Duration>,
}

impl Objection {
    /// The form is out of date.
    pub(super) fn stale(words: &Strings) -> Self {
        Self { status: StatusCode::FORBIDDEN, text: words.form_expired.clone(), retry_after: None }
    }

    /// Something typed that cannot be.
    pub(super) const fn wrong(text: String) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, text, retry_after: None }
    }

    /// A proof that is wrong.
    pub(super) fn refused(text: &str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, text: text.to_owned(), retry_after: None }
    }

    /// Too many were wrong.
    pub(super) fn wait(words: &Strings, wait: Duration) -> Self {
        let (status, text) = (StatusCode::TOO_MANY_REQUESTS, words.told_to_wait(wait));
        Self { status, text, retry_after: Some(wait) }
    }

    /// Too much to do.
    pub(super) fn busy(words: &Strings) -> Self {
        let (status, text) = (StatusCode::SERVICE_UNAVAILABLE, words.busy.clone());
        Self { status, text, retry_after: Some(BUSY_FOR) }
    }

    /// What a verdict on a second factor says, if it is not that it is right.
    pub(super) fn of(words: &Strings, verdict: Verdict) -> Result<Factor, Self> {
        match verdict {
            Verdict::Right(factor) => Ok(factor),
            Verdict::Wrong => Err(Self::refused(&words.code_refused)),
            Verdict::Wait(wait) => Err(Self::wait(words, wait)),
            Verdict::Busy => Err(Self::busy(words)),
        }
    }

    /// A page that says it, with the headers that its status demands.
    pub(super) fn on(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, super::CHALLENGE);
        }
        match self.retry_after {
            Some(after) => retry(response, after),
            None => response,
        }
    }
}

/// A page that asks for a proof, with what was wrong about the last one.
pub(super) fn asking<C: Serialize>(
    visit: &Visit<'_>,
    template: &str,
    context: &C,
    objection: Option<&Objection>,
) -> Response<Bytes> {
    let status = objection.map_or(StatusCode::OK, |objection| objection.status);
    let response = page::scripted(page::render(visit.place(), status, template, context));
    match objection {
        Some(objection) => objection.on(response),
        None => response,
    }
}

/// A response that brings a session's new token.
pub(super) fn with_cookies(mut response: Response<Bytes>, opened: &Opened) -> Response<Bytes> {
    for cookie in &opened.cookies {
        response.headers_mut().append(SET_COOKIE, cookie.clone());
    }
    response
}

/// How long a proof opens the pages that change credentials.
const FRESH: Duration = Duration::from_mins(5);

const BUSY_FOR: Duration = Duration::from_secs(2);

const PAGES: [&str; 10] = [
    "/login/factor",
    "/login/passkey",
    "/confirm",
    "/continue",
    "/account/password",
    "/account/factors/totp",
    "/account/factors/passkey",
    "/account/factors/codes",
    "/account/factors/remove",
    "/reset",
];
