//! The second factors of whoever is signed in: what they have, one-time codes, recovery codes.
//!
//! Invariants: the secret of one-time codes lies sealed in the form until a code shows that it arrived, and
//! is never shown again; recovery codes are shown once; each change gives the session a new token.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use super::confirm::after_confirming;
use super::enrolment::Enrolment;
use super::proving::{FormGate, Gate, Objection, with_cookies};
use super::{Portal, PortalError, ReturnTo, Visit, page, strings};
use crate::identity::Factor;
use crate::login::factors::{FactorId, Line, Site, Square, Summary};
use crate::session::engine::Opened;
use crate::session::record::Session;

impl Portal {
    /// What the user has.
    pub(super) async fn show_factors(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        match self.gate(visit, "/account/factors").await? {
            Gate::Open(session) => self.factors_page(visit, &session, None).await,
            Gate::Shut(response) => Ok(response),
        }
    }

    async fn factors_page(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        objection: Option<Objection>,
    ) -> Result<Response<Bytes>, PortalError> {
        let Summary { totp, passkeys, codes_left } = self.factors.of(&session.identity().user).await?;
        let next = after_confirming(visit, ReturnTo::from_query(visit.query));
        let context = FactorsPage {
            token: self.form_token(session),
            alarm: objection.as_ref().map(|objection| objection.text.as_str()),
            note: visit.words().changed(visit.query_value("reason")),
            has_any: totp.is_some() || !passkeys.is_empty(),
            totp: totp.map(Entry::of),
            passkeys: passkeys.into_iter().map(Entry::of).collect(),
            codes_left: visit.words().told_codes(codes_left),
            can_add_passkey: Site::at(visit.host).is_some(),
            next: Some(next.as_str()).filter(|next| *next != "/"),
        };
        let status = objection.as_ref().map_or(StatusCode::OK, |objection| objection.status);
        Ok(page::render(visit.place(), status, "factors.html", &context))
    }

    /// A new secret, as a square code and in letters.
    pub(super) async fn show_totp(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let next = after_confirming(visit, ReturnTo::from_query(visit.query));
        let here = format!("/account/factors/totp?next={}", next.to_query());
        match self.gate(visit, &here).await? {
            Gate::Open(session) => {
                let enrolment = Enrolment::begin(self.clock.now())?;
                self.totp_page(visit, &session, &enrolment, &next, None)
            }
            Gate::Shut(response) => Ok(response),
        }
    }

    /// Looks at the first code.
    pub(super) async fn submit_totp(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let next = after_confirming(visit, ReturnTo::parse(&visit.field("next").unwrap_or_default()));
        let here = format!("/account/factors/totp?next={}", next.to_query());
        let (session, is_stale) = match self.gate_form(visit, &here).await? {
            FormGate::Open(session) => (session, false),
            FormGate::Stale(session) => (session, true),
            FormGate::Shut(response) => return Ok(response),
        };
        let sealed = visit.field("secret").unwrap_or_default();
        let opened = Enrolment::open(&sealed, &self.engine.ring(), &session, self.clock.now());
        let (Some(enrolment), false) = (opened, is_stale) else {
            let fresh = Enrolment::begin(self.clock.now())?;
            return self.totp_page(visit, &session, &fresh, &next, Some(&Objection::stale(visit.words())));
        };
        let (user, code) = (&session.identity().user, visit.field("code").unwrap_or_default());
        if !self.factors.add_totp(user, &enrolment.secret, &code, visit.cause()).await? {
            let wrong = Objection::wrong(visit.words().first_code_refused.clone());
            return self.totp_page(visit, &session, &enrolment, &next, Some(&wrong));
        }
        let Some(opened) = self.elevate(&session, Factor::Totp).await? else { return Ok(visit.to_login("")) };
        Ok(self.after_enrolment(visit, &opened, &next).await)
    }

    /// Recovery codes for who has none yet; the others go on.
    pub(super) async fn after_enrolment(
        &self,
        visit: &Visit<'_>,
        opened: &Opened,
        next: &ReturnTo,
    ) -> Response<Bytes> {
        let user = &opened.session.identity().user;
        // The factor is there and the session has another token: from here on, nothing may keep that back.
        match self.factors.of(user).await {
            Ok(has) if has.codes_left == 0 => return self.new_codes_page(visit, opened, next).await,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, user = %user, "recovery codes cannot be counted"),
        }
        let response = match next.as_str() {
            "/" => visit.to(&format!("/account/factors?reason={}", strings::REASON_FACTOR_ADDED)),
            _ => page::see_other(next.to_location()),
        };
        with_cookies(response, opened)
    }

    /// New recovery codes in the place of the others.
    pub(super) async fn make_codes(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let session = match self.gate_form(visit, "/account/factors").await? {
            FormGate::Open(session) => session,
            FormGate::Stale(session) => {
                return self.factors_page(visit, &session, Some(Objection::stale(visit.words()))).await;
            }
            FormGate::Shut(response) => return Ok(response),
        };
        let user = &session.identity().user;
        if !self.factors.of(user).await?.has_second() {
            return Ok(visit.to("/account/factors"));
        }
        // First, or the only sight of the codes could be lost with the session.
        let Some(opened) = self.renew(&session).await? else { return Ok(visit.to_login("")) };
        Ok(self.new_codes_page(visit, &opened, &ReturnTo::default()).await)
    }

    /// New recovery codes for who has a new token, or the way to where they can be asked for again.
    async fn new_codes_page(&self, visit: &Visit<'_>, opened: &Opened, next: &ReturnTo) -> Response<Bytes> {
        let user = &opened.session.identity().user;
        let page = match self.factors.new_codes(user, visit.cause()).await {
            Ok(codes) => self.codes_page(visit, &opened.session, codes, next),
            Err(error) => {
                tracing::warn!(%error, user = %user, "no recovery codes could be made");
                visit.to("/account/factors")
            }
        };
        with_cookies(page, opened)
    }

    /// Removes the factor that the form names.
    pub(super) async fn remove_factor(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let session = match self.gate_form(visit, "/account/factors").await? {
            FormGate::Open(session) => session,
            FormGate::Stale(session) => {
                return self.factors_page(visit, &session, Some(Objection::stale(visit.words()))).await;
            }
            FormGate::Shut(response) => return Ok(response),
        };
        let id = FactorId::named(visit.field("factor").unwrap_or_default());
        if !self.factors.remove(&session.identity().user, id, visit.cause()).await? {
            return Ok(visit.to("/account/factors"));
        }
        let Some(opened) = self.renew(&session).await? else { return Ok(visit.to_login("")) };
        let page = format!("/account/factors?reason={}", strings::REASON_FACTOR_REMOVED);
        Ok(with_cookies(visit.to(&page), &opened))
    }

    fn totp_page(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        enrolment: &Enrolment,
        next: &ReturnTo,
        objection: Option<&Objection>,
    ) -> Result<Response<Bytes>, PortalError> {
        let sealed = enrolment.seal(&self.engine.ring(), session);
        let uri = enrolment.secret.to_uri(session.identity().user.as_str(), visit.host);
        let context = TotpPage {
            token: self.form_token(session),
            secret: sealed.ok_or_else(|| PortalError::Random("the secret cannot be sealed".to_owned()))?,
            next: next.as_str(),
            letters: enrolment.secret.to_groups(),
            square: Square::of(&uri).map(|Square { side, path }| Picture { side, path }),
            uri,
            alarm: objection.map(|objection| objection.text.as_str()),
        };
        let status = objection.map_or(StatusCode::OK, |objection| objection.status);
        Ok(page::scripted(page::render(visit.place(), status, "totp.html", &context)))
    }

    fn codes_page(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        codes: Vec<String>,
        next: &ReturnTo,
    ) -> Response<Bytes> {
        let context = CodesPage {
            token: self.form_token(session),
            user: session.identity().user.as_str(),
            today: page::readable(self.clock.now()),
            codes,
            next: if next.as_str() == "/" { None } else { Some(next.as_str()) },
        };
        page::scripted(page::render(visit.place(), StatusCode::OK, "codes.html", &context))
    }
}

#[derive(Serialize)]
struct FactorsPage<'a> {
    token: String,
    alarm: Option<&'a str>,
    note: Option<&'static str>,
    has_any: bool,
    totp: Option<Entry>,
    passkeys: Vec<Entry>,
    codes_left: String,
    can_add_passkey: bool,
    next: Option<&'a str>,
}

/// A factor in the list.
#[derive(Serialize)]
struct Entry {
    id: String,
    name: String,
    created: String,
    last_used: Option<String>,
}

impl Entry {
    fn of(line: Line) -> Self {
        Self {
            id: line.id.as_str().to_owned(),
            name: line.name,
            created: page::readable(line.created),
            last_used: line.last_used.map(page::readable),
        }
    }
}

#[derive(Serialize)]
struct TotpPage<'a> {
    token: String,
    secret: String,
    next: &'a str,
    letters: String,
    square: Option<Picture>,
    uri: String,
    alarm: Option<&'a str>,
}

#[derive(Serialize)]
struct Picture {
    side: usize,
    path: String,
}

#[derive(Serialize)]
struct CodesPage<'a> {
    token: String,
    user: &'a str,
    today: String,
    codes: Vec<String>,
    next: Option<&'a str>,
}
