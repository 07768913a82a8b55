//! The request path, top to bottom: canonical form, real client, portal, route, caller, decision,
//! and the act that follows.
//!
//! Leaves connections to `server`, the backend conversation to [`crate::proxy`] and the own pages to
//! [`crate::portal`]. Invariants: the snapshot is taken per request, so that a changed rule bites on
//! open connections; what is forwarded is the canonical form that was decided on; nothing is
//! forwarded without a [`decision::Permit`].

mod aftercare;
pub mod answers;
mod arrival;
mod barrier;
pub mod body;
mod builtin;
pub mod caller;
pub mod canonical;
pub mod decision;
mod denied;
mod destination;
pub mod error_page;
pub mod explain;
mod explanation_page;
pub mod fixed;
mod form;
mod grpc;
pub mod handling;
pub mod hours;
pub mod identity_headers;
mod interrupted;
pub mod maintenance;
mod max_forwards;
mod notice;
pub mod record;
pub mod refusals;
pub mod reject;
pub mod repair;
pub mod request_id;
pub mod rewrite;
pub mod route;
pub mod rule_text;
pub mod security_headers;
mod settings;
pub mod snapshot;
pub mod streams;
mod tunnel;
mod visitor;

use std::cell::Cell;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, Uri, header};
use hyper::body::Incoming;

pub use self::arrival::Arrival;
pub use self::settings::{
    Access, Activity, Config, Demand, HeadersConfig, HostPattern, IdentityHeaders, Profile, Route, Second,
    TextEncoding, Who,
};

use self::aftercare::Aftercare;
use self::body::ResponseBody;
use self::canonical::Canonical;
use self::decision::{Denial, Forbidden, Permit, Question};
use self::notice::Notice;
use self::record::{Journal, Record};
use self::refusals::Refusals;
use self::reject::Reject;
use self::request_id::RequestIds;
use self::route::{Backend, Place};
use self::snapshot::Snapshot;
use self::streams::{Grant, Streams, Ticket};
use self::tunnel::Tunnel;
use crate::clock::Clock;
use crate::portal::{self, Portal};
use crate::proxy::headers::Forwarded;
use crate::proxy::{self, Pools};
use crate::session::engine::Engine;
use crate::session::{Guests, cookie};
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics::Outcome;
use crate::telemetry::reports::Reports;

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// The configuration of the moment.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Who is signed in.
    pub engine: Engine,
    /// Our own pages.
    pub portal: Arc<Portal>,
    /// The security events.
    pub audit: Audit,
    /// What rules would have refused, had they not been told only to report it.
    pub reports: Reports,
    /// Why requests were refused lately.
    pub refusals: Refusals,
    /// The time.
    pub clock: Clock,
}

/// The request path of one worker.
pub struct Gateway {
    shared: Shared,
    pools: Rc<Pools>,
    journal: Rc<Journal>,
    streams: Rc<Streams>,
    request_ids: RequestIds,
    generation: Cell<u64>,
}

/// What a request is answered with.
pub struct Answer {
    /// The response.
    pub response: Response<ResponseBody>,
    /// After a 101: what happens on the connection from then on.
    pub tunnel: Option<Tunnel>,
}

impl Gateway {
    /// The request path of a worker that tells its requests to `journal`.
    #[must_use]
    pub fn new(shared: Shared, journal: Journal) -> Self {
        let counters = Arc::clone(&journal.counters);
        let streams = Streams::new(&shared, counters);
        Self {
            shared,
            pools: Rc::new(Pools::new()),
            streams,
            journal: Rc::new(journal),
            request_ids: RequestIds::new(),
            generation: Cell::new(u64::MAX),
        }
    }

    /// Answers a request. Cannot fail: every trouble is an answer too.
    pub async fn handle(&self, request: Request<Incoming>, arrival: Arrival<'_>) -> Answer {
        let snapshot = self.snapshot();
        let now = self.shared.clock.now();
        let mut record = Record::begin(&self.journal, &request, arrival.peer, now, self.request_ids.next());
        let method = request.method().clone();
        let takes_cookies = caller::takes_cookies(request.headers());
        let (mut response, tunnel) = match self.respond(&snapshot, request, arrival, &mut record).await {
            Ok(Answered::Own(response)) => (answers::own(&snapshot, response), None),
            Ok(Answered::Proxied(proxy::Answer::Response(response), notice)) => {
                (answers::streamed(&snapshot, response, notice), None)
            }
            Ok(Answered::Proxied(proxy::Answer::Upgraded(upgraded), _)) => {
                let response = upgraded.response.map(|()| ResponseBody::empty());
                let backend = proxy::Side { io: upgraded.backend, read_ahead: upgraded.read_ahead };
                (answers::proxied(&snapshot, response), Some(backend))
            }
            Err(reject) => (answers::rejected(&snapshot, &reject, &mut record), None),
        };
        if method == Method::HEAD && tunnel.is_none() && record.outcome != Outcome::Forwarded {
            response = answers::head_only(response);
        }
        if takes_cookies {
            answers::set_cookies(response.headers_mut(), record.take_cookies());
        }
        response.headers_mut().insert(X_REQUEST_ID, record.request_id.to_header());
        record.answered(response.status());
        let ticket = Ticket::new(&self.streams);
        match tunnel {
            Some(backend) => Answer { response, tunnel: Some(Tunnel { backend, ticket, record }) },
            None => Answer { response: response.map(|body| body.watched_by(record, ticket)), tunnel: None },
        }
    }

    /// Whether `address` is a proxy that may speak for others.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.shared.snapshot.load().is_trusted(address)
    }

    /// The configuration of the moment; connections to upstreams that it no longer has are closed.
    fn snapshot(&self) -> Arc<Snapshot> {
        let snapshot = self.shared.snapshot.load_full();
        if self.generation.replace(snapshot.generation) != snapshot.generation {
            let live: Vec<u64> = snapshot.upstreams.iter().map(|upstream| upstream.id()).collect();
            self.pools.retain(&live);
        }
        snapshot
    }

    async fn respond(
        &self,
        snapshot: &Snapshot,
        mut request: Request<Incoming>,
        arrival: Arrival<'_>,
        record: &mut Record,
    ) -> Result<Answered, Reject> {
        snapshot.limits.check_head(&request)?;
        let canonical = Canonical::of(&request).map_err(Reject::Malformed)?;
        record.authority = Some(canonical.authority.clone());
        refuse_trace(request.method())?;
        arrival.refuse_misdirected(snapshot, &canonical)?;
        let peer = record.client;
        record.client = snapshot.client(peer, request.headers_mut()).map_err(Reject::UnknownClient)?;
        snapshot.identity.strip(request.headers_mut());
        if let Some(page) = snapshot.portal_page(canonical.path()) {
            record.outcome = Outcome::Portal;
            let answer = match page.strip_prefix(explanation_page::FOLDER) {
                Some(id) => Box::pin(self.show_explanation(snapshot, id, &canonical, request, record)).await,
                None => Box::pin(self.portal_page(page, &canonical, request, record)).await,
            };
            return answer.map(Answered::Own);
        }
        let place = snapshot.routes.find(canonical.host(), canonical.path()).ok_or(Reject::NotFound)?;
        refuse_ambiguity(snapshot, &canonical)?;
        maintenance::check(&place.route, record.client)?;
        let caller = self.caller(&place.route, request.headers(), record).await;
        let method = request.method().clone();
        let question = Question {
            route: &place.route,
            method: &method,
            client: record.client,
            caller: caller.as_caller(),
            now: record.time(),
            fresh_at: record.time(),
        };
        let decided = match decision::decide(question) {
            Ok(_) if !destination::settle(snapshot, place, question, &canonical, &mut request)? => {
                Err(Denial::Forbid(Forbidden::Destination))
            }
            decided => decided,
        };
        match decided {
            Ok(permit) => {
                self.note_spared(&place.route, &permit, &canonical, record);
                self.forward(snapshot, place, &permit, &canonical, request, peer, record).await
            }
            Err(denial) => {
                Box::pin(self.deny(snapshot, &place.route, denial, &canonical, request, record)).await
            }
        }
    }

    async fn portal_page(
        &self,
        page: &str,
        canonical: &Canonical,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Response<Bytes>, Reject> {
        let (parts, body) = request.into_parts();
        let asked = portal::Request {
            method: &parts.method,
            path_below_portal: page,
            query: canonical.target.query(),
            headers: &parts.headers,
            body: Bytes::new(),
            client: record.client,
            request_id: record.request_id.as_str(),
            host: canonical.authority.to_str().unwrap_or_default(),
        };
        form::answer(&self.shared.portal, asked, body).await
    }

    #[expect(clippy::too_many_arguments, reason = "each is one of the phases before")]
    async fn forward(
        &self,
        snapshot: &Snapshot,
        place: &Place,
        permit: &Permit<'_>,
        canonical: &Canonical,
        mut request: Request<Incoming>,
        peer: IpAddr,
        record: &mut Record,
    ) -> Result<Answered, Reject> {
        if let Some(answer) = without_backend(&place.route, canonical, &mut request)? {
            record.outcome = Outcome::Fixed;
            return Ok(Answered::Own(answer));
        }
        self.prepare(snapshot, permit, canonical, &mut request, peer, record);
        rewrite::apply(&place.route.handling.rewrite, &mut request)?;
        let notice = Notice::wanted(snapshot, &place.route, permit, canonical, &mut request);
        let upstream = match &place.backend {
            Backend::Upstream(upstream) => upstream,
            Backend::BuiltIn => {
                record.outcome = Outcome::Fixed;
                let page = builtin::page(&request, permit.identity(), snapshot, record.host());
                return Ok(Answered::Own(page));
            }
            Backend::None => {
                return Err(Reject::Internal("a route without a backend let a request pass".to_owned()));
            }
        };
        record.upstream = Some(Arc::clone(upstream));
        record.grant = Some(Grant::new(canonical, &place.route, snapshot));
        record.outcome = Outcome::Forwarded;
        let forward = proxy::Forward {
            upstream,
            pools: &self.pools,
            visitor: visitor::of(upstream, record),
            limits: place.route.handling.body.within(snapshot.limits.body),
            trailers: &snapshot.trailers,
        };
        match self.streams.wait_for(record, pin!(proxy::forward(forward, request))).await {
            Ok(answer) => {
                let mut answer = answer.map_err(Reject::Forward)?;
                let aftercare = Aftercare {
                    route: &place.route,
                    common: &snapshot.common,
                    upstream,
                    authority: canonical.authority(),
                    identity: permit.identity(),
                    session_cookie: &self.shared.engine.policy().cookie.name,
                };
                aftercare.tend(answer.headers_mut());
                Ok(Answered::Proxied(answer, notice))
            }
            Err(end) => {
                let now = self.shared.clock.now();
                denied::ended(end, snapshot, &place.route, now, record).map(Answered::Own)
            }
        }
    }

    /// Makes the request that the backend sees: the canonical form, our cookies gone, who is asking.
    fn prepare(
        &self,
        snapshot: &Snapshot,
        permit: &Permit<'_>,
        canonical: &Canonical,
        request: &mut Request<Incoming>,
        peer: IpAddr,
        record: &Record,
    ) {
        let forwarded = Forwarded {
            client: record.client,
            peer,
            peer_trusted: snapshot.is_trusted(peer),
            scheme: "https",
            host: &canonical.authority,
            request_id: &record.request_id.to_header(),
            version: request.version(),
        };
        *request.uri_mut() = Uri::from(canonical.target.clone());
        let headers = request.headers_mut();
        headers.insert(header::HOST, canonical.authority.clone());
        proxy::headers::prepare(headers, &forwarded);
        let policy = self.shared.engine.policy();
        cookie::strip(headers, &portal::own_cookies(&policy.cookie.name));
        if let Some(identity) = permit.identity() {
            snapshot.identity.set(identity, headers);
        }
        if policy.guests == Guests::Recognised {
            snapshot.identity.set_session(record, headers);
        }
    }
}

enum Answered {
    Own(Response<Bytes>),
    Proxied(proxy::Answer, Option<Box<Notice>>),
}

/// The answer to a request that may pass and that no backend is asked for, if it is one.
fn without_backend(
    route: &Route,
    canonical: &Canonical,
    request: &mut Request<Incoming>,
) -> Result<Option<Response<Bytes>>, Reject> {
    match &route.handling.fixed {
        Some(fixed) => fixed::response(fixed, route, canonical).map(Some),
        None => Ok(max_forwards::count(request, &route.methods)),
    }
}

/// TRACE echoes cookies back to scripts (ASVS 13.4.4).
fn refuse_trace(method: &Method) -> Result<(), Reject> {
    if *method == Method::TRACE { Err(Reject::MethodNotAllowed(String::new())) } else { Ok(()) }
}

/// SECURITY: a path that a backend could read differently must not meet a rule that was not meant
/// for it. Where everything is open to everybody, the reading does not matter.
fn refuse_ambiguity(snapshot: &Snapshot, canonical: &Canonical) -> Result<(), Reject> {
    match canonical.ambiguity {
        Some(ambiguity) if !snapshot.routes.is_open(canonical.host()) => Err(Reject::Ambiguous(ambiguity)),
        _ => Ok(()),
    }
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
