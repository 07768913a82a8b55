//! Asks the servers of an upstream now and then whether they are well.
//!
//! One task for each server and process, on the runtime that [`watch`] is called on, which is not a
//! worker's. What it finds is an atomic of [`super::health`]. Invariant: a task ends with its upstream,
//! so a reload needs to stop none.

use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::ForwardError;
use super::connection::{Wire, open_stream};
use super::server::Server;
use super::upgrade::Switch;
use super::upstream::Upstream;

/// How the servers of an upstream are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What they are asked for.
    pub path: PathAndQuery,
    /// How often.
    pub every: Duration,
    /// How long an answer may take, connecting included.
    pub timeout: Duration,
    /// The statuses of a server that is well.
    pub expect: RangeInclusive<u16>,
    /// Good answers in a row after which it gets requests again.
    pub rise: u32,
    /// Bad ones in a row after which it gets none.
    pub fall: u32,
}

/// Begins to ask the servers, unless that was begun before; without settings for it, does nothing.
pub fn watch(upstream: &Arc<Upstream>) {
    let Some(check) = upstream.config().health.clone() else { return };
    if !upstream.begin_watch() {
        return;
    }
    for index in 0..upstream.servers().len() {
        tokio::spawn(look_after(Arc::downgrade(upstream), index, check.clone()));
    }
}

/// What a server is found to be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ill {
    #[error(transparent)]
    Connection(#[from] ForwardError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("it answered with status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("it did not answer in time")]
    Silent,
}

impl Ill {
    /// What lies behind, if that says more.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Connection(ForwardError::Connect(error) | ForwardError::Tls(error)) => error.to_string(),
            other => other.to_string(),
        }
    }
}

/// Counts what was found until it is enough to change the verdict.
#[derive(Debug, Default)]
struct Tally {
    good: u32,
    bad: u32,
}

impl Tally {
    /// The verdict, if there is one after this check.
    fn count<E>(&mut self, found: Result<(), E>, check: &HealthCheck) -> Option<Result<(), E>> {
        if found.is_ok() {
            (self.good, self.bad) = (self.good.saturating_add(1), 0);
        } else {
            (self.good, self.bad) = (0, self.bad.saturating_add(1));
        }
        (self.good >= check.rise || self.bad >= check.fall).then_some(found)
    }
}

async fn look_after(upstream: Weak<Upstream>, index: usize, check: HealthCheck) {
    let mut tally = Tally::default();
    loop {
        {
            let Some(upstream) = upstream.upgrade() else { return };
            let Some(server) = upstream.server(index) else { return };
            let asked = timeout(check.timeout, ask(&upstream, server, &check));
            let found = asked.await.unwrap_or(Err(Ill::Silent));
            if let Some(verdict) = tally.count(found, &check) {
                upstream.checked(index, verdict);
            }
        }
        sleep(check.every).await;
    }
}

/// Asks once, on a connection of its own that takes no slot from requests.
async fn ask(upstream: &Upstream, server: &Server, check: &HealthCheck) -> Result<(), Ill> {
    let (stream, wire) = open_stream(upstream, server, Switch::No).await?;
    let io = TokioIo::new(stream);
    let request = question(upstream, server, check, wire).map_err(ForwardError::Connect)?;
    // Ends with this function, whatever it ends with.
    let mut driver = JoinSet::new();
    let answer = match wire {
        Wire::Http1 => {
            let (mut sender, connection) = http1::handshake(io).await?;
            driver.spawn(connection);
            sender.send_request(request).await?
        }
        Wire::Http2 => {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            driver.spawn(connection);
            sender.send_request(request).await?
        }
    };
    let status = answer.status();
    if check.expect.contains(&status.as_u16()) { Ok(()) } else { Err(Ill::Status(status)) }
}

fn question(
    upstream: &Upstream,
    server: &Server,
    check: &HealthCheck,
    wire: Wire,
) -> io::Result<Request<Empty<Bytes>>> {
    let host = upstream.literal_host().unwrap_or_else(|| server.host()).clone();
    let request = Request::builder().header(USER_AGENT, HeaderValue::from_static("vestibule-health"));
    let request = match wire {
        Wire::Http1 => request
            .uri(check.path.as_str())
            .header(HOST, host)
            .header(CONNECTION, HeaderValue::from_static("close")),
        Wire::Http2 => request.version(Version::HTTP_2).uri(
            Uri::builder()
                .scheme(if server.is_tls() { Scheme::HTTPS } else { Scheme::HTTP })
                .authority(host.as_bytes())
                .path_and_query(check.path.clone())
                .build()
                .map_err(io::Error::other)?,
        ),
    };
    request.body(Empty::new()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_as_many_checks_in_a_row_as_the_settings_say() {
        let check = HealthCheck {
            path: PathAndQuery::from_static("/"),
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            expect: 200..=399,
            rise: 2,
            fall: 3,
        };
        let mut tally = Tally::default();
        let mut after = |found: Result<(), ()>| tally.count(found, &check);
        assert_eq!([after(Ok(())), after(Ok(()))], [None, Some(Ok(()))]);
        assert_eq!([after(Err(())), after(Err(())), after(Ok(()))], [None; 3]);
        assert_eq!([after(Err(())), after(Err(())), after(Err(()))], [None, None, Some(Err(()))]);
    }
}
