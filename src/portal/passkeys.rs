//! Passkeys on our pages: the question that a page carries, and the answer that its form brings.
//!
//! The script puts the one to the browser and writes down the other; everything else is forms. Invariants:
//! the state of a question lies sealed in its form, bound to who was asked and for what.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::confirm::after_confirming;
use super::csrf::Nonce;
use super::device::DeviceName;
use super::login::Filled;
use super::proof::Proof;
use super::proving::{FormGate, Gate, Objection, asking};
use super::{Portal, PortalError, ReturnTo, Visit};
use crate::clock::Timestamp;
use crate::identity::{AuthMethod, Factor, UserId};
use crate::login::Standing;
use crate::login::factors::{Answered, NewPasskey, Once, Question, Site};
use crate::session::Proofs;
use crate::session::keyring::Sealing;
use crate::session::record::Session;
use crate::telemetry::audit::{Event, EventKind};

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
        let (Some(site), Ok(())) = (Site::at(visit.host), visit.takes(AuthMethod::Passkey)) else {
            return Ok(None);
        };
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
        let (Some(site), Some((question, state))) = (Site::at(visit.host), self.asked(visit, binding)) else {
            return Ok(false);
        };
        let answered = Answered { state: &state, question, answer, cause: visit.cause() };
        Ok(self.factors.check_passkey(&site, user, answered).await?)
    }

    /// Signs in whoever the passkey in the form belongs to.
    pub(super) async fn login_by_passkey(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        visit.takes(AuthMethod::Passkey)?;
        let next = after_confirming(visit, ReturnTo::parse(&visit.field("next").unwrap_or_default()));
        let remember = self.wish(visit);
        if let Err(forged) = self.check_login_form(visit) {
            return self.refuse_form(visit, Filled::new(next), forged);
        }
        let nonce = Nonce::of_browser(visit.headers)?;
        let owner = self.owner_of_answer(visit, &nonce).await?;
        let standing = match &owner {
            Some(user) => self.login.standing(user).await?,
            None => None,
        };
        self.note_login(visit, owner.as_ref(), standing.as_ref());
        let Some(Standing { identity, password }) = standing else {
            let filled = Filled::new(next).alarmed(visit.words().passkey_refused.clone());
            return self.form(visit, StatusCode::FORBIDDEN, &filled);
        };
        let (method, issued) = (AuthMethod::Passkey, self.clock.now());
        let proofs = Proofs::default().with(Factor::Passkey, issued);
        let proof = Proof { identity, method, password, proofs, remember, next, issued };
        self.begin_or_ask(visit, &proof).await
    }

    /// The login of somebody, or why it is none.
    fn note_login(&self, visit: &Visit<'_>, owner: Option<&UserId>, standing: Option<&Standing>) {
        let (kind, detail) = match (owner, standing) {
            (Some(_), Some(_)) => (EventKind::LoginSuccess, "passkey"),
            (Some(_), None) => (EventKind::LoginFailure, "disabled"),
            (None, _) => (EventKind::LoginFailure, "no passkey of anybody"),
        };
        self.audit.record(Event {
            user: owner.map(UserId::as_str),
            address: Some(visit.client),
            request_id: Some(visit.request_id),
            detail: Some(detail),
            ..Event::new(kind)
        });
    }

    async fn owner_of_answer(&self, visit: &Visit<'_>, nonce: &Nonce) -> Result<Option<UserId>, PortalError> {
        let asked = self.asked(visit, nonce.as_bytes());
        let (Some(site), Some((question, state))) = (Site::at(visit.host), asked) else { return Ok(None) };
        let answer = visit.field("answer").unwrap_or_default();
        let answered = Answered { state: &state, question, answer: &answer, cause: visit.cause() };
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
                return self
                    .passkey_page(visit, &session, &next, Some(&Objection::stale(visit.words())))
                    .await;
            }
            FormGate::Shut(response) => return Ok(response),
        };
        let user = &session.identity().user;
        let site = Site::at(visit.host).ok_or(PortalError::NotFound)?;
        let Some((question, state)) = self.asked(visit, session.id().as_bytes()) else {
            let stale = Objection::wrong(visit.words().passkey_not_made.clone());
            return self.passkey_page(visit, &session, &next, Some(&stale)).await;
        };
        let (answer, typed) =
            (visit.field("answer").unwrap_or_default(), visit.field("name").unwrap_or_default());
        let device = visit.words().told_device(DeviceName::of(visit.device().user_agent));
        let name = if typed.trim().is_empty() { &device } else { typed.trim() };
        let answered = Answered { state: &state, question, answer: &answer, cause: visit.cause() };
        if !self.factors.add_passkey(&site, user, NewPasskey { answered, name }).await? {
            let wrong = Objection::wrong(visit.words().passkey_not_made.clone());
            return self.passkey_page(visit, &session, &next, Some(&wrong)).await;
        }
        match self.elevate(&session, Factor::Passkey).await? {
            Some(opened) => Ok(self.after_enrolment(visit, &opened, &next).await),
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

    /// The question in the form with its state, if it is of this binding and young. Whether it was answered
    /// before is asked when the answer is right.
    fn asked(&self, visit: &Visit<'_>, binding: &[u8]) -> Option<(Once, Zeroizing<Vec<u8>>)> {
        let text = visit.field("state")?;
        let sealed = URL_SAFE_NO_PAD.decode(&text).ok()?;
        let plain = self.engine.ring().open(Sealing::Factor, &context(binding), &sealed)?;
        let (asked, state) = plain.split_first_chunk::<8>()?;
        let until = Timestamp::from_millis(i64::from_be_bytes(*asked)) + LIFETIME;
        let question = Once { hash: Sha256::digest(&sealed).into(), until };
        (self.clock.now() < until).then(|| (question, Zeroizing::new(state.to_vec())))
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
