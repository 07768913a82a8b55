//! Where memcached is: `memcached://host1[:port],host2...[?prefix=NAME]`.
//!
//! Invariant: a location that was parsed has at least one server, none twice, and a prefix that can
//! stand in a key.

use std::fmt;
use std::str::FromStr as _;

/// Some servers and the beginning of our keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    servers: Vec<Address>,
    prefix: String,
}

impl Location {
    /// Reads `memcached://host1[:port],host2...[?prefix=NAME]`.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let rest = text.strip_prefix(SCHEME).ok_or(LocationError::Scheme)?;
        let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        // SECURITY: what stands before an `@` may be a password, so nothing of it is repeated.
        if hosts.contains('@') {
            return Err(LocationError::Password);
        }
        let mut servers = Vec::new();
        for host in hosts.split(',') {
            let server = Address::parse(host).ok_or_else(|| LocationError::Server(host.to_owned()))?;
            if servers.contains(&server) {
                return Err(LocationError::Twice(server));
            }
            servers.push(server);
        }
        Ok(Self { servers, prefix: parse_prefix(query)? })
    }

    /// The servers, as they were written.
    #[must_use]
    pub fn servers(&self) -> &[Address] {
        &self.servers
    }

    /// What every key begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// A name, or an IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']')?;
            std::net::Ipv6Addr::from_str(host).ok()?;
            let port = if rest.is_empty() { DEFAULT_PORT } else { parse_port(rest.strip_prefix(':')?)? };
            return Some(Self { host: host.to_owned(), port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, parse_port(port)?),
            None => (text, DEFAULT_PORT),
        };
        let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_host = !host.is_empty() && host.bytes().all(may_stand);
        is_host.then(|| Self { host: host.to_ascii_lowercase(), port })
    }
}

/// As in `host:port` and `[::1]:port`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Why a text is no [`Location`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It is a URL of something else.
    #[error("a memcached URL begins with `{SCHEME}`")]
    Scheme,
    /// It holds a user or a password.
    #[error("memcached knows no passwords; write `{SCHEME}HOST` without an `@`, and let only us reach it")]
    Password,
    /// A host or a port is none.
    #[error("`{0}` is no server; write `HOST`, `HOST:PORT` or `[IPV6]:PORT`, with commas between servers")]
    Server(String),
    /// The same server stands there twice.
    #[error("`{0}` stands there twice")]
    Twice(Address),
    /// The prefix cannot stand in a key.
    #[error("a prefix has 1 to {PREFIX_LIMIT} letters, digits or `-_.`, as in `?prefix=vestibule`")]
    Prefix,
    /// There is an option that we do not know.
    #[error("`{0}` is not known after the `?`; only `prefix=NAME` is")]
    Option(String),
}

fn parse_port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| is_number && port != 0)
}

fn parse_prefix(query: &str) -> Result<String, LocationError> {
    if query.is_empty() {
        return Ok(DEFAULT_PREFIX.to_owned());
    }
    let Some(prefix) = query.strip_prefix("prefix=") else {
        let option = query.split('=').next().unwrap_or(query);
        return Err(LocationError::Option(option.to_owned()));
    };
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_prefix = (1..=PREFIX_LIMIT).contains(&prefix.len()) && prefix.bytes().all(may_stand);
    is_prefix.then(|| prefix.to_owned()).ok_or(LocationError::Prefix)
}

const SCHEME: &str = "memcached://";
const DEFAULT_PORT: u16 = 11_211;
const DEFAULT_PREFIX: &str = "vestibule";
/// Leaves room for the rest of a key: memcached allows 250 bytes.
const PREFIX_LIMIT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<String> {
        Location::parse(text).unwrap().servers().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_read_with_and_without_a_port() {
        assert_eq!(servers("memcached://cache"), ["cache:11211"]);
        assert_eq!(
            servers("memcached://a:1,B.example,[::1]:7,[fe80::1]/"),
            ["a:1", "b.example:11211", "[::1]:7", "[fe80::1]:11211"]
        );
    }

    #[test]
    fn a_prefix_is_read_and_has_a_default() {
        assert_eq!(Location::parse("memcached://a").unwrap().prefix(), "vestibule");
        assert_eq!(Location::parse("memcached://a/?prefix=x-1").unwrap().prefix(), "x-1");
        for bad in ["", "a b", "a:b", "a%20", "a&b=c", &"x".repeat(101)] {
            let refused = Location::parse(&format!("memcached://a?prefix={bad}"));
            assert_eq!(refused, Err(LocationError::Prefix), "{bad:?}");
        }
        assert_eq!(Location::parse("memcached://a?ttl=1"), Err(LocationError::Option("ttl".to_owned())));
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for bad in ["", "a,", ",a", "a:", "a:0", "a:+1", "a:65536", "a b", "::1", "[a]", "[::1]x", "a/b", "é"]
        {
            let refused = Location::parse(&format!("memcached://{bad}"));
            assert!(matches!(refused, Err(LocationError::Server(_))), "{bad:?}: {refused:?}");
        }
        assert_eq!(Location::parse("redis://a"), Err(LocationError::Scheme));
        assert!(matches!(Location::parse("memcached://a,A:11211"), Err(LocationError::Twice(_))));
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let refused = Location::parse("memcached://u:hunter2@a").unwrap_err();
        assert_eq!(refused, LocationError::Password);
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
}
