//! What becomes of a request that the rule of its route denies, or would deny if it did not only report.
//!
//! Whether it does is decided in [`super::decision`]. Invariants: nothing is sent to a backend here; what is
//! kept of a refused request holds no query and no header.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::canonical::Canonical;
use super::decision::{Denial, Forbidden, Permit};
use super::explain::{Explanation, Forwarded, Verdict};
use super::record::Record;
use super::refusals::Refusal;
use super::reject::{Closed, Reject};
use super::snapshot::Snapshot;
use super::{Answered, Gateway, Route, answers, interrupted};
use crate::clock::Timestamp;
use crate::portal;
use crate::telemetry::audit::{Event, EventKind};
use crate::telemetry::metrics::{Outcome, StreamEnd};
use crate::telemetry::reports::Spared;

impl Gateway {
    /// The answer to a request that may not pass.
    pub(super) async fn deny(
        &self,
        snapshot: &Snapshot,
        route: &Arc<Route>,
        denial: Denial,
        canonical: &Canonical,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Answered, Reject> {
        match denial {
            Denial::AskLogin(guest) => {
                record.outcome = Outcome::LoginNeeded;
                let asked = answers::ask_login(&snapshot.portal, guest, canonical, &request);
                let page = format!("/login?reason={}", portal::REASON_EXPIRED);
                self.or_keep(snapshot, asked, &page, request, record).await
            }
            Denial::StepUp(missing, _) => {
                record.outcome = Outcome::LoginNeeded;
                let asked = answers::ask_confirm(&snapshot.portal, missing, canonical, &request);
                let page = format!("/confirm?for={}", missing.as_str());
                self.or_keep(snapshot, asked, &page, request, record).await
            }
            Denial::Forbid(why) => {
                self.keep_refusal(Explanation::of(canonical, route, denial, record.time()), record);
                self.audit_forbidden(EventKind::AuthorizationFailed, why, record);
                record.barrier = Some(Arc::clone(route));
                Err(forbidden(why, route, record.time()))
            }
            Denial::MethodNotAllowed => {
                self.keep_refusal(Explanation::of(canonical, route, denial, record.time()), record);
                Err(Reject::MethodNotAllowed(allowed(&route.methods)))
            }
            Denial::Unavailable => {
                Err(Reject::StoreUnavailable("the session store did not answer".to_owned()))
            }
        }
    }

    /// Notes what the rule would have denied, if the request passes only because it was told to report.
    pub(super) fn note_spared(
        &self,
        route: &Arc<Route>,
        permit: &Permit<'_>,
        canonical: &Canonical,
        record: &mut Record,
    ) {
        let Some(denial) = permit.spared() else { return };
        let Some(rule) = denial.rule() else { return };
        record.spared = Some(rule);
        self.shared.reports.note(Spared {
            host: &route.host.to_string(),
            path: &route.path,
            rule,
            user: permit.identity().map(|identity| identity.user.as_str()),
            time: record.time(),
        });
        if let Denial::Forbid(why) = denial {
            self.audit_forbidden(EventKind::AuthorizationReported, why, record);
        }
        let refused = Explanation::of(canonical, route, denial, record.time());
        let user = permit.identity().map(|identity| identity.user.to_string());
        let verdict = Verdict::Forwarded(Forwarded { user, target: None });
        self.keep_refusal(Explanation { instead: Some(refused.verdict), verdict, ..refused }, record);
    }

    /// Tells the trail that somebody asked for what they may not have.
    pub(super) fn audit_forbidden(&self, kind: EventKind, why: Forbidden, record: &Record) {
        self.shared.audit.record(Event {
            user: record.session.as_ref().map(|session| session.identity().user.as_str()),
            session: record.session.as_ref().map(|session| session.id().to_string()),
            address: Some(record.client),
            request_id: Some(record.request_id.as_str()),
            detail: Some(why.as_str()),
            ..Event::new(kind)
        });
    }

    /// Lets administrators look up why a request was refused.
    fn keep_refusal(&self, explanation: Explanation, record: &mut Record) {
        self.shared.refusals.keep(Refusal::of(record, explanation));
        record.is_explained = true;
    }

    /// A form that cannot follow a redirect is kept, if it can be, until its sender has been on `page`.
    async fn or_keep(
        &self,
        snapshot: &Snapshot,
        asked: Result<Response<Bytes>, Reject>,
        page: &str,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Answered, Reject> {
        let answer = match asked {
            Err(reject) => {
                let portal = (&*self.shared.portal, snapshot.portal.as_str());
                interrupted::keep_or(reject, portal, page, request, record).await
            }
            answer => answer,
        };
        answer.map(Answered::Own)
    }
}

/// What somebody is told whose request was ended while its backend kept it waiting.
pub(super) fn ended(
    end: StreamEnd,
    snapshot: &Snapshot,
    route: &Route,
    now: Timestamp,
    record: &mut Record,
) -> Result<Response<Bytes>, Reject> {
    record.reason = Some(end.as_str());
    match end {
        StreamEnd::SessionEnded => answers::ask_login_again(&snapshot.portal, record),
        StreamEnd::RuleChanged => Err(Reject::Forbidden(Forbidden::RuleChanged)),
        StreamEnd::HoursOver => Err(forbidden(Forbidden::Hours, route, now)),
        StreamEnd::StoreSilent => {
            Err(Reject::StoreUnavailable("the session store did not answer for too long".to_owned()))
        }
    }
}

/// Who comes at the wrong hour is told the right one.
fn forbidden(why: Forbidden, route: &Route, now: Timestamp) -> Reject {
    match (why, &route.hours) {
        (Forbidden::Hours, Some(hours)) => {
            let opens = hours.open_after(now);
            Reject::Closed(Closed {
                opens: opens.map(|opens| hours.show(opens)),
                wait: opens.map(|opens| opens.since(now)),
            })
        }
        _ => Reject::Forbidden(why),
    }
}

/// The methods of a route, as in `Allow`.
pub(super) fn allowed(methods: &[Method]) -> String {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    names.join(", ")
}
