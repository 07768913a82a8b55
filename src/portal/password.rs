//! Another password, chosen by its user.
//!
//! Whether it may be chosen is the login room's matter. Invariant: a new password gives the session a new
//! token.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use super::proving::{FormGate, Gate, Objection, with_cookies};
use super::{Portal, PortalError, Visit, page, strings};
use crate::identity::UserId;
use crate::login::{NewPassword, Unset};
use crate::secret::Secret;
use crate::session::record::Session;

impl Portal {
    /// The form.
    pub(super) async fn show_password(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        match self.gate(visit, "/account/password").await? {
            Gate::Open(session) => Ok(self.password_page(visit, &session, None)),
            Gate::Shut(response) => Ok(response),
        }
    }

    /// Takes the password that was typed twice.
    pub(super) async fn submit_password(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let session = match self.gate_form(visit, "/account/password").await? {
            FormGate::Open(session) => session,
            FormGate::Stale(session) => {
                return Ok(self.password_page(visit, &session, Some(&Objection::stale(visit.words()))));
            }
            FormGate::Shut(response) => return Ok(response),
        };
        if let Some(objection) = self.take_password(visit, &session.identity().user).await? {
            return Ok(self.password_page(visit, &session, Some(&objection)));
        }
        let Some(opened) = self.renew(&session).await? else { return Ok(visit.to_login("")) };
        let page = format!("/account?reason={}", strings::REASON_PASSWORD);
        Ok(with_cookies(visit.to(&page), &opened))
    }

    /// Sets the password in the form, or says why not.
    async fn take_password(
        &self,
        visit: &Visit<'_>,
        user: &UserId,
    ) -> Result<Option<Objection>, PortalError> {
        let password = match self.chosen_password(visit, user).await {
            Ok(password) => password,
            Err(objection) => return Ok(Some(objection)),
        };
        self.login.set_password(user, password, visit.cause()).await?;
        Ok(None)
    }

    /// The password in the form, if it was typed twice alike and `user` may choose it.
    pub(super) async fn chosen_password(
        &self,
        visit: &Visit<'_>,
        user: &UserId,
    ) -> Result<NewPassword, Objection> {
        let typed = typed(visit)?;
        self.login.prepare_password(user, typed).await.map_err(|unset| match unset {
            Unset::Refused(problem) => Objection::wrong(visit.words().password_problem(problem)),
            Unset::Busy => Objection::busy(visit.words()),
        })
    }

    fn password_page(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        objection: Option<&Objection>,
    ) -> Response<Bytes> {
        let context = PasswordPage {
            token: self.form_token(session),
            user: session.identity().user.as_str(),
            alarm: objection.map(|objection| objection.text.as_str()),
        };
        let status = objection.map_or(StatusCode::OK, |objection| objection.status);
        let response = page::render(visit.place(), status, "password.html", &context);
        match objection {
            Some(objection) => objection.on(response),
            None => response,
        }
    }
}

/// The password that the form holds, if it was typed twice alike.
fn typed(visit: &Visit<'_>) -> Result<Secret<String>, Objection> {
    let field = |name| Secret::new(visit.field(name).unwrap_or_default());
    let password = field("password");
    if password == field("again") {
        Ok(password)
    } else {
        Err(Objection::wrong(visit.words().passwords_differ.clone()))
    }
}

#[derive(Serialize)]
struct PasswordPage<'a> {
    token: String,
    user: &'a str,
    alarm: Option<&'a str>,
}
