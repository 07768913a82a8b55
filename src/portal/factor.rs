//! The second factor of a login: the page between the right password and the session.
//!
//! What the password proved is in the form, sealed for this browser. Invariants: there is no session before
//! the factor was shown; a page serves once, and no longer than a proof does.

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Response, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::csrf::{self, Nonce};
use super::login::{Begun, Filled};
use super::passkeys::Offer;
use super::proof::Proof;
use super::proving::{Objection, asking};
use super::strings::REASON_RECOVERY;
use super::{Portal, PortalError, ReturnTo, Visit};
use crate::identity::{Factor, UserId};
use crate::login::factors::{Shown, Summary, Verdict};

impl Portal {
    /// Asks for the second factor of somebody whose password was right.
    pub(super) async fn ask_factor(
        &self,
        visit: &Visit<'_>,
        proof: &Proof,
        has: &Summary,
        objection: Option<&Objection>,
    ) -> Result<Response<Bytes>, PortalError> {
        let (ring, nonce, now) = (self.engine.ring(), Nonce::of_browser(visit.headers)?, self.clock.now());
        let sealed = proof.seal(&ring, &nonce).ok_or(PortalError::TooLarge)?;
        let passkey = self.offer_passkey(visit, nonce.as_bytes(), &proof.identity.user).await?;
        let context = FactorPage {
            token: csrf::login_token(&ring, &nonce, now),
            proof: &sealed,
            user: proof.identity.user.as_str(),
            next: proof.next.to_query().into(),
            code: has.totp.is_some(),
            recovery: has.codes_left > 0,
            passkey: passkey.as_ref(),
            elsewhere: has
                .hosts_elsewhere(visit.host_name())
                .map(|hosts| visit.words().told_elsewhere(&hosts)),
            alarm: objection.map(|objection| objection.text.as_str()),
        };
        let mut response = asking(visit, "factor.html", &context, objection);
        response.headers_mut().append(SET_COOKIE, nonce.to_cookie());
        Ok(response)
    }

    /// Looks at the second factor that came in.
    pub(super) async fn submit_factor(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        if let Err(forged) = self.check_login_form(visit) {
            return self.refuse_form(visit, Filled::new(ReturnTo::default()), forged);
        }
        let (ring, nonce, now) = (self.engine.ring(), Nonce::of_browser(visit.headers)?, self.clock.now());
        let sealed = visit.field("proof").unwrap_or_default();
        let mut proof = match Proof::open(&sealed, &ring, &nonce, now) {
            Ok(proof) => proof,
            Err(refused) => return self.ask_again(visit, &refused),
        };
        let user = proof.identity.user.clone();
        if let Err(fallen) = self.standing_of(&proof).await? {
            return self.refuse_fallen(visit, &proof, fallen);
        }
        let verdict = self.check_shown(visit, nonce.as_bytes(), &user).await?;
        let factor = match Objection::of(visit.words(), verdict) {
            Ok(factor) => factor,
            Err(objection) => {
                let has = self.factors.of(&user).await?;
                return self.ask_factor(visit, &proof, &has, Some(&objection)).await;
            }
        };
        // SECURITY: a page that comes again from the history signs nobody in.
        if !self.factors.spend(Sha256::digest(&sealed).into(), proof.ends_at()).await? {
            let filled = Filled::of(&proof).alarmed(visit.words().proof_expired.clone());
            return self.form(visit, StatusCode::FORBIDDEN, &filled);
        }
        proof.proofs = proof.proofs.with(factor, now);
        if factor == Factor::RecoveryCode {
            proof.next = self.way_after_recovery(visit, &proof).await?;
        }
        self.begin_or_ask(visit, &proof).await
    }

    /// Begins the session of a proof, or asks for what it lacks.
    pub(super) async fn begin_or_ask(
        &self,
        visit: &Visit<'_>,
        proof: &Proof,
    ) -> Result<Response<Bytes>, PortalError> {
        match self.begin(visit, proof).await? {
            Begun::SignedIn(response) => Ok(response),
            Begun::FactorNeeded(has) => self.ask_factor(visit, proof, &has, None).await,
            Begun::AtLimit(sessions) => self.ask_which_to_end(visit, proof, &sessions, None),
            Begun::Fallen(fallen) => self.refuse_fallen(visit, proof, fallen),
        }
    }

    /// By the page of factors for somebody who has none that works on this host, and will run out of codes.
    async fn way_after_recovery(&self, visit: &Visit<'_>, proof: &Proof) -> Result<ReturnTo, PortalError> {
        let has = self.factors.of(&proof.identity.user).await?;
        if has.hosts_elsewhere(visit.host_name()).is_none() {
            return Ok(proof.next.clone());
        }
        let (portal, reason, next) = (visit.portal, REASON_RECOVERY, proof.next.to_query());
        Ok(ReturnTo::parse(&format!("{portal}/account/factors?reason={reason}&next={next}")))
    }

    /// What a form shows: the answer of a passkey, or a code of either kind.
    pub(super) async fn check_shown(
        &self,
        visit: &Visit<'_>,
        binding: &[u8],
        user: &UserId,
    ) -> Result<Verdict, PortalError> {
        if let Some(answer) = visit.field("answer") {
            let is_right = self.check_passkey(visit, binding, user, &answer).await?;
            return Ok(if is_right { Verdict::Right(Factor::Passkey) } else { Verdict::Wrong });
        }
        let (code, recovery) = (visit.field("code"), visit.field("recovery"));
        let shown = match (&code, &recovery) {
            (_, Some(recovery)) => Shown::Recovery(recovery),
            (Some(code), None) => Shown::Code(code),
            (None, None) => Shown::Code(""),
        };
        Ok(self.factors.check(user, shown, visit.cause()).await?)
    }
}

#[derive(Serialize)]
struct FactorPage<'a> {
    token: String,
    proof: &'a str,
    user: &'a str,
    next: String,
    code: bool,
    recovery: bool,
    passkey: Option<&'a Offer>,
    elsewhere: Option<String>,
    alarm: Option<&'a str>,
}
