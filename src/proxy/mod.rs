//! A request and an identity in, the backend's response out.

use std::time::Duration;

/// A named group of servers that answer the same requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Its name in routes and logs.
    pub name: String,
    /// Where it answers; at least one.
    pub servers: Vec<ServerAddress>,
    /// Which server gets a request.
    pub balance: Balance,
    /// The `Host` header the backend sees.
    pub host: HostHeader,
    /// How long a TCP connection may take.
    pub connect_timeout: Duration,
    /// How long the response head may take once the request is sent.
    pub response_timeout: Duration,
    /// Open connections of all workers together.
    pub max_connections: usize,
}

/// A backend server, from `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Which server of an upstream gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastRequests,
}

/// The `Host` header that a backend sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// What the client asked for.
    Preserve,
    /// The server's own `host:port`.
    Upstream,
    /// Always this.
    Literal(String),
}
