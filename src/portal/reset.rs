//! The page behind an administrator's one-time link: somebody who lost everything sets a new password.
//!
//! Invariants: looking at a link does not use it up; nor does a password that may not be chosen, nor a store that
//! does not answer; once it is used, every session of the user is over.

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Response, StatusCode};
use serde::Serialize;

use super::csrf::{self, Nonce};
use super::proving::Objection;
use super::{Portal, PortalError, Visit, page, strings};
use crate::identity::UserId;
use crate::login::NewPassword;
use crate::login::factors::{Reset, ResetToken};
use crate::session::engine::EndReason;

impl Portal {
    /// The form, if the link is worth something.
    pub(super) async fn show_reset(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let text = visit.query_value("token").unwrap_or_default().to_owned();
        match self.owner(&text).await? {
            Some((_, user)) => self.reset_page(visit, Some((&text, &user)), None),
            None => self.reset_page(visit, None, Some(&dead_link(visit))),
        }
    }

    /// Sets the password.
    pub(super) async fn submit_reset(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        csrf::check_origin(visit.headers, visit.host)
            .inspect_err(|&forged| self.note_forgery(visit, forged))?;
        let text = visit.field("link").unwrap_or_default();
        let Some((link, user)) = self.owner(&text).await? else {
            return self.reset_page(visit, None, Some(&dead_link(visit)));
        };
        let again = |objection: &Objection| self.reset_page(visit, Some((&text, &user)), Some(objection));
        if let Err(forged) = self.check_login_form(visit) {
            self.note_forgery(visit, forged);
            return again(&Objection::stale(visit.words()));
        }
        let password = match self.chosen_password(visit, &user).await {
            Ok(password) => password,
            Err(objection) => return again(&objection),
        };
        // First, as long as the link is good: it can be asked for once more if the store does not answer.
        self.engine.end_user(&user, EndReason::Revoked).await?;
        let Some(reset) = self.factors.spend_reset(&link).await? else {
            return self.reset_page(visit, None, Some(&dead_link(visit)));
        };
        if let Err(error) = self.carry_out(&reset, password, visit).await {
            self.factors.give_back_reset(&link, reset).await;
            return Err(error);
        }
        Ok(visit.to_login(&format!("?reason={}", strings::REASON_PASSWORD)))
    }

    async fn carry_out(
        &self,
        reset: &Reset,
        password: NewPassword,
        visit: &Visit<'_>,
    ) -> Result<(), PortalError> {
        self.login.set_password(&reset.user, password, visit.cause()).await?;
        self.factors.after_reset(reset, visit.cause()).await?;
        // Sessions that began with the old password meanwhile.
        self.engine.end_user(&reset.user, EndReason::Revoked).await?;
        Ok(())
    }

    async fn owner(&self, text: &str) -> Result<Option<(ResetToken, UserId)>, PortalError> {
        let Some(link) = ResetToken::parse(text) else { return Ok(None) };
        let reset = self.factors.look_at_reset(&link).await?;
        Ok(reset.map(|reset| (link, reset.user)))
    }

    fn reset_page(
        &self,
        visit: &Visit<'_>,
        link: Option<(&str, &UserId)>,
        objection: Option<&Objection>,
    ) -> Result<Response<Bytes>, PortalError> {
        let nonce = Nonce::of_browser(visit.headers)?;
        let context = ResetPage {
            token: csrf::login_token(&self.engine.ring(), &nonce, self.clock.now()),
            link: link.map(|(text, _)| text),
            user: link.map(|(_, user)| user.as_str()),
            alarm: objection.map(|objection| objection.text.as_str()),
        };
        let status = objection.map_or(StatusCode::OK, |objection| objection.status);
        let mut response = page::render(visit.place(), status, "reset.html", &context);
        response.headers_mut().append(SET_COOKIE, nonce.to_cookie());
        Ok(match objection {
            Some(objection) => objection.on(response),
            None => response,
        })
    }
}

fn dead_link(visit: &Visit<'_>) -> Objection {
    let mut objection = Objection::wrong(visit.words().link_dead.clone());
    objection.status = StatusCode::NOT_FOUND;
    objection
}

#[derive(Serialize)]
struct ResetPage<'a> {
    token: String,
    link: Option<&'a str>,
    user: Option<&'a str>,
    alarm: Option<&'a str>,
}
