//! An upstream as all workers share it: its servers, its connection slots, what is known of each.
//!
//! Leaves the connections themselves to [`super::pool`], which each worker has for itself.
//! Invariant: only atomics and a semaphore are shared, so no worker ever waits for a lock of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::affinity::Affinity;
use super::balance::schedule;
use super::check::Ill;
use super::health::{Change, Failure};
use super::server::{Server, ServerAddress};
use super::tls::{TlsClient, TlsError};
use super::upgrade::Switch;
use super::{Balance, ForwardError, HostHeader, ResponseFault, UpstreamConfig};
use crate::clock::Stopwatch;

/// A named group of servers, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    config: UpstreamConfig,
    id: u64,
    servers: Vec<Server>,
    /// Whose turn it is, as indexes of servers.
    schedule: Box<[usize]>,
    tls: Option<TlsClient>,
    literal_host: Option<HeaderValue>,
    slots: Arc<Semaphore>,
    /// Requests of all workers that wait for a slot.
    waiting: AtomicUsize,
    /// Asks a worker with idle connections to give one up.
    wanted: Notify,
    is_watched: AtomicBool,
    started: Stopwatch,
}

impl Upstream {
    /// Makes the shared part of an upstream: reads its certificates, connects to nothing.
    pub fn new(config: UpstreamConfig) -> Result<Self, UpstreamError> {
        if config.servers.is_empty() {
            return Err(UpstreamError::NoServer);
        }
        let literal_host = match &config.host {
            HostHeader::Literal(host) => Some(host_value(host)?),
            HostHeader::Preserve | HostHeader::Upstream => None,
        };
        let servers =
            config.servers.iter().map(|server| Server::new(server, &config.tls)).collect::<Result<_, _>>()?;
        let speaks_tls =
            config.servers.iter().any(|server| matches!(server.address, ServerAddress::Https(_)));
        let tls = speaks_tls.then(|| TlsClient::load(&config.tls)).transpose()?;
        let slots = config.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            schedule: schedule(&config.servers.iter().map(|server| server.weight).collect::<Vec<_>>()),
            servers,
            tls,
            literal_host,
            slots: Arc::new(Semaphore::new(slots)),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            is_watched: AtomicBool::new(false),
            started: Stopwatch::start(),
            config,
        })
    }

    /// A number that no other upstream of this process has or had.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Its name in routes and logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its settings.
    #[must_use]
    pub const fn config(&self) -> &UpstreamConfig {
        &self.config
    }

    /// Whether `config` would make the same upstream, down to what its certificate files hold now.
    #[must_use]
    pub fn is_made_from(&self, config: &UpstreamConfig) -> bool {
        self.config == *config && self.tls.as_ref().is_none_or(|tls| tls.is_current(&config.tls))
    }

    /// Its servers, and whether they are up as far as is known.
    pub fn server_states(&self) -> impl Iterator<Item = (&str, bool)> {
        self.servers.iter().map(|server| (server.name.as_str(), server.health.is_up()))
    }

    /// Open connections of all workers, tunnels included.
    #[must_use]
    pub fn connections(&self) -> usize {
        let most = self.config.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        most.saturating_sub(self.slots.available_permits())
    }

    /// Requests of all workers that wait for a connection.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) const fn tls(&self) -> Option<&TlsClient> {
        self.tls.as_ref()
    }

    pub(super) const fn schedule(&self) -> &[usize] {
        &self.schedule
    }

    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    pub(super) fn server(&self, index: usize) -> Option<&Server> {
        self.servers.get(index)
    }

    /// The servers that cannot serve a request that switches protocols like this.
    pub(super) fn unfit(&self, switch: Switch) -> Vec<usize> {
        if switch == Switch::No {
            return Vec::new();
        }
        let servers = self.servers.iter().enumerate();
        servers.filter(|(_, server)| !server.can_switch()).map(|(index, _)| index).collect()
    }

    /// A free slot, if there is one and nobody waited for it before.
    pub(super) fn try_slot(&self) -> Option<Slot> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// The next free slot.
    pub(super) async fn slot(&self) -> Option<Slot> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    pub(super) fn wait_begins(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wait_ends(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) const fn wanted(&self) -> &Notify {
        &self.wanted
    }

    /// Sets the `Host` that the server at `index` shall see, unless it is the client's own.
    pub(super) fn set_host(&self, index: usize, headers: &mut HeaderMap) {
        let host = match self.config.host {
            HostHeader::Preserve => return,
            HostHeader::Literal(_) => self.literal_host.as_ref(),
            HostHeader::Upstream => self.server(index).map(Server::host),
        };
        if let Some(host) = host {
            headers.insert(HOST, host.clone());
        }
    }

    /// Whether a server of it is told that `authority`, in lower case, is its own host and port.
    #[must_use]
    pub fn is_told_as(&self, authority: &str) -> bool {
        self.told_hosts().any(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
    }

    /// The bytes of the longest `Host` that is set in place of the client's; none if its own is sent.
    pub(super) fn longest_host(&self) -> Option<usize> {
        self.told_hosts().map(HeaderValue::len).max()
    }

    /// The hosts that are sent in place of the client's.
    fn told_hosts(&self) -> impl Iterator<Item = &HeaderValue> {
        let of_servers = self.servers.iter().filter(|_| self.config.host == HostHeader::Upstream);
        self.literal_host.iter().chain(of_servers.map(Server::host))
    }

    /// Counts a request for the server at `index` until the [`Load`] is dropped, where the balance needs it.
    pub(super) fn load(self: &Arc<Self>, index: usize) -> Load {
        if self.config.balance != Balance::LeastRequests || self.servers.len() < 2 {
            return Load(None);
        }
        if let Some(server) = self.server(index) {
            server.active.fetch_add(1, Ordering::Relaxed);
        }
        Load(Some((Arc::clone(self), index)))
    }

    /// Notes that the server at `index` failed a request, if `error` says that it did.
    pub(super) fn failed(&self, index: usize, error: &ForwardError) {
        let failure = match error {
            ForwardError::Connect(_) | ForwardError::ConnectTimeout | ForwardError::Tls(_) => {
                Failure::Unreachable
            }
            // It did answer, if not well: one odd page must not take a server away from all others.
            ForwardError::BadResponse(ResponseFault::Coding | ResponseFault::Length)
            | ForwardError::TooManyConnections
            | ForwardError::BodyTooLarge
            | ForwardError::BodyStalled
            | ForwardError::BodyMalformed
            | ForwardError::ClientGone
            | ForwardError::Loop
            | ForwardError::HeadTooLarge(_)
            | ForwardError::NoSwitch
            | ForwardError::Method => return,
            ForwardError::ResponseTimeout | ForwardError::BadResponse(_) => Failure::Silent,
        };
        let Some(server) = self.server(index) else { return };
        if server.health.failed(failure, self.millis()).is_some() {
            let reason = std::error::Error::source(error).unwrap_or(error);
            tracing::warn!(upstream = self.name(), server = server.name, %reason, "backend is down");
        }
    }

    /// Notes that the server at `index` answered a request.
    pub(super) fn answered(&self, index: usize) {
        let Some(server) = self.server(index) else { return };
        if server.health.answered(|| self.millis()).is_some() {
            tracing::info!(upstream = self.name(), server = server.name, "backend is up again");
        }
    }

    /// Takes over what the checks say of the server at `index`.
    pub(super) fn checked(&self, index: usize, verdict: Result<(), Ill>) {
        let Some(server) = self.server(index) else { return };
        let name = &*server.name;
        let found = if verdict.is_ok() { Change::Up } else { Change::Down };
        match (server.health.checked(found, self.millis()), verdict) {
            (Some(_), Err(ill)) => {
                tracing::warn!(
                    upstream = self.name(),
                    server = name,
                    reason = ill.reason(),
                    "backend is down"
                );
            }
            (Some(_), Ok(())) => {
                tracing::info!(upstream = self.name(), server = name, "backend is up again");
            }
            (None, _) => {}
        }
    }

    /// Whether nobody asks the servers how they are; from now on somebody does.
    pub(super) fn begin_watch(&self) -> bool {
        !self.is_watched.swap(true, Ordering::Relaxed)
    }

    /// The `Host` that is always sent, if there is one.
    pub(super) const fn literal_host(&self) -> Option<&HeaderValue> {
        self.literal_host.as_ref()
    }

    /// Whether `server` may be asked for `visitor`.
    pub(super) fn admits(&self, server: &Server, visitor: Affinity) -> bool {
        server.health.admits(visitor, || self.millis())
    }

    fn millis(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

/// The right to one open connection; given back when dropped.
pub(super) type Slot = OwnedSemaphorePermit;

/// A request under way at a server, counted while this lives.
#[derive(Debug)]
pub(super) struct Load(Option<(Arc<Upstream>, usize)>);

impl Drop for Load {
    fn drop(&mut self) {
        if let Some((upstream, index)) = &self.0
            && let Some(server) = upstream.server(*index)
        {
            server.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Why settings make no upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// There is no server to ask.
    #[error("it has no server; name at least one")]
    NoServer,
    /// A name cannot stand in a `Host` header.
    #[error("`{0}` cannot stand in a `Host` header")]
    Host(String),
    /// Its TLS cannot be set up.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
}

fn host_value(host: &str) -> Result<HeaderValue, UpstreamError> {
    HeaderValue::from_str(host).map_err(|_| UpstreamError::Host(host.to_owned()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Http1Fault;
    use crate::proxy::{BackendTls, HeadLimits, HostPort, WeightedServer};

    fn config(host: HostHeader, server: &str) -> UpstreamConfig {
        let address = ServerAddress::Http(HostPort { host: server.to_owned(), port: 8080 });
        UpstreamConfig {
            name: "wiki".to_owned(),
            servers: vec![WeightedServer { address, weight: 1 }],
            tls: BackendTls::default(),
            balance: Balance::RoundRobin,
            host,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            max_connections: 2,
            head_limits: HeadLimits::default(),
            health: None,
        }
    }

    #[test]
    fn each_upstream_has_an_id_of_its_own() {
        let new = || Upstream::new(config(HostHeader::Preserve, "::1")).unwrap().id();
        assert_ne!(new(), new());
    }

    #[test]
    fn an_upstream_without_servers_or_with_an_impossible_host_is_refused() {
        let mut none = config(HostHeader::Preserve, "a");
        none.servers.clear();
        assert_eq!(Upstream::new(none).unwrap_err(), UpstreamError::NoServer);
        let broken = config(HostHeader::Literal("a\r\nb".to_owned()), "a");
        assert!(matches!(Upstream::new(broken), Err(UpstreamError::Host(_))));
    }

    #[test]
    fn the_backend_sees_the_host_that_is_configured() {
        let seen = |host, server| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("client.example"));
            Upstream::new(config(host, server)).unwrap().set_host(0, &mut headers);
            headers[HOST].to_str().unwrap().to_owned()
        };
        assert_eq!(seen(HostHeader::Preserve, "::1"), "client.example");
        assert_eq!(seen(HostHeader::Upstream, "::1"), "[::1]:8080");
        assert_eq!(seen(HostHeader::Upstream, "app"), "app:8080");
        assert_eq!(seen(HostHeader::Literal("fixed".to_owned()), "app"), "fixed");
    }

    #[test]
    fn a_server_that_answers_badly_is_no_silent_one() {
        let is_up_after = |fault: fn() -> ResponseFault| {
            let upstream = Upstream::new(config(HostHeader::Preserve, "::1")).unwrap();
            for _ in 0..100 {
                upstream.failed(0, &fault().into());
            }
            upstream.server_states().all(|(_, is_up)| is_up)
        };
        assert!(is_up_after(|| ResponseFault::Length) && is_up_after(|| ResponseFault::Coding));
        assert!(!is_up_after(|| Http1Fault::Closed.into()));
    }

    #[test]
    fn connections_count_the_slots_that_are_taken() {
        let upstream = Upstream::new(config(HostHeader::Preserve, "::1")).unwrap();
        let first = upstream.try_slot();
        let second = upstream.try_slot();
        assert!(first.is_some() && second.is_some() && upstream.try_slot().is_none());
        assert_eq!(upstream.connections(), 2);
        drop(first);
        assert_eq!(upstream.connections(), 1);
    }
}
