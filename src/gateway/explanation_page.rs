//! The page on which an administrator reads why a request was refused.
//!
//! Invariants: only somebody with a session, in one of the groups of `admin.groups`, sees it; it shows no
//! query, no header and no cookie.

use bytes::Bytes;
use http::{Method, Request, Response, header};
use hyper::body::Incoming;

use super::caller::{self, CallerState};
use super::canonical::Canonical;
use super::decision::Forbidden;
use super::record::Record;
use super::refusals::Refusal;
use super::reject::Reject;
use super::snapshot::Snapshot;
use super::{Activity, Gateway, answers, rule_text};
use crate::identity::Group;
use crate::portal::languages::Language;
use crate::portal::{self, ExplanationPage, Place};
use crate::telemetry::audit::EventKind;

impl Gateway {
    /// Shows why the request `id` was refused.
    pub(super) async fn show_explanation(
        &self,
        snapshot: &Snapshot,
        id: &str,
        canonical: &Canonical,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Response<Bytes>, Reject> {
        if snapshot.administrators.is_empty() {
            return Err(Reject::NotFound);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Reject::MethodNotAllowed("GET, HEAD".to_owned()));
        }
        let engine = &self.shared.engine;
        let presented = engine.present(request.headers());
        match caller::find(engine, &presented, request.headers(), Activity::Any, record).await {
            CallerState::Known(session) if snapshot.is_administrator(session.identity()) => {
                let wanted = request.headers().get(header::ACCEPT_LANGUAGE);
                let language = Language::wanted(wanted, snapshot.look.language());
                let place = Place { look: &snapshot.look, host: record.host(), language };
                Ok(page(place, id, self.shared.refusals.find(id).as_ref()))
            }
            CallerState::Known(_) => {
                self.audit_forbidden(EventKind::AuthorizationFailed, Forbidden::NotNamed, record);
                Err(Reject::Forbidden(Forbidden::NotNamed))
            }
            CallerState::Guest(guest) => answers::ask_login(&snapshot.portal, guest, canonical, &request),
            CallerState::Unknown => {
                Err(Reject::StoreUnavailable("the session store did not answer".to_owned()))
            }
        }
    }
}

fn page(place: Place<'_>, id: &str, refusal: Option<&Refusal>) -> Response<Bytes> {
    let Some(refusal) = refusal else { return portal::no_explanation(place, id) };
    let explanation = &refusal.explanation;
    let route = explanation.route.as_deref();
    let groups = |groups: &[Group]| groups.iter().map(Group::as_str).collect::<Vec<_>>().join(", ");
    portal::explanation(&ExplanationPage {
        place,
        request_id: id,
        time: refusal.time,
        method: refusal.method.as_str(),
        read_as: explanation.canonical.as_deref().unwrap_or("-"),
        user: refusal.user.as_ref().map(|(user, _)| user.as_str()),
        groups: refusal.user.as_ref().map(|(_, names)| groups(names)).unwrap_or_default(),
        client: refusal.client,
        route: route.map(|route| format!("{}{}", route.host, route.path)).unwrap_or_default(),
        line: route.map(|route| route.line),
        rule: route.map(rule_text::line).unwrap_or_default(),
        result: explanation.verdict.to_string(),
        instead: explanation.instead.as_ref().map(ToString::to_string),
    })
}

/// Where these pages stand below the portal's path; an id follows.
pub(super) const FOLDER: &str = "/explain/";
