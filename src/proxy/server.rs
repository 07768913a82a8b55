//! One server of an upstream: its address, and what all workers know of it.
//!
//! Leaves the connections to [`super::connection`]. Invariant: only atomics are shared, so no worker
//! ever waits for another.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::HeaderValue;
use rustls_pki_types::ServerName;

use super::UpstreamError;
use super::affinity::Affinity;
use super::health::Health;
use super::host_name::HostName;
use super::tls::{BackendTls, Protocol, server_name};

/// Where a backend server answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// `http://host:port`: TCP, in clear text.
    Http(HostPort),
    /// `https://host:port`: TLS, with the certificate verified.
    Https(HostPort),
    /// `h2c://host:port`: HTTP/2 in clear text, without asking first (RFC 9113 section 3.3).
    H2c(HostPort),
    /// `unix:/path`: a socket of this machine.
    Unix(PathBuf),
}

/// As it stands in the configuration.
impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(place) => write!(f, "http://{place}"),
            Self::Https(place) => write!(f, "https://{place}"),
            Self::H2c(place) => write!(f, "h2c://{place}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A server and its share of the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedServer {
    /// Where it answers.
    pub address: ServerAddress,
    /// How many requests it gets while a server of weight 1 gets one; at least 1.
    pub weight: u16,
}

/// A host and a TCP port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// `host:port`, with brackets around an IPv6 address.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// One server of an upstream.
#[derive(Debug)]
pub(super) struct Server {
    /// As people wrote it, for the log.
    pub(super) name: String,
    target: Target,
    /// The name to verify, where TLS is spoken.
    tls_name: Option<ServerName<'static>>,
    host: HeaderValue,
    speech: Speech,
    /// Chose HTTP/1.1 when it had the choice.
    declined_http2: AtomicBool,
    weight: u16,
    /// What its distance from a visitor is measured by.
    affinity: Affinity,
    /// Requests under way; counted for [`super::Balance::LeastRequests`] only.
    pub(super) active: AtomicUsize,
    pub(super) health: Health,
}

impl Server {
    pub(super) fn new(server: &WeightedServer, tls: &BackendTls) -> Result<Self, UpstreamError> {
        let WeightedServer { address, weight } = server;
        let (target, authority) = match address {
            ServerAddress::Http(place) | ServerAddress::Https(place) | ServerAddress::H2c(place) => {
                (Target::of(place), place.to_string())
            }
            ServerAddress::Unix(path) => (Target::Unix(path.clone()), LOCAL_HOST.to_owned()),
        };
        let tls_name = match address {
            ServerAddress::Https(place) => Some(server_name(tls, &place.host)?),
            ServerAddress::Http(_) | ServerAddress::H2c(_) | ServerAddress::Unix(_) => None,
        };
        let speech = match address {
            ServerAddress::Http(_) | ServerAddress::Unix(_) => Speech::Http1,
            ServerAddress::H2c(_) => Speech::Http2,
            ServerAddress::Https(_) => Speech::over_tls(tls.protocol),
        };
        let host = HeaderValue::from_str(&authority).map_err(|_| UpstreamError::Host(authority))?;
        Ok(Self {
            affinity: Affinity::of(address.to_string().as_bytes()),
            name: address.to_string(),
            weight: *weight,
            target,
            tls_name,
            host,
            speech,
            declined_http2: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            health: Health::default(),
        })
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    pub(super) const fn tls_name(&self) -> Option<&ServerName<'static>> {
        self.tls_name.as_ref()
    }

    /// What it is spoken with.
    pub(super) const fn speech(&self) -> Speech {
        self.speech
    }

    /// Whether it is spoken with over TLS.
    pub(super) const fn is_tls(&self) -> bool {
        self.tls_name.is_some()
    }

    /// Whether it can take over a connection for a WebSocket, which needs HTTP/1.1.
    pub(super) const fn can_switch(&self) -> bool {
        self.tls_name.is_some() || matches!(self.speech, Speech::Http1)
    }

    /// Whether its next connection is likely one that many requests share.
    pub(super) fn is_shared(&self) -> bool {
        match self.speech {
            Speech::Http1 => false,
            Speech::Http2 => true,
            Speech::Either => !self.declined_http2.load(Ordering::Relaxed),
        }
    }

    /// Notes what it chose.
    pub(super) fn found_to_share(&self, is_shared: bool) {
        self.declined_http2.store(!is_shared, Ordering::Relaxed);
    }

    /// The `Host` it expects of clients that talk to it directly.
    pub(super) const fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// How many requests are under way for its weight; only good to be compared.
    pub(super) fn strain(&self) -> u64 {
        let active = u64::try_from(self.active()).unwrap_or(u64::MAX);
        active.saturating_mul(STRAIN_SCALE) / u64::from(self.weight.max(1))
    }

    /// How far it is from a visitor of a sticky upstream.
    pub(super) fn distance(&self, visitor: Affinity) -> f64 {
        visitor.distance(self.affinity, self.weight)
    }

    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }
}

/// Which protocol a server is spoken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Http1,
    Http2,
    /// As the server chooses in the TLS handshake.
    Either,
}

impl Speech {
    const fn over_tls(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http1 => Self::Http1,
            Protocol::Http2 => Self::Http2,
            Protocol::Auto => Self::Either,
        }
    }
}

/// Where a server is; an address needs no resolver.
#[derive(Debug)]
pub(super) enum Target {
    Address(SocketAddr),
    Name(HostName),
    Unix(PathBuf),
}

impl Target {
    fn of(place: &HostPort) -> Self {
        match place.host.parse::<IpAddr>() {
            Ok(ip) => Self::Address(SocketAddr::new(ip, place.port)),
            Err(_) => Self::Name(HostName::new(place.host.clone(), place.port)),
        }
    }
}

/// Large enough that different numbers of requests seldom round to one strain.
const STRAIN_SCALE: u64 = 1 << 20;

/// What a server behind a Unix socket is called in a `Host` header; the socket itself has no name.
const LOCAL_HOST: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        let place = |host: &str| HostPort { host: host.to_owned(), port: 80 };
        assert_eq!(ServerAddress::Http(place("::1")).to_string(), "http://[::1]:80");
        assert_eq!(ServerAddress::Http(place("app")).to_string(), "http://app:80");
        assert_eq!(ServerAddress::Https(place("app")).to_string(), "https://app:80");
        assert_eq!(ServerAddress::H2c(place("app")).to_string(), "h2c://app:80");
        assert_eq!(ServerAddress::Unix("/run/app.sock".into()).to_string(), "unix:/run/app.sock");
    }

    #[test]
    fn a_server_behind_a_socket_is_the_local_host() {
        let server = WeightedServer { address: ServerAddress::Unix("/run/app.sock".into()), weight: 1 };
        let server = Server::new(&server, &BackendTls::default()).unwrap();
        assert_eq!(server.host(), "localhost");
    }
}
