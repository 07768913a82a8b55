//! The page for who proved who they are and has too many sessions: it lets them choose which to end.
//!
//! Nobody is signed in yet, so the form carries the sealed [`Proof`] of what the login proved.
//! Invariants: a proof ends and begins sessions of its own user only; once it has begun one, it is
//! worth nothing in that browser.

use std::sync::Arc;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Response, StatusCode};
use serde::Serialize;

use super::csrf::{self, Nonce};
use super::login::{Begun, Filled};
use super::proof::{Proof, Refused};
use super::sessions::Line;
use super::{Portal, PortalError, ReturnTo, Visit, page};
use crate::session::engine::Presented;
use crate::session::record::Session;

impl Portal {
    /// Asks which of the user's sessions to end.
    pub(super) fn ask_which_to_end(
        &self,
        visit: &Visit<'_>,
        proof: &Proof,
        sessions: &[Arc<Session>],
        alarm: Option<&'static str>,
    ) -> Result<Response<Bytes>, PortalError> {
        let (ring, nonce, now) = (self.engine.ring(), Nonce::of_browser(visit.headers)?, self.clock.now());
        let Some(sealed) = proof.seal(&ring, &nonce) else {
            let filled = Filled::new(proof.next.clone()).alarmed(visit.words().at_limit_stuck.clone());
            return self.form(visit, StatusCode::CONFLICT, &filled);
        };
        let (sessions, more) = Line::some(sessions, None, now, visit.words());
        let token = csrf::login_token(&ring, &nonce, now);
        let context =
            AtLimitPage { token, proof: sealed, next: proof.next.to_query().into(), sessions, more, alarm };
        // What was proved holds: a status that says otherwise keeps browsers from saving the password.
        let status = if alarm.is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
        let mut response = page::scripted(page::render(visit.place(), status, "at_limit.html", &context));
        response.headers_mut().append(SET_COOKIE, nonce.to_cookie());
        if matches!(self.engine.present(visit.headers), Presented::Valid(_)) {
            // Its session made way for the login and would be sought in vain.
            response
                .headers_mut()
                .extend(self.engine.clear_cookies().into_iter().map(|cookie| (SET_COOKIE, cookie)));
        }
        Ok(response)
    }

    /// Ends the chosen sessions and begins the one that was wanted.
    pub(super) async fn end_sessions_and_go_on(
        &self,
        visit: &Visit<'_>,
    ) -> Result<Response<Bytes>, PortalError> {
        if let Err(forged) = self.check_login_form(visit) {
            return self.refuse_form(visit, Filled::new(ReturnTo::default()), forged);
        }
        let (ring, nonce) = (self.engine.ring(), Nonce::of_browser(visit.headers)?);
        let sealed = visit.field("proof").unwrap_or_default();
        let proof = match Proof::open(&sealed, &ring, &nonce, self.clock.now()) {
            Ok(proof) => proof,
            Err(refused) => return self.ask_again(visit, &refused),
        };
        if let Err(fallen) = self.standing_of(&proof).await? {
            return self.refuse_fallen(visit, &proof, fallen);
        }
        // SECURITY: nobody ends sessions by the password alone whose account asks for more.
        if let Some(has) = self.factor_lacked(&proof).await? {
            return self.ask_factor(visit, &proof, &has, None).await;
        }
        self.end_chosen(visit, &proof.identity.user, None).await?;
        match self.begin(visit, &proof).await? {
            Begun::SignedIn(response) => Self::spend_nonce(response),
            Begun::FactorNeeded(has) => self.ask_factor(visit, &proof, &has, None).await,
            Begun::AtLimit(sessions) => {
                self.ask_which_to_end(visit, &proof, &sessions, Some(&visit.words().still_at_limit))
            }
            Begun::Fallen(fallen) => self.refuse_fallen(visit, &proof, fallen),
        }
    }

    /// The login page, filled with what an old proof tells.
    pub(super) fn ask_again(
        &self,
        visit: &Visit<'_>,
        refused: &Refused,
    ) -> Result<Response<Bytes>, PortalError> {
        let filled = match refused {
            Refused::Expired(proof) => Filled::of(proof),
            Refused::Untrusted => Filled::new(ReturnTo::default()),
        };
        self.form(visit, StatusCode::FORBIDDEN, &filled.alarmed(visit.words().proof_expired.clone()))
    }
}

#[derive(Serialize)]
struct AtLimitPage {
    token: String,
    proof: String,
    next: String,
    sessions: Vec<Line>,
    more: Option<String>,
    alarm: Option<&'static str>,
}
