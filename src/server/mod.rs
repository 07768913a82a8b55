//! Listeners, workers, connections: from a socket to a request and back.
//!
//! Knows TLS, HTTP/1.1 and HTTP/2 and nothing of what a request means: that is the [`Handler`]'s.
//! Invariants: a connection and its requests never leave the thread of their worker; accepting never
//! fails; every wait for a client has a deadline.

mod acceptor;
mod announcement;
mod connection;
mod crowd;
mod drain;
mod early_error;
mod http1;
mod http2;
pub mod inherited;
mod linger;
pub mod listeners;
mod phase;
mod pieces;
mod proxy_header;
mod redirect;
mod refusal;
mod scanner;
mod stalled;
#[cfg(test)]
mod tests;
pub mod tls;
mod watched;
mod websocket;
mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use self::connection::{ClientIo, ClientSide, Connection, Handler, Tunnel, Tunnelling};
pub use self::drain::Drained;
pub use self::early_error::{EarlyErrors, Refusals};
pub use self::refusal::Refusal;
pub use self::worker::{Gauges, Server, StartError};
use crate::pace::LeastPace;

/// Where to listen and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// TLS listeners.
    pub https: Vec<SocketAddr>,
    /// Clear-text listeners that redirect to https.
    pub http: Vec<SocketAddr>,
    /// Whether each connection begins with the header of a proxy (PROXY protocol 1 or 2).
    pub proxy_protocol: bool,
    /// Worker threads; at least one.
    pub workers: usize,
    /// Open client connections of all workers together.
    pub max_connections: usize,
    /// Open connections of one client address, or of one /64 of IPv6; trusted proxies have no limit.
    pub connections_per_address: u32,
    /// How long open requests and tunnels may take on stop.
    pub drain: Duration,
    /// Bounds for one connection.
    pub limits: Limits,
    /// Certificates and protocol versions.
    pub tls: TlsConfig,
}

/// Bounds for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a request head, from its first byte.
    pub request_head: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// After how long without a request an HTTP/1 connection gives back what it needs for one.
    pub rest_after: Duration,
    /// For the next piece of a body, in either direction.
    pub body_stall: Duration,
    /// Bytes a second that a client must send or take on average while it is waited for; 0 = any.
    pub min_rate: u64,
    /// Bytes of a request head.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub header_count: usize,
    /// Bytes of a request body; none = no limit.
    pub body_bytes: Option<u64>,
    /// Requests under way at once on one HTTP/2 connection.
    pub streams: u32,
}

impl Limits {
    /// What must pass at least while a client is waited for.
    #[must_use]
    pub fn least_pace(&self) -> LeastPace {
        LeastPace::new(self.min_rate, self.body_stall)
    }
}

/// Certificates and protocol versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The oldest version spoken; a change needs a restart.
    pub min_version: TlsVersion,
    /// At least one; the first serves clients that name no known host.
    pub certificates: Vec<CertificateFiles>,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The chain, own certificate first.
    pub cert: PathBuf,
    /// The private key; readable by its owner only.
    pub key: PathBuf,
}
