//! Certificates from files: read, checked against their keys and the calendar, chosen by SNI.
//!
//! Invariant: what a [`Resolver`] serves was found good as a whole; a file that is bad at a reload
//! leaves the old set in place.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate as Parsed;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

use super::super::CertificateFiles;
use crate::clock::Timestamp;

/// A set of certificates that was found good.
#[derive(Debug, Default)]
pub struct Certificates {
    by_name: HashMap<String, Arc<Served>>,
    default: Option<Arc<Served>>,
    first_expiry: Option<Timestamp>,
}

impl Certificates {
    /// Reads all files, or says everything that is wrong with them.
    pub fn load(files: &[CertificateFiles], now: Timestamp) -> Result<Self, Vec<CertificateError>> {
        let mut set = Self::default();
        let mut errors = Vec::new();
        for files in files {
            match Loaded::read(files, now) {
                Ok(loaded) => set.add(loaded),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(set) } else { Err(errors) }
    }

    /// When the first of the certificates expires.
    #[must_use]
    pub const fn first_expiry(&self) -> Option<Timestamp> {
        self.first_expiry
    }

    /// The first certificate of a name wins; the very first also serves names that nobody has.
    fn add(&mut self, loaded: Loaded) {
        let Loaded { served, not_after } = loaded;
        let served = Arc::new(served);
        for name in &served.names {
            self.by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&served));
        }
        self.default.get_or_insert(served);
        self.first_expiry = Some(self.first_expiry.map_or(not_after, |first| first.min(not_after)));
    }

    /// By exact name, then by the wildcard for its last label (RFC 6125 section 6.4.3).
    fn choose(&self, name: Option<&str>) -> Option<Arc<Served>> {
        let chosen = name.and_then(|name| {
            let exact = self.by_name.get(name);
            exact.or_else(|| self.by_name.get(&format!("*.{}", name.split_once('.')?.1)))
        });
        chosen.or(self.default.as_ref()).cloned()
    }
}

/// A certificate with its key, and whom it stands for.
#[derive(Debug)]
pub struct Served {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Served {
    /// Whether the certificate stands for `host`: a name in lower case, or an address as in a `Host` header.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let above = host.split_once('.').map(|(_, above)| above);
        let is_host = |name: &String| match name.strip_prefix("*.") {
            Some(domain) => above == Some(domain),
            None => name == host,
        };
        self.names.iter().any(is_host) || self.covers_address(host)
    }

    fn covers_address(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        !self.addresses.is_empty() && bare.parse().is_ok_and(|address| self.addresses.contains(&address))
    }
}

/// Chooses a certificate for each handshake from a set that can be replaced.
#[derive(Debug)]
pub struct Resolver(ArcSwap<Certificates>);

impl Resolver {
    /// Serves `certificates`.
    #[must_use]
    pub fn new(certificates: Certificates) -> Self {
        Self(ArcSwap::from_pointee(certificates))
    }

    /// Serves `certificates` from the next handshake on; sessions and tickets stay valid.
    pub fn replace(&self, certificates: Certificates) {
        self.0.store(Arc::new(certificates));
    }

    /// The certificate that a client sees who asks for `name`.
    #[must_use]
    pub fn certificate_for(&self, name: &str) -> Option<Arc<Served>> {
        self.0.load().choose(Some(name))
    }

    /// When the first of the certificates expires.
    #[must_use]
    pub fn first_expiry(&self) -> Option<Timestamp> {
        self.0.load().first_expiry()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().choose(hello.server_name()).map(|served| Arc::clone(&served.key))
    }
}

/// A certificate or key that cannot be served.
#[derive(Debug)]
pub struct CertificateError {
    path: PathBuf,
    problem: Problem,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Missing => write!(f, "tls.certificate: there is no file `{path}`"),
            Problem::Unreadable(error) => write!(f, "tls.certificate: cannot read `{path}`: {error}"),
            Problem::KeyOpenToAll(mode) => write!(
                f,
                "tls.certificate: the key `{path}` can be read by everybody (mode {mode:04o}); run `chmod 600 {path}`"
            ),
            Problem::NoCertificate => write!(f, "tls.certificate: `{path}` holds no PEM certificate"),
            Problem::CutOff => write!(f, "tls.certificate: `{path}` ends in the middle of a certificate"),
            Problem::NoKey => write!(f, "tls.certificate: `{path}` holds no PEM private key"),
            Problem::Malformed(error) => {
                write!(f, "tls.certificate: `{path}` cannot be read as a certificate: {error}")
            }
            Problem::Key(error) => write!(f, "tls.certificate: the key `{path}` cannot be used: {error}"),
            Problem::Mismatch(key) => {
                write!(f, "tls.certificate: `{path}` is not the certificate of the key `{}`", key.display())
            }
            Problem::Expired(when) => {
                write!(f, "tls.certificate: `{path}` expired at {when}; put the renewed certificate there")
            }
            Problem::NotYetValid(when) => {
                write!(
                    f,
                    "tls.certificate: `{path}` is valid only from {when}; is this machine's clock right?"
                )
            }
        }
    }
}

impl std::error::Error for CertificateError {}

#[derive(Debug)]
enum Problem {
    Missing,
    Unreadable(io::Error),
    KeyOpenToAll(u32),
    NoCertificate,
    CutOff,
    NoKey,
    Malformed(String),
    Key(rustls::Error),
    Mismatch(PathBuf),
    Expired(Timestamp),
    NotYetValid(Timestamp),
}

/// One certificate with its key and what it says of itself.
struct Loaded {
    served: Served,
    not_after: Timestamp,
}

impl Loaded {
    fn read(files: &CertificateFiles, now: Timestamp) -> Result<Self, CertificateError> {
        let chain = read_chain(&files.cert).map_err(|problem| at(&files.cert, problem))?;
        let key = read_key(&files.key).map_err(|problem| at(&files.key, problem))?;
        let own = chain.first().ok_or(Problem::NoCertificate).map_err(|problem| at(&files.cert, problem))?;
        let parsed =
            Parsed::from_der(own).map_err(|error| at(&files.cert, Problem::Malformed(error.to_string())))?;
        let not_after = check_validity(&parsed, now).map_err(|problem| at(&files.cert, problem))?;
        let key =
            aws_lc_rs::sign::any_supported_type(&key).map_err(|error| at(&files.key, Problem::Key(error)))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| at(&files.cert, Problem::Mismatch(files.key.clone())))?;
        let (names, addresses) = subjects(&parsed);
        Ok(Self { served: Served { key: Arc::new(certified), names, addresses }, not_after })
    }
}

fn at(path: &Path, problem: Problem) -> CertificateError {
    CertificateError { path: path.to_owned(), problem }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let pem = read(path)?;
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| match error {
        rustls::pki_types::pem::Error::MissingSectionEnd { .. } => Problem::CutOff,
        other => Problem::Malformed(other.to_string()),
    })
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    let pem = zeroize::Zeroizing::new(read(path)?);
    let mode = fs::metadata(path).map_err(Problem::Unreadable)?.mode() & 0o7777;
    // SECURITY: a group may be trusted with a key (as Debian's `ssl-cert` is), everybody may not.
    if mode & 0o007 != 0 {
        return Err(Problem::KeyOpenToAll(mode));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| Problem::NoKey)
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Missing,
        _ => Problem::Unreadable(error),
    })
}

/// When the certificate expires, if it is valid now.
fn check_validity(certificate: &Parsed, now: Timestamp) -> Result<Timestamp, Problem> {
    let validity = certificate.tbs_certificate().validity();
    let (from, until) = (timestamp(validity.not_before), timestamp(validity.not_after));
    if now < from {
        return Err(Problem::NotYetValid(from));
    }
    if until < now {
        return Err(Problem::Expired(until));
    }
    Ok(until)
}

fn timestamp(time: Time) -> Timestamp {
    Timestamp::default() + time.to_unix_duration()
}

/// The DNS names, in lower case, and the addresses that a certificate is for.
fn subjects(certificate: &Parsed) -> (Vec<String>, Vec<IpAddr>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let Ok(Some((_, SubjectAltName(all)))) = certificate.tbs_certificate().get_extension() else {
        return (names, addresses);
    };
    for name in &all {
        match name {
            GeneralName::DnsName(name) => names.push(name.as_str().to_ascii_lowercase()),
            GeneralName::IpAddress(octets) => addresses.extend(address(octets.as_bytes())),
            _ => {}
        }
    }
    (names, addresses)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    fn write(dir: &Path, name: &str, hosts: &[&str]) -> CertificateFiles {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let signed = rcgen::generate_simple_self_signed(hosts).unwrap();
        let files =
            CertificateFiles { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        fs::write(&files.cert, signed.cert.pem()).unwrap();
        fs::write(&files.key, signed.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    fn problems(files: &[CertificateFiles], now: Timestamp) -> Vec<String> {
        Certificates::load(files, now).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_certificate_is_chosen_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let now = Clock::system().now();
        let files = [
            write(dir.path(), "default", &["localhost"]),
            write(dir.path(), "exact", &["a.example.com"]),
            write(dir.path(), "wild", &["*.example.com"]),
        ];
        let set = Certificates::load(&files, now).unwrap();
        let first = |index: usize| {
            let pem = fs::read(&files[index].cert).unwrap();
            CertificateDer::from_pem_slice(&pem).unwrap()
        };
        for (name, index) in [
            (None, 0),
            (Some("unknown.org"), 0),
            (Some("a.example.com"), 1),
            (Some("b.example.com"), 2),
            (Some("x.b.example.com"), 0),
        ] {
            assert_eq!(set.choose(name).unwrap().key.cert[0], first(index), "{name:?}");
        }
        assert!(set.first_expiry().unwrap() > now);
    }

    #[test]
    fn a_certificate_stands_for_its_names_and_addresses_and_for_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let files = [write(dir.path(), "it", &["a.test", "*.b.test", "127.0.0.1", "::1"])];
        let set = Certificates::load(&files, Clock::system().now()).unwrap();
        let served = set.choose(Some("a.test")).unwrap();
        for host in ["a.test", "x.b.test", "127.0.0.1", "[::1]"] {
            assert!(served.covers(host), "{host}");
        }
        for host in ["b.test", "x.y.b.test", "x.a.test", "*.b.test.evil", "", "127.0.0.2", "[::2]"] {
            assert!(!served.covers(host), "{host}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, open, empty] =
            ["one", "two", "open", "empty"].map(|name| write(dir.path(), name, &["localhost"]));
        fs::set_permissions(&open.key, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&empty.cert, "no PEM here").unwrap();
        let mixed = CertificateFiles { cert: one.cert, key: two.key };
        let missing = CertificateFiles { cert: dir.path().join("none.pem"), key: open.key.clone() };
        let found = problems(&[mixed, open, empty, missing], Clock::system().now());
        assert!(found[0].contains("is not the certificate of the key"), "{found:?}");
        assert!(found[1].contains("(mode 0644); run `chmod 600"), "{found:?}");
        assert!(found[2].contains("holds no PEM certificate"), "{found:?}");
        assert!(found[3].contains("there is no file"), "{found:?}");
    }

    #[test]
    fn a_certificate_outside_its_time_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let files = [write(dir.path(), "it", &["localhost"])];
        let late = Clock::system().now() + Duration::from_secs(400_000_000_000);
        assert!(problems(&files, late)[0].contains("expired at"));
        assert!(problems(&files, Timestamp::default())[0].contains("is valid only from"));
    }
}
