//! The login page and what comes of its form.
//!
//! Who may pass is decided by the login room; what is asked of who has too many sessions is left to
//! [`super::at_limit`]. Invariants: a login always begins a new session and ends the one that the
//! browser still had; every failure looks the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{RETRY_AFTER, SET_COOKIE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::confirm::after_confirming;
use super::csrf::{self, Forged, Nonce};
use super::passkeys::Offer;
use super::proof::Proof;
use super::strings::Strings;
use super::{Activity, Caller, Portal, PortalError, ReturnTo, Visit, known_device, page};
use crate::identity::{AuthMethod, Factor, UserId};
use crate::login::factors::Summary;
use crate::login::{Attempt, Outcome, Standing};
use crate::secret::Secret;
use crate::session::engine::{EndReason, Login, OpenError, Opened};
use crate::session::lifetime::Remember;
use crate::session::proofs::Proofs;
use crate::session::record::Session;

impl Portal {
    /// The form; for somebody who is signed in the question whether to go on or to switch.
    pub(super) async fn show_login(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let next = after_confirming(visit, ReturnTo::from_query(visit.query));
        let note = match self.caller(visit, Activity::DoesNotCount).await? {
            // The name of OpenID Connect: asks for a login of who is signed in too, before their session ends.
            Caller::Known(session) if visit.query_value("prompt") == Some("login") => {
                let user = session.identity().user.as_str();
                return self.form(visit, StatusCode::OK, &Filled { user, ..Filled::new(next) });
            }
            Caller::Known(session) => return Ok(self.offer_switch(visit, &session, &next)),
            Caller::Expired => Some(&*visit.words().session_expired),
            Caller::Nobody => note(visit.words(), visit.query_value("reason")),
        };
        self.form(visit, StatusCode::OK, &Filled { note, ..Filled::new(next) })
    }

    /// Looks at a form that came in.
    pub(super) async fn submit_login(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        visit.takes(AuthMethod::Password)?;
        let next = after_confirming(visit, ReturnTo::parse(&visit.field("next").unwrap_or_default()));
        let user = visit.field("user").unwrap_or_default();
        let filled = Filled { user: &user, remember: self.wish(visit), ..Filled::new(next) };
        if let Err(forged) = self.check_login_form(visit) {
            return self.refuse_form(visit, filled, forged);
        }
        match self.attempt(visit, &user).await? {
            Outcome::Proved(Standing { identity, password }, method) => {
                let (remember, next, issued) = (filled.remember, filled.next.clone(), self.clock.now());
                let proofs = Proofs::default().with(Factor::Password, issued);
                let proof = Proof { identity, method, password, proofs, remember, next, issued };
                self.begin_or_ask(visit, &proof).await
            }
            Outcome::Refused => self.refuse(visit, filled),
            Outcome::Throttled { retry_after } => {
                let page = filled.alarmed(visit.words().told_to_wait(retry_after));
                Ok(retry(self.form(visit, StatusCode::TOO_MANY_REQUESTS, &page)?, retry_after))
            }
            Outcome::Busy => {
                let page = filled.alarmed(visit.words().busy.clone());
                Ok(retry(self.form(visit, StatusCode::SERVICE_UNAVAILABLE, &page)?, BUSY_FOR))
            }
        }
    }

    fn offer_switch(&self, visit: &Visit<'_>, session: &Session, next: &ReturnTo) -> Response<Bytes> {
        let token = csrf::session_token(&self.engine.ring(), session.id().as_bytes(), self.clock.now());
        let context = SwitchPage { token, user: session.identity().user.as_str(), next: next.as_str() };
        page::scripted(page::render(visit.place(), StatusCode::OK, "switch.html", &context))
    }

    pub(super) fn form(
        &self,
        visit: &Visit<'_>,
        status: StatusCode,
        filled: &Filled<'_>,
    ) -> Result<Response<Bytes>, PortalError> {
        let nonce = Nonce::of_browser(visit.headers)?;
        let context = LoginPage {
            token: csrf::login_token(&self.engine.ring(), &nonce, self.clock.now()),
            next: filled.next.as_str(),
            user: if filled.user.chars().count() <= SHOWN_NAME_LIMIT { filled.user } else { "" },
            alarm: filled.alarm.as_deref(),
            note: filled.note,
            offer_remember: self.offers_remember(),
            remember: filled.remember == Remember::Yes,
            methods: visit.methods.iter().map(|method| method.as_str()).collect(),
            passkey: self.offer_login(visit, &nonce)?,
        };
        let mut response = page::scripted(page::render(visit.place(), status, "login.html", &context));
        response.headers_mut().append(SET_COOKIE, nonce.to_cookie());
        Ok(response)
    }

    pub(super) fn check_login_form(&self, visit: &Visit<'_>) -> Result<(), Forged> {
        csrf::check_origin(visit.headers, visit.host)?;
        let token = visit.field("token").unwrap_or_default();
        csrf::check_login(&self.engine.ring(), visit.headers, &token, self.clock.now())
    }

    /// Another site gets an error; a person whose form is stale gets a fresh one.
    pub(super) fn refuse_form(
        &self,
        visit: &Visit<'_>,
        filled: Filled<'_>,
        forged: Forged,
    ) -> Result<Response<Bytes>, PortalError> {
        self.note_forgery(visit, forged);
        let text = match forged {
            Forged::Origin => return Err(forged.into()),
            Forged::NoCookie => &visit.words().no_cookie,
            Forged::Token | Forged::Expired => &visit.words().form_expired,
        };
        self.form(visit, StatusCode::FORBIDDEN, &filled.alarmed(text.clone()))
    }

    async fn attempt(&self, visit: &Visit<'_>, user: &str) -> Result<Outcome, PortalError> {
        let password = Secret::new(visit.field("password").unwrap_or_default());
        let (address, request_id) = (visit.client, visit.request_id);
        let device = known_device::find(visit.headers, &self.engine.ring(), user, self.clock.now());
        Ok(self.login.attempt(Attempt { user, password, address, device, request_id }).await?)
    }

    pub(super) fn refuse(
        &self,
        visit: &Visit<'_>,
        filled: Filled<'_>,
    ) -> Result<Response<Bytes>, PortalError> {
        let page = filled.alarmed(visit.words().refused.clone());
        let mut response = self.form(visit, StatusCode::UNAUTHORIZED, &page)?;
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, super::CHALLENGE);
        Ok(response)
    }

    /// Begins the session of somebody who proved who they are.
    pub(super) async fn begin(&self, visit: &Visit<'_>, proof: &Proof) -> Result<Begun, PortalError> {
        let standing = match self.standing_of(proof).await? {
            Ok(standing) => standing,
            Err(fallen) => return Ok(Begun::Fallen(fallen)),
        };
        // SECURITY: the one place where sessions begin, so that no way in leaves the factor out.
        if let Some(has) = self.factor_lacked(proof).await? {
            return Ok(Begun::FactorNeeded(has));
        }
        if let Caller::Known(earlier) = self.caller(visit, Activity::DoesNotCount).await? {
            self.engine.end(&earlier, EndReason::Replaced).await?;
        }
        let Proof { method, proofs, remember, .. } = proof.clone();
        let identity = standing.identity.clone();
        let login = Login { identity, method, proofs, remember, device: visit.device() };
        let Opened { cookies, session } = match self.engine.open(login).await {
            Err(OpenError::AtLimit(sessions)) => return Ok(Begun::AtLimit(sessions)),
            opened => opened?,
        };
        // SECURITY: an account that was disabled or changed since it was read lost its sessions before this one
        // began.
        let still = self.standing_of(proof).await;
        if !matches!(&still, Ok(Ok(still)) if *still == standing) {
            self.engine.end(&session, EndReason::AccountDisabled).await?;
            return Ok(Begun::Fallen(still?.err().unwrap_or(Fallen::Changed)));
        }
        self.signed_in(visit, &session.identity().user, proof, cookies)
    }

    fn signed_in(
        &self,
        visit: &Visit<'_>,
        user: &UserId,
        proof: &Proof,
        cookies: Vec<HeaderValue>,
    ) -> Result<Begun, PortalError> {
        let browser = self.note_user(visit, user)?;
        let device = known_device::remember(visit.headers, &self.engine.ring(), user, self.clock.now())?;
        let mut response = page::see_other(proof.next.to_location());
        for cookie in cookies.into_iter().chain([device]).chain(browser) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        Ok(Begun::SignedIn(response))
    }

    /// What the account of a proof is now, if the proof is still worth something.
    pub(super) async fn standing_of(&self, proof: &Proof) -> Result<Result<Standing, Fallen>, PortalError> {
        Ok(match self.login.standing(&proof.identity.user).await? {
            None => Err(Fallen::Disabled),
            Some(standing) if standing.password != proof.password => Err(Fallen::Changed),
            Some(standing) => Ok(standing),
        })
    }

    /// The login page, for somebody whose account is not what it was when they proved who they are.
    pub(super) fn refuse_fallen(
        &self,
        visit: &Visit<'_>,
        proof: &Proof,
        fallen: Fallen,
    ) -> Result<Response<Bytes>, PortalError> {
        match fallen {
            Fallen::Disabled => self.refuse(visit, Filled::of(proof)),
            Fallen::Changed => {
                let filled = Filled::of(proof).alarmed(visit.words().proof_expired.clone());
                self.form(visit, StatusCode::FORBIDDEN, &filled)
            }
        }
    }

    /// What the user has as a second factor, if the proof holds none of it.
    pub(super) async fn factor_lacked(&self, proof: &Proof) -> Result<Option<Summary>, PortalError> {
        if proof.proofs.second().is_some() {
            return Ok(None);
        }
        Ok(Some(self.factors.of(&proof.identity.user).await?).filter(Summary::has_second))
    }

    fn offers_remember(&self) -> bool {
        !self.engine.policy().lifetimes.remember.is_zero()
    }

    pub(super) fn wish(&self, visit: &Visit<'_>) -> Remember {
        if visit.says("remember", "yes") && self.offers_remember() { Remember::Yes } else { Remember::No }
    }
}

/// What became of a proof.
pub(super) enum Begun {
    /// A session; the way to where it was wanted.
    SignedIn(Response<Bytes>),
    /// Nothing: the user has these factors, and has shown none.
    FactorNeeded(Summary),
    /// Nothing: the user has as many sessions as they may have.
    AtLimit(Vec<Arc<Session>>),
    /// Nothing: the account is not what it was.
    Fallen(Fallen),
}

/// Why a proof is worth nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallen {
    /// The account may not sign in.
    Disabled,
    /// It has another password, or was changed at this very moment.
    Changed,
}

/// What the form is filled with.
#[derive(Debug)]
pub(super) struct Filled<'a> {
    next: ReturnTo,
    user: &'a str,
    remember: Remember,
    alarm: Option<String>,
    note: Option<&'static str>,
}

impl<'a> Filled<'a> {
    /// As somebody had filled it in who proved this.
    pub(super) fn of(proof: &'a Proof) -> Self {
        let user = proof.identity.user.as_str();
        Self { user, remember: proof.remember, ..Self::new(proof.next.clone()) }
    }

    pub(super) const fn new(next: ReturnTo) -> Self {
        Self { next, user: "", remember: Remember::No, alarm: None, note: None }
    }

    pub(super) fn alarmed(self, alarm: String) -> Self {
        Self { alarm: Some(alarm), ..self }
    }
}

#[derive(Serialize)]
struct LoginPage<'a> {
    token: String,
    next: &'a str,
    user: &'a str,
    alarm: Option<&'a str>,
    note: Option<&'static str>,
    offer_remember: bool,
    remember: bool,
    methods: Vec<&'static str>,
    passkey: Option<Offer>,
}

#[derive(Serialize)]
struct SwitchPage<'a> {
    token: String,
    user: &'a str,
    next: &'a str,
}

/// The `reason` in the query of the login page for somebody whose session has expired.
pub const REASON_EXPIRED: &str = "expired";
/// The `reason` of somebody who signed out.
pub(super) const REASON_SIGNED_OUT: &str = "signed-out";

/// After that long a hashing thread is likely to be free.
const BUSY_FOR: Duration = Duration::from_secs(2);

/// A name of more characters is not written back into the form.
const SHOWN_NAME_LIMIT: usize = 128;

fn note<'a>(words: &'a Strings, reason: Option<&str>) -> Option<&'a str> {
    match reason {
        Some(REASON_EXPIRED) => Some(&words.session_expired),
        Some(REASON_SIGNED_OUT) => Some(&words.signed_out),
        other => words.changed(other),
    }
}

pub(super) fn retry(mut response: Response<Bytes>, after: Duration) -> Response<Bytes> {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
}
