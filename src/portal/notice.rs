//! What the expiry notice needs: its script, its words, and the end of a login in a small window.
//!
//! How long a session lives is told by [`super::session_info`]; whether pages of backends get the script is
//! the gateway's matter. Invariant: nothing here keeps a session alive.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use super::languages::Language;
use super::session_info::json;
use super::{Activity, Caller, Portal, PortalError, Verb, Visit, assets, page};

/// Where a login in a small window ends, below the portal's path.
pub(super) const DONE: &str = "/login/done";

impl Portal {
    /// Answers a request for one of these.
    pub(super) async fn serve_notice(
        &self,
        visit: &Visit<'_>,
        verb: Verb,
    ) -> Result<Response<Bytes>, PortalError> {
        match visit.path_below_portal {
            _ if verb != Verb::Look => Err(PortalError::MethodNotAllowed("GET, HEAD")),
            "/notice.js" => Ok(assets::notice(visit.headers)),
            DONE => self.show_done(visit).await,
            _ => Ok(json(StatusCode::OK, &Words::of(visit.language))),
        }
    }

    /// Tells the page behind the small window, and closes it.
    async fn show_done(&self, visit: &Visit<'_>) -> Result<Response<Bytes>, PortalError> {
        Ok(match self.caller(visit, Activity::DoesNotCount).await? {
            Caller::Known(_) => {
                page::scripted(page::render(visit.place(), StatusCode::OK, "done.html", &DonePage {}))
            }
            Caller::Expired | Caller::Nobody => visit.to_login(&format!("?next={}{DONE}", visit.portal)),
        })
    }
}

#[derive(Serialize)]
struct DonePage {}

/// What the script says. `{time}` stands for what is left, `{user}` for who is signed in.
#[derive(Serialize)]
struct Words {
    lang: &'static str,
    soon: Text,
    last: Text,
    over: Text,
    other: Text,
    stay: &'static str,
    later: &'static str,
    sign_in: &'static str,
    reload: &'static str,
}

impl Words {
    fn of(language: Language) -> Self {
        let strings = language.words();
        Self {
            lang: language.tag(),
            soon: Text { title: &strings.notice_soon, lead: &strings.notice_soon_lead },
            last: Text { title: &strings.notice_last, lead: &strings.notice_last_lead },
            over: Text { title: &strings.notice_over, lead: &strings.notice_over_lead },
            other: Text { title: &strings.notice_other, lead: &strings.notice_other_lead },
            stay: &strings.stay,
            later: &strings.notice_later,
            sign_in: &strings.notice_sign_in,
            reload: &strings.notice_reload,
        }
    }
}

#[derive(Serialize)]
struct Text {
    title: &'static str,
    lead: &'static str,
}
