//! Where a Redis is and how to get in, read from a URL.
//!
//! Invariant: neither a [`Location`] nor a [`LocationError`] ever shows a password, or any part of a
//! URL that could hold one.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::secret::Secret;

/// One Redis, one that Sentinels watch, or a Cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    pub(super) topology: Topology,
    pub(super) transport: Transport,
    pub(super) credentials: Option<Credentials>,
    pub(super) database: u16,
    prefix: String,
}

impl Location {
    /// Reads `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, `redis+sentinel://…H1,H2/MASTER[/DB]` or
    /// `redis+cluster://…H1,H2`; with `rediss` for TLS.
    ///
    /// Parameters: `prefix=NAME` begins every key; `ca=FILE` holds the only authorities to trust for
    /// TLS, instead of the system's; `sentinel_user` and `sentinel_password` are for the Sentinels.
    /// With `rediss`, Sentinels and every server must speak TLS, under the names they give each other.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        let (scheme, rest) = url.split_once("://").ok_or(LocationError::Scheme)?;
        let (kind, transport) = read_scheme(scheme).ok_or(LocationError::Scheme)?;
        if rest.contains('#') {
            return Err(LocationError::Unescaped);
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') || query.contains('@') {
            return Err(LocationError::Unescaped);
        }
        let parameters = Parameters::read(query)?;
        let (credentials, hosts) = read_authority(authority)?;
        let (topology, database) = read_topology(kind, hosts, path, &parameters)?;
        Ok(Self {
            topology,
            transport: read_transport(transport, parameters.ca)?,
            credentials,
            database,
            prefix: parameters.prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_owned()),
        })
    }

    /// What every key of ours begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// The URL without its secrets and parameters.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if matches!(self.transport, Transport::Tls { .. }) { "s" } else { "" };
        let (kind, addresses) = match &self.topology {
            Topology::Single(address) => ("", std::slice::from_ref(address)),
            Topology::Sentinel(watch) => ("+sentinel", watch.sentinels.as_slice()),
            Topology::Cluster(nodes) => ("+cluster", nodes.as_slice()),
        };
        let login = if self.credentials.is_some() { "***@" } else { "" };
        write!(f, "redis{tls}{kind}://{login}")?;
        for (index, address) in addresses.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{address}")?;
        }
        match &self.topology {
            Topology::Single(_) => write!(f, "/{}", self.database),
            Topology::Sentinel(watch) => write!(f, "/{}/{}", watch.master, self.database),
            Topology::Cluster(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with the URL of a Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It does not begin as one.
    #[error(
        "it must begin with `redis://`, `redis+sentinel://` or `redis+cluster://`, or with `rediss` \
         for TLS"
    )]
    Scheme,
    /// A character ends a part too early.
    #[error(
        "a `/`, `?`, `#`, `@`, `:` or `%` in a user or password is written as `%2F`, `%3F`, `%23`, \
         `%40`, `%3A` or `%25`"
    )]
    Unescaped,
    /// What stands before the `@` is no login.
    #[error("what stands before `@` must be `:PASSWORD` or `USER:PASSWORD`")]
    Login,
    /// A host is missing or impossible.
    #[error(
        "a host must be a name, an IPv4 address or an IPv6 address in brackets, as in \
         `redis://db.example:6379`"
    )]
    Host,
    /// A port is no port.
    #[error("a port must be a number from 1 to 65535, as in `redis://db.example:6379`")]
    Port,
    /// More than one host where only one can be.
    #[error("`redis://` takes one host; several need `redis+sentinel://` or `redis+cluster://`")]
    SeveralHosts,
    /// The database is no number.
    #[error("the path must be the number of a database from 0 to 65535, as in `redis://db.example/2`")]
    Database,
    /// The name of the master is missing.
    #[error(
        "the path must be the name that the Sentinels give the master, as in \
         `redis+sentinel://a,b,c/mymaster`"
    )]
    Master,
    /// A cluster has but one database.
    #[error("a cluster has only database 0: leave the path out")]
    ClusterDatabase,
    /// The prefix could be read differently.
    #[error("`prefix` must be 1 to 64 letters, digits or `-`, `_`, `.`, `:`")]
    Prefix,
    /// There is nothing that an authority could prove.
    #[error("`ca` is for TLS: begin with `rediss`")]
    AuthorityWithoutTls,
    /// There is no Sentinel that could ask for them.
    #[error(
        "`sentinel_user` and `sentinel_password` are for `redis+sentinel://`, both or the password alone"
    )]
    SentinelLogin,
    /// A parameter is unknown, empty or given twice.
    #[error(
        "the parameters are `prefix`, `ca`, `sentinel_user` and `sentinel_password`, each once, as in \
         `?prefix=NAME`"
    )]
    Parameter,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Topology {
    Single(Address),
    Sentinel(Watch),
    Cluster(Vec<Address>),
}

/// The Sentinels and what they call their master.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) sentinels: Vec<Address>,
    pub(super) master: String,
    pub(super) credentials: Option<Credentials>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Transport {
    Plain,
    /// With the certificate verified, by these authorities alone or by those of the system.
    Tls {
        authorities: Option<PathBuf>,
    },
}

impl Transport {
    pub(super) fn authorities(&self) -> Option<&Path> {
        match self {
            Self::Tls { authorities } => authorities.as_deref(),
            Self::Plain => None,
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Option<String>,
    pub(super) password: Secret<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

/// What may stand behind the `?`.
#[derive(Default)]
struct Parameters {
    prefix: Option<String>,
    ca: Option<String>,
    sentinel_user: Option<String>,
    sentinel_password: Option<Secret<String>>,
}

impl Parameters {
    fn read(query: &str) -> Result<Self, LocationError> {
        let mut read = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(LocationError::Parameter)?;
            let value = decode(value)?;
            if value.is_empty() {
                return Err(LocationError::Parameter);
            }
            let before = match name {
                "prefix" => read.prefix.replace(checked_prefix(value)?).is_some(),
                "ca" => read.ca.replace(value).is_some(),
                "sentinel_user" => read.sentinel_user.replace(value).is_some(),
                "sentinel_password" => read.sentinel_password.replace(Secret::new(value)).is_some(),
                _ => true,
            };
            if before {
                return Err(LocationError::Parameter);
            }
        }
        Ok(read)
    }

    fn sentinel_credentials(&self) -> Result<Option<Credentials>, LocationError> {
        match (&self.sentinel_user, &self.sentinel_password) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(LocationError::SentinelLogin),
            (user, Some(password)) => {
                Ok(Some(Credentials { user: user.clone(), password: password.clone() }))
            }
        }
    }
}

fn read_scheme(scheme: &str) -> Option<(Kind, Transport)> {
    let (base, kind) = match scheme.split_once('+') {
        None => (scheme, Kind::Single),
        Some((base, "sentinel")) => (base, Kind::Sentinel),
        Some((base, "cluster")) => (base, Kind::Cluster),
        Some(_) => return None,
    };
    match base {
        "redis" => Some((kind, Transport::Plain)),
        "rediss" => Some((kind, Transport::Tls { authorities: None })),
        _ => None,
    }
}

fn read_transport(transport: Transport, ca: Option<String>) -> Result<Transport, LocationError> {
    match (transport, ca) {
        (Transport::Plain, Some(_)) => Err(LocationError::AuthorityWithoutTls),
        (Transport::Plain, None) => Ok(Transport::Plain),
        (Transport::Tls { .. }, ca) => Ok(Transport::Tls { authorities: ca.map(PathBuf::from) }),
    }
}

/// The login and the hosts.
fn read_authority(authority: &str) -> Result<(Option<Credentials>, &str), LocationError> {
    let Some((login, hosts)) = authority.split_once('@') else { return Ok((None, authority)) };
    if hosts.contains('@') {
        return Err(LocationError::Unescaped);
    }
    let (user, password) = login.split_once(':').ok_or(LocationError::Login)?;
    if password.contains(':') {
        return Err(LocationError::Unescaped);
    }
    let (user, password) = (decode(user)?, Secret::new(decode(password)?));
    if password.expose().is_empty() {
        return Err(LocationError::Login);
    }
    Ok((Some(Credentials { user: Some(user).filter(|user| !user.is_empty()), password }), hosts))
}

fn read_topology(
    kind: Kind,
    hosts: &str,
    path: &str,
    parameters: &Parameters,
) -> Result<(Topology, u16), LocationError> {
    let default_port = if kind == Kind::Sentinel { SENTINEL_PORT } else { PORT };
    let mut addresses =
        hosts.split(',').map(|host| read_address(host, default_port)).collect::<Result<Vec<_>, _>>()?;
    let credentials = parameters.sentinel_credentials()?;
    if kind != Kind::Sentinel && credentials.is_some() {
        return Err(LocationError::SentinelLogin);
    }
    match kind {
        Kind::Single => match (addresses.pop(), addresses.is_empty()) {
            (Some(address), true) => Ok((Topology::Single(address), read_database(path)?)),
            _ => Err(LocationError::SeveralHosts),
        },
        Kind::Sentinel => {
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            let watch = Watch { sentinels: addresses, master: read_master(master)?, credentials };
            Ok((Topology::Sentinel(watch), read_database(database)?))
        }
        Kind::Cluster if path.is_empty() || path == "0" => Ok((Topology::Cluster(addresses), 0)),
        Kind::Cluster => Err(LocationError::ClusterDatabase),
    }
}

fn read_address(text: &str, default_port: u16) -> Result<Address, LocationError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or(LocationError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| LocationError::Host)?;
            let port = match rest.strip_prefix(':') {
                None if rest.is_empty() => None,
                None => return Err(LocationError::Host),
                port => port,
            };
            (host, port)
        }
        None => match text.split_once(':') {
            None => (checked_host(text)?, None),
            Some((host, port)) => (checked_host(host)?, Some(port)),
        },
    };
    let port = port.map_or(Ok(default_port), |port| port.parse().map_err(|_| LocationError::Port))?;
    if port == 0 {
        return Err(LocationError::Port);
    }
    Ok(Address { host: host.to_owned(), port })
}

fn read_database(path: &str) -> Result<u16, LocationError> {
    if path.is_empty() {
        return Ok(0);
    }
    path.parse().map_err(|_| LocationError::Database)
}

fn read_master(text: &str) -> Result<String, LocationError> {
    let name_like = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || !text.chars().all(name_like) {
        return Err(LocationError::Master);
    }
    Ok(text.to_owned())
}

fn checked_host(host: &str) -> Result<&str, LocationError> {
    let host_like = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if host.is_empty() || !host.chars().all(host_like) {
        return Err(LocationError::Host);
    }
    Ok(host)
}

/// Braces would move keys to other slots of a cluster, and everything else that is odd to nobody's use.
fn checked_prefix(prefix: String) -> Result<String, LocationError> {
    let prefix_like = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if prefix.is_empty() || prefix.len() > PREFIX_LIMIT || !prefix.chars().all(prefix_like) {
        return Err(LocationError::Prefix);
    }
    Ok(prefix)
}

fn decode(text: &str) -> Result<String, LocationError> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        let is_escape = after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
        rest = after;
        if !is_escape {
            return Err(LocationError::Unescaped);
        }
    }
    percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(|_| LocationError::Unescaped)
}

const DEFAULT_PREFIX: &str = "vestibule";
const PREFIX_LIMIT: usize = 64;
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(url: &str) -> String {
        Location::parse(url).unwrap().to_string()
    }

    #[test]
    fn every_form_of_a_url_is_read() {
        assert_eq!(shown("redis://db.example"), "redis://db.example:6379/0");
        assert_eq!(shown("redis://u:p@db.example:7000/3"), "redis://***@db.example:7000/3");
        assert_eq!(shown("rediss://:p@[::1]:7000/?ca=/etc/ca.pem"), "rediss://***@[::1]:7000/0");
        assert_eq!(shown("redis+sentinel://a,b:1/main/2"), "redis+sentinel://a:26379,b:1/main/2");
        assert_eq!(shown("rediss+cluster://:p@a,b:1"), "rediss+cluster://***@a:6379,b:1");
    }

    #[test]
    fn logins_are_decoded_and_parameters_kept() {
        let url = "rediss+sentinel://us%40er:p%3Aass%2F+@h/m?sentinel_password=x%20y&prefix=a:b&ca=f";
        let location = Location::parse(url).unwrap();
        let login = location.credentials.unwrap();
        assert_eq!((login.user.as_deref(), login.password.expose().as_str()), (Some("us@er"), "p:ass/+"));
        let Topology::Sentinel(watch) = location.topology else { panic!("no sentinels") };
        assert_eq!(watch.credentials.unwrap().password.expose(), "x y");
        assert_eq!(
            (location.prefix.as_str(), location.transport.authorities()),
            ("a:b", Some(Path::new("f")))
        );
        assert_eq!(Location::parse("redis://h").unwrap().prefix(), "vestibule");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (url, error) in [
            ("", LocationError::Scheme),
            ("postgres://h", LocationError::Scheme),
            ("redis+ring://h", LocationError::Scheme),
            ("redis://", LocationError::Host),
            ("redis://a b", LocationError::Host),
            ("redis://[::1", LocationError::Host),
            ("redis://h:0", LocationError::Port),
            ("redis://h:70000", LocationError::Port),
            ("redis://a,b", LocationError::SeveralHosts),
            ("redis://h/x", LocationError::Database),
            ("redis+sentinel://a,b", LocationError::Master),
            ("redis+cluster://a/1", LocationError::ClusterDatabase),
            ("redis://secret@h", LocationError::Login),
            ("redis://u:@h", LocationError::Login),
            ("redis://u:p%zz@h", LocationError::Unescaped),
            ("redis://u:p#x@h", LocationError::Unescaped),
            ("redis://u:p/x@h", LocationError::Unescaped),
            ("redis://u:p@x@h", LocationError::Unescaped),
            ("redis://h?prefix={x}", LocationError::Prefix),
            ("redis://h?ca=x", LocationError::AuthorityWithoutTls),
            ("redis://h?sentinel_password=x", LocationError::SentinelLogin),
            ("redis+sentinel://h/m?sentinel_user=x", LocationError::SentinelLogin),
            ("redis://h?insecure=1", LocationError::Parameter),
            ("redis://h?prefix", LocationError::Parameter),
            ("redis://h?prefix=a&prefix=b", LocationError::Parameter),
        ] {
            assert_eq!(Location::parse(url).unwrap_err(), error, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(redis|rediss)?(\\+sentinel|\\+cluster)?(://)?\\PC*") {
            let _verdict = Location::parse(&text);
        }

        #[test]
        fn no_password_is_ever_shown(
            password in "[A-Z]{8}[a-z/?#@%:]{0,3}",
            before in "(redis|rediss|redis\\+sentinel|redis\\+cluster|http)://(user)?:",
            after in "@?(h|\\[::1\\]|,)?(:[0-9]{0,6})?(/[a-z0-9]{0,3})?(\\?(prefix|ca)=[a-z{]{0,3})?",
        ) {
            let verdict = Location::parse(&format!("{before}{password}{after}"));
            let shown = match &verdict {
                Ok(location) => format!("{location} {location:?} {verdict:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            let secret = password.get(..8).unwrap();
            prop_assert!(!shown.contains(secret), "{shown}");
        }
    }
}
