//! The confirm page: somebody who is signed in shows once more that it is still them.
//!
//! Why they must is the gateway's matter, or that of the page they come from. Invariants: what is right
//! gives the session a new token; what is wrong changes nothing.

use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::passkeys::Offer;
use super::proving::{Objection, asking, with_cookies};
use super::{Activity, Caller, Portal, PortalError, ReturnTo, Visit, csrf, known_device, notice, page};
use crate::identity::{AuthMethod, Factor, UserId};
use crate::login::factors::Summary;
use crate::login::{Attempt, Outcome};
use crate::secret::Secret;
use crate::session::record::Session;

impl Portal {
    /// The page, with those ways that serve the purpose and that the user has.
    pub(super) async fn show_confirm(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        let next = after_confirming(visit, ReturnTo::from_query(visit.query));
        let Caller::Known(session) = self.caller(visit, Activity::DoesNotCount).await? else {
            let next = next.outside(visit.portal);
            return Ok(visit.to_login(&format!("?next={}", next.to_query())));
        };
        let wanted = Wanted::of(visit.query_value("for"));
        let has = self.factors.of(&session.identity().user).await?;
        let passkey = self.offer_passkey(visit, session.id().as_bytes(), &session.identity().user).await?;
        if !wanted.can_be_shown(&has, passkey.as_ref()) {
            // Whoever has none yet gets one on the way.
            return Ok(visit.to(&format!(
                "/account/factors/{}?next={}",
                wanted.enrolment(),
                next.to_query()
            )));
        }
        Ok(self.confirm_page(visit, &session, &Asked { wanted, next, has, passkey }, None))
    }

    /// Looks at what somebody shows.
    pub(super) async fn submit_confirm(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        if let Err(forged) = csrf::check_origin(visit.headers, visit.host) {
            self.note_forgery(visit, forged);
            return Err(forged.into());
        }
        let next = after_confirming(visit, ReturnTo::parse(&visit.field("next").unwrap_or_default()));
        let Caller::Known(session) = self.caller(visit, Activity::Counts).await? else {
            return Ok(visit.to_login(&format!("?next={}", next.outside(visit.portal).to_query())));
        };
        let user = &session.identity().user;
        let has = self.factors.of(user).await?;
        let passkey = self.offer_passkey(visit, session.id().as_bytes(), user).await?;
        let asked = Asked { wanted: Wanted::of(visit.field("for").as_deref()), next, has, passkey };
        if let Err(forged) = self.check_session_form(visit, &session) {
            self.note_forgery(visit, forged);
            return Ok(self.confirm_page(visit, &session, &asked, Some(&Objection::stale(visit.words()))));
        }
        match self.look_at(visit, session.id().as_bytes(), user).await? {
            Ok(factor) => Ok(match self.elevate(&session, factor).await? {
                Some(opened) => with_cookies(page::see_other(asked.next.to_location()), &opened),
                None => visit.to_login(""),
            }),
            Err(objection) => Ok(self.confirm_page(visit, &session, &asked, Some(&objection))),
        }
    }

    async fn look_at(
        &self,
        visit: &Visit<'_>,
        binding: &[u8],
        user: &UserId,
    ) -> Result<Result<Factor, Objection>, PortalError> {
        let password = visit.takes(AuthMethod::Password).ok().and_then(|()| visit.field("password"));
        let Some(password) = password else {
            return Ok(Objection::of(visit.words(), self.check_shown(visit, binding, user).await?));
        };
        let attempt = Attempt {
            user: user.as_str(),
            password: Secret::new(password),
            address: visit.client,
            device: known_device::find(visit.headers, &self.engine.ring(), user.as_str(), self.clock.now()),
            request_id: visit.request_id,
        };
        Ok(match self.login.attempt(attempt).await? {
            Outcome::Proved(..) => Ok(Factor::Password),
            Outcome::Refused => Err(Objection::refused(&visit.words().password_refused)),
            Outcome::Throttled { retry_after } => Err(Objection::wait(visit.words(), retry_after)),
            Outcome::Busy => Err(Objection::busy(visit.words())),
        })
    }

    fn confirm_page(
        &self,
        visit: &Visit<'_>,
        session: &Session,
        asked: &Asked,
        objection: Option<&Objection>,
    ) -> Response<Bytes> {
        let Asked { wanted, next, has, passkey } = asked;
        let context = ConfirmPage {
            token: self.form_token(session),
            user: session.identity().user.as_str(),
            next: next.as_str(),
            wanted: wanted.as_str(),
            password: *wanted == Wanted::Anything && visit.takes(AuthMethod::Password).is_ok(),
            code: *wanted != Wanted::Passkey && has.totp.is_some(),
            recovery: *wanted != Wanted::Passkey && has.codes_left > 0,
            passkey: passkey.as_ref(),
            elsewhere: has
                .hosts_elsewhere(visit.host_name())
                .map(|hosts| visit.words().told_elsewhere(&hosts)),
            alarm: objection.map(|objection| objection.text.as_str()),
        };
        asking(visit, "confirm.html", &context, objection)
    }
}

/// What is asked of somebody, and what they have for it.
struct Asked {
    wanted: Wanted,
    next: ReturnTo,
    has: Summary,
    passkey: Option<Offer>,
}

/// What serves the purpose. It stands in the address, and whoever changes it is asked again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Anything,
    SecondFactor,
    Passkey,
}

impl Wanted {
    fn of(word: Option<&str>) -> Self {
        let known = [Self::SecondFactor, Self::Passkey];
        known.into_iter().find(|wanted| Some(wanted.as_str()) == word).unwrap_or(Self::Anything)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Anything => "fresh",
            Self::SecondFactor => "factor",
            Self::Passkey => "passkey",
        }
    }

    /// The page where somebody gets what they have not.
    const fn enrolment(self) -> &'static str {
        match self {
            Self::Anything | Self::SecondFactor => "totp",
            Self::Passkey => "passkey",
        }
    }

    const fn can_be_shown(self, has: &Summary, passkey: Option<&Offer>) -> bool {
        match self {
            Self::Anything => true,
            Self::SecondFactor => has.has_second(),
            Self::Passkey => passkey.is_some(),
        }
    }
}

/// Of our own pages only those are a way back that ask for a confirmation or for who one is, and the one that ends
/// a login in a small window.
pub(super) fn after_confirming(visit: &Visit<'_>, next: ReturnTo) -> ReturnTo {
    let below = next.as_str().strip_prefix(visit.portal).unwrap_or_default();
    let is_ours = BACK.iter().any(|page| {
        below.strip_prefix(page).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
    });
    if is_ours { next } else { next.outside(visit.portal) }
}

const BACK: [&str; 4] = ["/account", "/continue", "/explain", notice::DONE];

#[derive(Serialize)]
struct ConfirmPage<'a> {
    token: String,
    user: &'a str,
    next: &'a str,
    wanted: &'static str,
    password: bool,
    code: bool,
    recovery: bool,
    passkey: Option<&'a Offer>,
    elsewhere: Option<String>,
    alarm: Option<&'a str>,
}
