//! A folder of its own for one gateway: certificates, keys, the configuration, its databases.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use tempfile::TempDir;
use vestibule::clock::Clock;
use vestibule::session::keyring::KeyRing;

/// A temporary folder with an own certificate authority.
#[derive(Debug)]
pub(crate) struct Folder {
    place: Arc<TempDir>,
    authority: Arc<CertifiedIssuer<'static, KeyPair>>,
}

/// For which years a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    Current,
    Past,
    Future,
}

impl Folder {
    /// A folder with a key ring and a certificate for `localhost` and everything below `test`.
    pub(crate) fn new() -> Self {
        super::runtime();
        let folder = Self::empty();
        folder.certificate("gateway", &["localhost", "*.test", "127.0.0.1"], Validity::Current);
        folder.new_keys();
        folder
    }

    /// A folder with nothing in it.
    pub(crate) fn empty() -> Self {
        let place = tempfile::Builder::new().prefix("vestibule-").tempdir().expect("a temporary folder");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate authority");
        Self { place: Arc::new(place), authority: Arc::new(authority) }
    }

    /// The same folder for one more process of the same gateway.
    pub(crate) fn shared(&self) -> Self {
        Self { place: Arc::clone(&self.place), authority: Arc::clone(&self.authority) }
    }

    /// A folder for one more gateway of the same service: the same certificate and keys.
    pub(crate) fn twin(&self) -> Self {
        let place = tempfile::Builder::new().prefix("vestibule-").tempdir().expect("a temporary folder");
        let twin = Self { place: Arc::new(place), authority: Arc::clone(&self.authority) };
        for name in ["gateway.pem", "gateway.key", "keys.toml"] {
            twin.write(name, &self.read(name));
        }
        twin
    }

    pub(crate) fn root(&self) -> &Path {
        self.place.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("vestibule.toml")
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(self.path(name)).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
    }

    /// Writes `stem.pem` and `stem.key`, signed by the folder's authority.
    pub(crate) fn certificate(&self, stem: &str, names: &[&str], validity: Validity) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("host names");
        (params.not_before, params.not_after) = match validity {
            Validity::Current => (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1)),
            Validity::Past => (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1)),
            Validity::Future => (date_time_ymd(2100, 1, 1), date_time_ymd(2101, 1, 1)),
        };
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        self.write(&format!("{stem}.pem"), &certificate.pem());
        self.write(&format!("{stem}.key"), &key.serialize_pem());
    }

    /// Puts a new key ring in the place of the old one.
    pub(crate) fn new_keys(&self) {
        let ring = KeyRing::generate(Clock::system().now());
        ring.save(&self.path("keys.toml")).expect("a key file");
    }

    /// Writes the certificate of the folder's authority.
    pub(crate) fn write_authority(&self, name: &str) {
        self.write(name, &self.authority.pem());
    }

    /// What a client of this folder's gateways trusts.
    pub(crate) fn trust(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("a root certificate");
        Arc::new(roots)
    }
}
