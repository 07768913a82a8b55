//! The page behind an administrator's one-time link: somebody who lost everything sets a new password.
//!
//! Invariants: looking at a link does not use it up; a password that may not be chosen does not either; once
//! it is used, every session of the user is over.

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Response, StatusCode};
use serde::Serialize;

use super::csrf::{self, Nonce};
use super::password::typed;
use super::proving::Objection;
use super::{Portal, PortalError, Visit, page, strings};
use crate::identity::UserId;
use crate::login::check_new_password;
use crate::login::factors::ResetToken;
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
        let password = match typed(visit) {
            Ok(password) => password,
            Err(objection) => return again(&objection),
        };
        if let Err(problem) = check_new_password(user.as_str(), &password) {
            return again(&Objection::wrong(visit.words().password_problem(problem)));
        }
        if self.factors.use_reset(&link, visit.request_id).await?.is_none() {
            return self.reset_page(visit, None, Some(&dead_link(visit)));
        }
        let objection = self.take_password(visit, &user).await?;
        self.engine.end_user(&user, EndReason::Revoked).await?;
        match objection {
            None => Ok(visit.to_login(&format!("?reason={}", strings::REASON_PASSWORD))),
            Some(objection) => self.reset_page(visit, None, Some(&objection)),
        }
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
        Ok(response)
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
