//! Where a database server is and how to speak with it, from a URL.
//!
//! Invariant: neither a [`Location`] nor an error about one shows the password.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::secret::Secret;

/// One database of one server, from `postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS` (or
/// `postgresql://`) or the same with `mysql://` (or `mariadb://`).
///
/// User and database must be named; the port is 5432 or 3306 if it is not. Whatever holds another
/// character than a letter, a digit or one of `-._~` is percent-encoded. Without a password, PostgreSQL
/// takes that of the environment variable `PGPASSWORD`.
///
/// | PostgreSQL | MySQL | meaning |
/// |---|---|---|
/// | `sslmode=disable` | `ssl-mode=disabled` | no TLS |
/// | `sslmode=prefer` | `ssl-mode=preferred` | TLS if the server has it, whoever it is |
/// | `sslmode=require` | `ssl-mode=required` | TLS, whoever the server is; with a file of authorities as the next |
/// | `sslmode=verify-ca` | `ssl-mode=verify_ca` | TLS with a certificate of a known authority |
/// | `sslmode=verify-full` | `ssl-mode=verify_identity` | and for this very host |
/// | `sslrootcert=FILE` | `ssl-ca=FILE` | authorities (PEM) beside the public ones |
/// | `host=/FOLDER` | `socket=/FILE` | a Unix socket instead of a host |
///
/// The default is `verify-full`, and `prefer` for a loopback host, where nobody can listen in. A Unix
/// socket never speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub(super) engine: Engine,
    pub(super) address: Address,
    pub(super) user: String,
    pub(super) password: Option<Secret<String>>,
    pub(super) database: String,
    pub(super) tls: Tls,
    pub(super) authorities: Option<PathBuf>,
}

impl Location {
    /// Reads a URL.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        let (scheme, rest) = url.split_once("://").ok_or(LocationError::Scheme)?;
        let engine = Engine::of_scheme(scheme).ok_or(LocationError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').ok_or(LocationError::Database)?;
        let (login, host) = authority.rsplit_once('@').ok_or(LocationError::User)?;
        let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
        let parameters = Parameters::read(engine, query)?;
        let address = Address::read(engine, host, parameters.socket)?;
        let tls = effective_tls(&address, parameters.tls, parameters.authorities.is_some());
        Ok(Self {
            engine,
            address,
            user: some(decode(user, "user")?).ok_or(LocationError::User)?,
            password: password.map(|word| decode(word, "password").map(Secret::new)).transpose()?,
            database: database(path)?,
            tls,
            authorities: parameters.authorities,
        })
    }

    /// What kind of server it is.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.engine
    }
}

/// As the URL, without password and parameters.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.engine.scheme();
        match &self.address {
            Address::Host { name, port } if name.contains(':') => {
                write!(f, "{scheme}://{}@[{name}]:{port}/{}", self.user, self.database)
            }
            Address::Host { name, port } => {
                write!(f, "{scheme}://{}@{name}:{port}/{}", self.user, self.database)
            }
            Address::Socket { path, .. } => {
                write!(f, "{scheme}://{}@{}/{}", self.user, path.display(), self.database)
            }
        }
    }
}

/// A kind of database server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
}

impl Engine {
    fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "postgres" | "postgresql" => Some(Self::Postgres),
            "mysql" | "mariadb" => Some(Self::MySql),
            _ => None,
        }
    }

    const fn scheme(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::MySql => 3306,
        }
    }

    const fn parameters(self) -> &'static str {
        match self {
            Self::Postgres => "`sslmode`, `sslrootcert` and `host`",
            Self::MySql => "`ssl-mode`, `ssl-ca` and `socket`",
        }
    }

    const fn tls_modes(self) -> &'static [(&'static str, Tls)] {
        match self {
            Self::Postgres => &[
                ("disable", Tls::Off),
                ("prefer", Tls::Preferred),
                ("require", Tls::Unverified),
                ("verify-ca", Tls::Authority),
                ("verify-full", Tls::Verified),
            ],
            Self::MySql => &[
                ("disabled", Tls::Off),
                ("preferred", Tls::Preferred),
                ("required", Tls::Unverified),
                ("verify_ca", Tls::Authority),
                ("verify_identity", Tls::Verified),
            ],
        }
    }
}

/// Why a text is no [`Location`]. No text repeats a part of the URL that may be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It begins otherwise.
    #[error("it must begin with `postgres://` or `mysql://`")]
    Scheme,
    /// It names no user.
    #[error("it names no user; write `SCHEME://USER:PASSWORD@HOST/DATABASE`")]
    User,
    /// It names no host.
    #[error("it names no host; write `SCHEME://USER:PASSWORD@HOST/DATABASE`")]
    Host,
    /// Its port is none.
    #[error("its port is no number from 1 to 65535; a password is percent-encoded")]
    Port,
    /// It names no database, or more than a database.
    #[error("it must name one database after the host, as in `HOST/DATABASE`; a password is percent-encoded")]
    Database,
    /// A part of it cannot be read.
    #[error("its {0} holds a control character or a wrong percent-encoding; write `%25` for `%`")]
    Encoding(&'static str),
    /// A parameter that is not known.
    #[error("it has a parameter that is none or comes twice; {0} can stand there once each")]
    Parameter(&'static str),
    /// A TLS mode that is not known.
    #[error("its TLS mode is none of {0}")]
    TlsMode(String),
    /// A Unix socket that is not named from the root.
    #[error("its socket must be an absolute path, without a host before it")]
    Socket,
}

/// The end that connections go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Host { name: String, port: u16 },
    Socket { path: PathBuf, port: u16 },
}

impl Address {
    fn read(engine: Engine, text: &str, socket: Option<PathBuf>) -> Result<Self, LocationError> {
        let (name, port) = split_port(text)?;
        let port = port.unwrap_or(engine.port());
        let name = decode(name, "host")?;
        match socket {
            Some(path) if name.is_empty() => Ok(Self::Socket { path, port }),
            Some(_) => Err(LocationError::Socket),
            None if name.starts_with('/') => Ok(Self::Socket { path: PathBuf::from(name), port }),
            None => Ok(Self::Host { name: some(name).ok_or(LocationError::Host)?, port }),
        }
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Host { name, .. } => {
                name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            Self::Socket { .. } => true,
        }
    }
}

/// How much of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Off,
    Preferred,
    Unverified,
    Authority,
    Verified,
}

#[derive(Default)]
struct Parameters {
    tls: Option<Tls>,
    authorities: Option<PathBuf>,
    socket: Option<PathBuf>,
}

impl Parameters {
    fn read(engine: Engine, query: &str) -> Result<Self, LocationError> {
        let mut parameters = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            parameters.add(engine, name, decode(value, "query")?)?;
        }
        Ok(parameters)
    }

    fn add(&mut self, engine: Engine, name: &str, value: String) -> Result<(), LocationError> {
        let is_repeated = match (engine, name) {
            (Engine::Postgres, "sslmode") | (Engine::MySql, "ssl-mode") => {
                self.tls.replace(tls_mode(engine, &value)?).is_some()
            }
            (Engine::Postgres, "sslrootcert") | (Engine::MySql, "ssl-ca") => {
                self.authorities.replace(PathBuf::from(value)).is_some()
            }
            (Engine::Postgres, "host") | (Engine::MySql, "socket") if value.starts_with('/') => {
                self.socket.replace(PathBuf::from(value)).is_some()
            }
            (Engine::Postgres, "host") | (Engine::MySql, "socket") => return Err(LocationError::Socket),
            _ => true,
        };
        if is_repeated { Err(LocationError::Parameter(engine.parameters())) } else { Ok(()) }
    }
}

fn tls_mode(engine: Engine, value: &str) -> Result<Tls, LocationError> {
    let modes = engine.tls_modes();
    let found = modes.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
    found.map(|(_, tls)| *tls).ok_or_else(|| {
        let names: Vec<String> = modes.iter().map(|(name, _)| format!("`{name}`")).collect();
        LocationError::TlsMode(names.join(", "))
    })
}

fn effective_tls(address: &Address, asked: Option<Tls>, has_authorities: bool) -> Tls {
    match (address, asked) {
        (Address::Socket { .. }, _) => Tls::Off,
        // SECURITY: who names authorities wants them asked, as libpq does it.
        (_, Some(Tls::Unverified)) if has_authorities => Tls::Authority,
        (_, Some(asked)) => asked,
        // SECURITY: what crosses a network is neither readable there nor goes to a stranger, unless
        // the URL says so.
        (_, None) if address.is_loopback() && !has_authorities => Tls::Preferred,
        (_, None) => Tls::Verified,
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), LocationError> {
    let (name, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((name, port))) => (name, port.strip_prefix(':').or(port.is_empty().then_some(""))),
        Some(None) => return Err(LocationError::Host),
        None => text.split_once(':').map_or((text, Some("")), |(name, port)| (name, Some(port))),
    };
    match port {
        Some("") => Ok((name, None)),
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => Ok((name, Some(port))),
            _ => Err(LocationError::Port),
        },
        None => Err(LocationError::Host),
    }
}

fn database(path: &str) -> Result<String, LocationError> {
    if path.contains(['/', '@', '#']) {
        return Err(LocationError::Database);
    }
    some(decode(path, "database")?).ok_or(LocationError::Database)
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn decode(text: &str, part: &'static str) -> Result<String, LocationError> {
    let wrong = || LocationError::Encoding(part);
    let is_hex = |digit: Option<char>| digit.is_some_and(|digit| digit.is_ascii_hexdigit());
    for escape in text.split('%').skip(1) {
        let mut digits = escape.chars();
        if !is_hex(digits.next()) || !is_hex(digits.next()) {
            return Err(wrong());
        }
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| wrong())?;
    if decoded.chars().any(char::is_control) { Err(wrong()) } else { Ok(decoded.into_owned()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(url: &str) -> Location {
        Location::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn host(name: &str, port: u16) -> Address {
        Address::Host { name: name.to_owned(), port }
    }

    #[test]
    fn every_part_is_read_and_decoded() {
        let location = parse("postgresql://some%40one:p%2F%3A%40w@db.example.com:6000/my%20sessions");
        assert_eq!(location.engine(), Engine::Postgres);
        assert_eq!(location.address, host("db.example.com", 6000));
        assert_eq!(location.user, "some@one");
        assert_eq!(location.password.unwrap().expose(), "p/:@w");
        assert_eq!(location.database, "my sessions");
        let location = parse("mariadb://root@[::1]/sessions");
        assert_eq!((location.engine(), &location.address), (Engine::MySql, &host("::1", 3306)));
        assert!(location.password.is_none());
        assert_eq!(location.to_string(), "mysql://root@[::1]:3306/sessions");
    }

    #[test]
    fn a_socket_takes_the_place_of_a_host() {
        let socket = |path: &str, port| Address::Socket { path: PathBuf::from(path), port };
        let location = parse("postgres://me@/db?host=/run/postgresql");
        assert_eq!((location.address, location.tls), (socket("/run/postgresql", 5432), Tls::Off));
        assert_eq!(parse("postgres://me@:6000/db?host=%2Frun").address, socket("/run", 6000));
        assert_eq!(parse("postgres://me@%2Frun/db").address, socket("/run", 5432));
        assert_eq!(parse("mysql://me@/db?socket=/run/m.sock").address, socket("/run/m.sock", 3306));
        for url in ["postgres://me@/db?host=run", "postgres://me@elsewhere/db?host=/run"] {
            assert_eq!(Location::parse(url).unwrap_err(), LocationError::Socket, "{url}");
        }
    }

    #[test]
    fn what_crosses_a_network_is_verified_unless_the_url_says_otherwise() {
        assert_eq!(parse("postgres://me@db.example.com/db").tls, Tls::Verified);
        assert_eq!(parse("mysql://me@10.0.0.1/db").tls, Tls::Verified);
        for local in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert_eq!(parse(&format!("postgres://me@{local}/db")).tls, Tls::Preferred, "{local}");
        }
        assert_eq!(parse("postgres://me@db/db?sslmode=disable").tls, Tls::Off);
        assert_eq!(parse("mysql://me@db/db?ssl-mode=REQUIRED").tls, Tls::Unverified);
        let named = parse("postgres://me@db/db?sslmode=require&sslrootcert=/etc/ca.pem");
        assert_eq!((named.tls, named.authorities), (Tls::Authority, Some(PathBuf::from("/etc/ca.pem"))));
        assert_eq!(parse("postgres://me@localhost/db?sslrootcert=/etc/ca.pem").tls, Tls::Verified);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (url, part) in [
            ("db.example.com/db", "must begin with `postgres://`"),
            ("redis://me@db/db", "must begin with `postgres://`"),
            ("postgres://db/db", "names no user"),
            ("postgres://:word@db/db", "names no user"),
            ("postgres://me@/db", "names no host"),
            ("postgres://me@db", "one database"),
            ("postgres://me@db/", "one database"),
            ("postgres://me@db:0/db", "port"),
            ("postgres://me@db:70000/db", "port"),
            ("postgres://me@[::1/db", "host"),
            ("postgres://me%zz@db/db", "user holds"),
            ("postgres://me@db/db%00", "database holds"),
            ("postgres://me@db/db?sslmode=allow", "`verify-full`"),
            ("mysql://me@db/db?sslmode=disable", "`ssl-mode`, `ssl-ca` and `socket`"),
            ("postgres://me@db/db?sslmode=disable&sslmode=disable", "twice"),
        ] {
            let error = Location::parse(url).unwrap_err().to_string();
            assert!(error.contains(part), "{url}: {error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let location = parse("postgres://me:hunter2@db/db");
        let shown = format!("{location} {location:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        for url in ["postgres://me:hunter2/x@db/db", "postgres://me:hunter2", "x://me:hunter2@db/db"] {
            let error = format!("{0} {0:?}", Location::parse(url).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
        for url in
            ["postgres://me@db/db?hunter2=1", "postgres://me@db/db?sslmode=hunter2", "mysql://h#unter2@"]
        {
            let error = format!("{0} {0:?}", Location::parse(url).unwrap_err());
            assert!(!error.contains("unter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", scheme in "(postgres|mysql)://[a-z:@/%\\[\\]?=&0-9é-]*") {
            drop(Location::parse(&text));
            drop(Location::parse(&scheme));
        }
    }
}
