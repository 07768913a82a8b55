//! One open stream: what it was allowed as, and whether that still holds.
//!
//! Leaves the question whether its session lives to the watcher. Invariant: what is asked again is what
//! was asked first, in its canonical form, by the same decision.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::Method;

use crate::clock::Timestamp;
use crate::gateway::canonical::Canonical;
use crate::gateway::decision::{self, Caller, Guest, Question};
use crate::gateway::hours::Hours;
use crate::gateway::record::Record;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::{Route, refuse_ambiguity};
use crate::proxy::Upstream;
use crate::session::record::Session;
use crate::telemetry::metrics::StreamEnd;

/// What a request was allowed as, kept to decide again.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What was asked for.
    pub canonical: Canonical,
    /// The snapshot that allowed it.
    pub generation: u64,
    /// The hours at which it is allowed; none = always.
    pub hours: Option<Arc<Hours>>,
}

impl Grant {
    /// What `route` of `snapshot` has allowed.
    #[must_use]
    pub fn new(canonical: &Canonical, route: &Route, snapshot: &Snapshot) -> Self {
        let hours = route.enforced_hours();
        Self { canonical: canonical.clone(), generation: snapshot.generation, hours }
    }
}

/// One open stream: what it was allowed as, and what the watcher has to say to it.
#[derive(Debug)]
pub struct Stream {
    grant: Option<Grant>,
    method: Method,
    client: IpAddr,
    pub(super) session: Option<Arc<Session>>,
    upstream: Option<Arc<Upstream>>,
    /// The last snapshot that allowed it.
    allowed_by: Cell<u64>,
    /// The hours at which that one allows it.
    hours: RefCell<Option<Arc<Hours>>>,
    /// Bytes of the client's messages, which are activity of its session.
    pub said: Cell<u64>,
    /// What of `said` was passed on as activity.
    noted: Cell<u64>,
    end: Cell<Option<StreamEnd>>,
    waker: RefCell<Option<Waker>>,
}

impl Stream {
    /// Why it must end, if it must.
    pub fn end(&self) -> Option<StreamEnd> {
        self.end.get()
    }

    /// Ready when it must end.
    pub fn poll_end(&self, cx: &Context<'_>) -> Poll<StreamEnd> {
        if let Some(end) = self.end() {
            return Poll::Ready(end);
        }
        match &mut *self.waker.borrow_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Has it end, and answers whether this was not said before.
    pub(super) fn stop(&self, end: StreamEnd) -> bool {
        if self.end().is_some() {
            return false;
        }
        self.end.set(Some(end));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
    }

    /// The session that lives on by what the client said since this was last asked.
    pub(super) fn news_for(&self) -> Option<&Arc<Session>> {
        let said = self.said.get();
        self.session.as_ref().filter(|_| self.noted.replace(said) != said)
    }

    pub(super) fn of(record: &Record) -> Self {
        Self {
            method: record.method().clone(),
            client: record.client,
            session: record.session.clone(),
            upstream: record.upstream.clone(),
            allowed_by: Cell::new(record.grant.as_ref().map_or(u64::MAX, |grant| grant.generation)),
            hours: RefCell::new(record.grant.as_ref().and_then(|grant| grant.hours.clone())),
            grant: record.grant.clone(),
            said: Cell::default(),
            noted: Cell::default(),
            end: Cell::default(),
            waker: RefCell::default(),
        }
    }

    /// Why the present rules no longer let the request pass; none if they do.
    pub(super) fn refused_by(&self, snapshot: &Snapshot, now: Timestamp) -> Option<StreamEnd> {
        if self.allowed_by.get() != snapshot.generation {
            let canonical = self.grant.as_ref().map(|grant| &grant.canonical);
            let Some(route) = canonical.and_then(|canonical| self.passes(snapshot, canonical, now)) else {
                return Some(StreamEnd::RuleChanged);
            };
            self.hours.replace(route.enforced_hours());
            self.allowed_by.set(snapshot.generation);
        }
        let is_closed = self.hours.borrow().as_ref().is_some_and(|hours| !hours.are_open(now));
        is_closed.then_some(StreamEnd::HoursOver)
    }

    /// The route that would let it pass once more.
    fn passes<'s>(
        &self,
        snapshot: &'s Snapshot,
        canonical: &'s Canonical,
        now: Timestamp,
    ) -> Option<&'s Route> {
        let named = self.upstream.as_ref().map(|upstream| upstream.name());
        let has_upstream = snapshot.upstreams.iter().any(|upstream| Some(upstream.name()) == named);
        let route = &snapshot.routes.find(canonical.host(), canonical.path())?.route;
        let caller = match &self.session {
            Some(session) => Caller::Known(session.identity(), session.proofs()),
            None => Caller::Guest(Guest::New),
        };
        // What was shown was fresh when the stream began; that it grows old ends nothing.
        let fresh_at = Timestamp::default();
        let question = Question { route, method: &self.method, client: self.client, caller, now, fresh_at };
        let passes = has_upstream
            && snapshot.portal_page(canonical.path()).is_none()
            && refuse_ambiguity(snapshot, canonical).is_ok()
            && decision::decide(question).is_ok();
        passes.then_some(route)
    }
}
