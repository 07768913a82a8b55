//! What is known of one request, and the line and the counts that come of it at its end.
//!
//! The record travels with the response body, so that it sees the last byte or the client's going
//! away. Invariant: one request, one line.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Version};

use super::Route;
use super::error_page::Format;
use super::request_id::RequestId;
use super::streams::Grant;
use crate::clock::{Stopwatch, Timestamp};
use crate::proxy::Upstream;
use crate::session::engine::Renewal;
use crate::session::record::Session;
use crate::telemetry::access::AccessWriter;
use crate::telemetry::access_line::AccessLine;
use crate::telemetry::metrics::{Outcome, RequestCounters};
use crate::telemetry::rule::Rule;

/// Where a worker's finished requests are told.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The access log; none when it is off.
    pub access: Option<AccessWriter>,
    /// The worker's counters.
    pub counters: Arc<RequestCounters>,
}

impl Journal {
    /// Tells of what was refused before it was a request.
    pub fn note_unheard(&self, unheard: &Unheard) {
        let status = unheard.status.map(|status| status.as_u16());
        self.counters.count_unheard(status);
        let Some(access) = &self.access else { return };
        access.write(&AccessLine {
            time: unheard.time,
            client: unheard.client,
            user: None,
            method: "-",
            protocol: unheard.protocol,
            host: "",
            path: "-",
            status: status.unwrap_or_default(),
            bytes: 0,
            duration: Duration::ZERO,
            outcome: Outcome::Refused.as_str(),
            reason: Some(unheard.reason),
            spared: None,
            upstream: None,
            request_id: "-",
        });
    }
}

/// What was refused before it was a request, so that nothing is known of it but where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Unheard {
    /// When.
    pub time: Timestamp,
    /// The other end of the connection.
    pub client: IpAddr,
    /// The protocol it was refused in.
    pub protocol: &'static str,
    /// The status of the answer; none if the connection was closed instead.
    pub status: Option<StatusCode>,
    /// Why.
    pub reason: &'static str,
}

/// What is known of one request.
#[derive(Debug)]
pub struct Record {
    journal: Rc<Journal>,
    started: Stopwatch,
    time: Timestamp,
    method: Method,
    version: Version,
    target: Option<PathAndQuery>,
    /// What its client can read.
    pub format: Format,
    /// Its id.
    pub request_id: RequestId,
    /// The real client, once it is known.
    pub client: IpAddr,
    /// The canonical host, once it is known.
    pub authority: Option<HeaderValue>,
    /// The session, once it is known.
    pub session: Option<Arc<Session>>,
    /// The name of a guest for backends.
    pub pseudonym: Option<String>,
    /// The cookies of a new guest.
    pub guest_cookies: Vec<HeaderValue>,
    /// A newer cookie for the browser of the session.
    pub renewal: Option<Renewal>,
    /// What it was allowed as, if it was.
    pub grant: Option<Grant>,
    /// The route that let it not pass, if one did.
    pub barrier: Option<Arc<Route>>,
    /// The upstream that was asked.
    pub upstream: Option<Arc<Upstream>>,
    /// What was done.
    pub outcome: Outcome,
    /// Why it was refused, failed or ended before its time.
    pub reason: Option<&'static str>,
    /// The part of the rule that would have refused it, had it not been told only to report that.
    pub spared: Option<Rule>,
    /// Whether why it was refused can be looked up by its id.
    pub is_explained: bool,
    status: StatusCode,
    bytes: u64,
}

impl Record {
    /// Begins the record of a request; boxed, because it moves with the response.
    #[must_use]
    pub fn begin<B>(
        journal: &Rc<Journal>,
        request: &http::Request<B>,
        peer: IpAddr,
        time: Timestamp,
        request_id: RequestId,
    ) -> Box<Self> {
        Box::new(Self {
            journal: Rc::clone(journal),
            started: Stopwatch::start(),
            time,
            method: request.method().clone(),
            version: request.version(),
            target: request.uri().path_and_query().cloned(),
            format: Format::of(request.headers()),
            request_id,
            client: peer,
            authority: None,
            session: None,
            pseudonym: None,
            guest_cookies: Vec::new(),
            renewal: None,
            grant: None,
            barrier: None,
            upstream: None,
            outcome: Outcome::Failed,
            reason: None,
            spared: None,
            is_explained: false,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            bytes: 0,
        })
    }

    /// The `Set-Cookie` values that the answer is to carry.
    #[must_use]
    pub fn take_cookies(&mut self) -> Vec<HeaderValue> {
        match self.renewal.take() {
            Some(renewal) => renewal.into_cookies(),
            None => std::mem::take(&mut self.guest_cookies),
        }
    }

    /// When the request came.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// The request method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The target as the client sent it.
    #[must_use]
    pub const fn target(&self) -> Option<&PathAndQuery> {
        self.target.as_ref()
    }

    /// The canonical host with its port, once it is known.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default()
    }

    /// Notes the status of the response.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = status;
    }

    /// Notes a piece of the response body.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes += u64::try_from(bytes).unwrap_or(0);
    }

    /// Bytes of the response body so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn line(&self, access: &AccessWriter, duration: Duration) {
        access.write(&AccessLine {
            time: self.time,
            client: self.client,
            user: self.session.as_ref().map(|session| session.identity().user.as_str()),
            method: self.method.as_str(),
            protocol: protocol(self.version),
            host: self.host(),
            path: self.target.as_ref().map_or("-", PathAndQuery::path),
            status: self.status.as_u16(),
            bytes: self.bytes,
            duration,
            outcome: self.outcome.as_str(),
            reason: self.reason,
            spared: self.spared,
            upstream: self.upstream.as_ref().map(|upstream| upstream.name()),
            request_id: self.request_id.as_str(),
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        self.journal.counters.count(self.outcome, self.status.as_u16(), duration, self.bytes);
        if let Some(rule) = self.spared {
            self.journal.counters.count_spared(rule);
        }
        if let Some(access) = &self.journal.access {
            self.line(access, duration);
        }
    }
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
