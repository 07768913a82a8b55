//! Passkeys on our pages: the question that a page carries, and the answer that its form brings.
//!
//! The script puts the one to the browser and writes down the other; everything else is forms. Invariants:
//! the state of a question lies sealed in its form, bound to who was asked and for what; each serves once.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::confirm::after_confirming;
use super::csrf::Nonce;
use super::device::DeviceName;
use super::login::Filled;
use super::proof::Proof;
use super::proving::{FormGate, Gate, Objection, asking};
use super::{Portal, PortalError, ReturnTo, Visit, strings};
use crate::clock::Timestamp;
use crate::identity::{AuthMethod, Factor, UserId};
use crate::login::factors::{Answered, NewPasskey, Question, Site};
use crate::session::Proofs;
use crate::session::keyring::Sealing;
use crate::session::record::Session;

/// A question as a page carries it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Offer {
    options: String,
    state: String,
}

impl Portal {
    /// The question for a passkey of `user` on the page that `binding` stands for, if they have one here.
    pub(super) async fn offer_passkey(
        &self,
        visit: &Visit<'_>,
        binding: &[u8],
        user: &UserId,
    ) -> Result<Option<Offer>, PortalError> {
        let Some(site) = Site::at(visit.host) else { return Ok(None) };
        let question = self.factors.ask_passkey(&site, user).await?;
        Ok(question.and_then(|question| self.offer(question, binding)))
    }

    /// The question for a passkey of anybody, for the login page.
    pub(super) fn offer_login(&self, visit: &Visit<'_>, nonce: &Nonce) -> Result<Option<Offer>, PortalError> {
        let Some(site) = Site::at(visit.host) else { return Ok(None) };
        Ok(self.offer(self.factors.ask_any_passkey(&site)?, nonce.as_bytes()))
    }

    /// Whether the form brings the answer of a passkey of `user`.
    pub(super) async fn check_passkey(
        &self,
        visit: &Visit<'_>,
        binding: &[u8],
        user: &UserId,
        answer: &str,
    ) -> Result<bool, PortalError> {
        let (Some(site), Some(state)) = (Site::at(visit.host), self.state(visit, binding).await?) else {
            return Ok(false);
        };
        let answered = Answered { state: &state, answer, request_id: visit.request_id };
        Ok(self.factors.check_passkey(&site, user, answered).await?)
    }

    /// Signs in whoever the passkey in the form belongs to.
    pub(super) async fn login_by_passkey(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let next = after_confirming(visit, ReturnTo::parse(&visit.field("next").unwrap_or_default()));
        let remember = self.wish(visit);
        if let Err(forged) = self.check_login_form(visit) {
            return self.refuse_form(visit, Filled::new(next), forged);
        }
        let nonce = Nonce::of_browser(visit.headers)?;
        let identity = match self.owner_of_answer(visit, &nonce).await? {
            Some(user) => self.login.identity(&user).await?,
            None => None,
        };
        let Some(identity) = identity else {
            let filled = Filled::new(next).alarmed(strings::PASSKEY_REFUSED.to_owned());
            return self.form(visit, StatusCode::FORBIDDEN, &filled);
        };
        let (method, issued) = (AuthMethod::Passkey, self.clock.now());
        let proofs = Proofs::default().with(Factor::Passkey, issued);
        self.begin_or_ask(visit, &Proof { identity, method, proofs, remember, next, issued }).await
    }

    async fn owner_of_answer(&self, visit: &Visit<'_>, nonce: &Nonce) -> Result<Option<UserId>, PortalError> {
        let state = self.state(visit, nonce.as_bytes()).await?;
        let (Some(site), Some(state)) = (Site::at(visit.host), state) else { return Ok(None) };
        let answer = visit.field("answer").unwrap_or_default();
        let answered = Answered { state: &state, answer: &answer, request_id: visit.request_id };
        Ok(self.factors.check_any_passkey(&site, answered).await?)
    }

    /// The page that makes a passkey.
    pub(super) async fn show_passkey(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let next = after_confirming(visit, ReturnTo::from_query(visit.query));
        match self.gate(visit, &here(&next)).await? {
            Gate::Open(session) => self.passkey_page(visit, &session, &next, None).await,
            Gate::Shut(response) => Ok(response),
        }
    }

    /// Takes the passkey that the browser made.
    pub(super) async fn submit_passkey(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let next = after_confirming(visit, ReturnTo::parse(&visit.field("next").unwrap_or_default()));
        let session = match self.gate_form(visit, &here(&next)).await? {
            FormGate::Open(session) => session,
            FormGate::Stale(session) => {
                return self.passkey_page(visit, &session, &next, Some(&Objection::stale())).await;
            }
            FormGate::Shut(response) => return Ok(response),
        };
        let user = &session.identity().user;
        let site = Site::at(visit.host).ok_or(PortalError::NotFound)?;
        let state = self.state(visit, session.id().as_bytes()).await?.unwrap_or_default();
        let (answer, typed) =
            (visit.field("answer").unwrap_or_default(), visit.field("name").unwrap_or_default());
        let device = strings::device(DeviceName::of(visit.device().user_agent));
        let name = if typed.trim().is_empty() { &device } else { typed.trim() };
        let answered = Answered { state: &state, answer: &answer, request_id: visit.request_id };
        if !self.factors.add_passkey(&site, user, NewPasskey { answered, name }).await? {
            let wrong = Objection::wrong(strings::PASSKEY_NOT_MADE.to_owned());
            return self.passkey_page(visit, &session, &next, Some(&wrong)).await;
        }
        match self.elevate(&session, Factor::Passkey).await? {
            Some(opened) => self.after_enrolment(visit, &opened, &next).await,
            None => Ok(visit.to_login("")),
        }
    }

    async fn passkey_page(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        next: &ReturnTo,
        objection: Option<&Objection>,
    ) -> Result<Response<Bytes>, PortalError> {
        let site = Site::at(visit.host).ok_or(PortalError::NotFound)?;
        let question = self.factors.ask_new_passkey(&site, &session.identity().user).await?;
        let context = PasskeyPage {
            token: self.form_token(session),
            next: next.as_str(),
            passkey: self.offer(question, session.id().as_bytes()),
            alarm: objection.map(|objection| objection.text.as_str()),
        };
        Ok(asking(visit, "passkey.html", &context, objection))
    }

    fn offer(&self, question: Question, binding: &[u8]) -> Option<Offer> {
        let plain = [self.clock.now().as_millis().to_be_bytes().as_slice(), &question.state].concat();
        let sealed = self.engine.ring().seal(Sealing::Factor, &context(binding), plain)?;
        Some(Offer { options: question.options, state: URL_SAFE_NO_PAD.encode(sealed) })
    }

    /// The state in the form, if it is of this binding, young, and was not used.
    async fn state(&self, visit: &Visit<'_>, binding: &[u8]) -> Result<Option<Vec<u8>>, PortalError> {
        let text = visit.field("state").unwrap_or_default();
        let (ring, now) = (self.engine.ring(), self.clock.now());
        let opened = URL_SAFE_NO_PAD.decode(&text).ok();
        let opened = opened.and_then(|sealed| ring.open(Sealing::Factor, &context(binding), &sealed));
        let Some((asked, state)) = opened.as_ref().and_then(|plain| plain.split_first_chunk::<8>()) else {
            return Ok(None);
        };
        let asked = Timestamp::from_millis(i64::from_be_bytes(*asked));
        if now.since(asked) >= LIFETIME {
            return Ok(None);
        }
        // SECURITY: a challenge is answered once (ASVS 5.0, 6.7.2).
        let is_unused = self.factors.spend(Sha256::digest(&text).into(), asked + LIFETIME).await?;
        Ok(is_unused.then(|| state.to_vec()))
    }
}

fn here(next: &ReturnTo) -> String {
    format!("/account/factors/passkey?next={}", next.to_query())
}

fn context(binding: &[u8]) -> Vec<u8> {
    [b"passkey\n".as_slice(), binding].concat()
}

#[derive(Serialize)]
struct PasskeyPage<'a> {
    token: String,
    next: &'a str,
    passkey: Option<Offer>,
    alarm: Option<&'a str>,
}

/// How long somebody may look for their authenticator.
const LIFETIME: Duration = Duration::from_mins(10);
