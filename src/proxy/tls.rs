//! TLS towards backends: whom we trust, and who we are.
//!
//! Reads the files and makes connections out of sockets; leaves deadlines to [`super::connection`].
//! Invariant: every connection is verified, against the name that was meant; nothing here can turn
//! that off.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::upgrade::Switch;

/// How the TLS servers of an upstream are spoken with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendTls {
    /// The only authorities to trust, as a PEM file; those of the system if there is none.
    pub authorities: Option<PathBuf>,
    /// The name to ask for and to verify; each server's own host if there is none.
    pub server_name: Option<String>,
    /// The certificate that we show.
    pub own: Option<OwnCertificate>,
    /// What is spoken over it.
    pub protocol: Protocol,
}

/// The protocol that TLS servers are offered (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 alone, except for WebSockets, which are asked for over HTTP/1.1.
    Http2,
    /// HTTP/2 where the server takes it, else HTTP/1.1.
    Auto,
}

impl Protocol {
    fn names(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Auto => &[b"h2", b"http/1.1"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// A client certificate as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The chain, own certificate first.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Why there can be no TLS to a backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file is not there or cannot be read.
    #[error("cannot read `{}`: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Everybody can read the key.
    #[error("the key `{}` can be read by everybody; run `chmod 600 {}`", .0.display(), .0.display())]
    KeyOpenToAll(PathBuf),
    /// No certificate in a file.
    #[error("`{}` holds no PEM certificate", .0.display())]
    NoCertificate(PathBuf),
    /// No key in a file.
    #[error("`{}` holds no PEM private key", .0.display())]
    NoKey(PathBuf),
    /// A certificate is none, or cannot be an authority.
    #[error("`{}` holds no certificate of an authority: {reason}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not fit, or cannot be used.
    #[error("`{}` cannot be shown as our certificate: {reason}", path.display())]
    Own {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The cryptography at hand has none of the versions of TLS.
    #[error("TLS cannot be spoken: {0}")]
    Unsupported(String),
    /// The system has no authorities.
    #[error("this system trusts nobody; install its `ca-certificates`, or name a file by `tls.ca`")]
    NoAuthorities,
    /// The name cannot be verified.
    #[error("`{0}` is not a name that a certificate can have")]
    ServerName(String),
}

/// Makes verified connections to the TLS servers of one upstream; all workers share it.
pub(super) struct TlsClient {
    connector: TlsConnector,
    /// For connections that become a tunnel.
    http1: TlsConnector,
    /// Of what the files held, to see whether they were replaced.
    fingerprint: [u8; 32],
}

impl TlsClient {
    pub(super) fn load(settings: &BackendTls) -> Result<Self, TlsError> {
        let material = Material::read(settings)?;
        let fingerprint = material.fingerprint();
        let config = material.into_config(settings)?;
        let offering = |protocol: Protocol| {
            let mut config = config.clone();
            config.alpn_protocols = protocol.names();
            TlsConnector::from(Arc::new(config))
        };
        let (connector, http1) = (offering(settings.protocol), offering(Protocol::Http1));
        Ok(Self { connector, http1, fingerprint })
    }

    /// Whether the files still hold what they held.
    pub(super) fn is_current(&self, settings: &BackendTls) -> bool {
        Material::read(settings).is_ok_and(|material| material.fingerprint() == self.fingerprint)
    }

    /// The handshake; fails unless the other side proves to be `name`.
    pub(super) async fn connect(
        &self,
        name: ServerName<'static>,
        stream: TcpStream,
        switch: Switch,
    ) -> io::Result<Box<TlsStream<TcpStream>>> {
        let connector = if switch == Switch::No { &self.connector } else { &self.http1 };
        connector.connect(name, stream).await.map(Box::new)
    }
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsClient").finish_non_exhaustive()
    }
}

/// The name to verify for a server at `host`.
pub(super) fn server_name(settings: &BackendTls, host: &str) -> Result<ServerName<'static>, TlsError> {
    let name = settings.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}

/// What the files hold.
struct Material {
    authorities: Vec<CertificateDer<'static>>,
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Material {
    fn read(settings: &BackendTls) -> Result<Self, TlsError> {
        let authorities = match &settings.authorities {
            Some(path) => read_certificates(path)?,
            // What is not readable among the system's files leaves the others; none at all is an error.
            None => rustls_native_certs::load_native_certs().certs,
        };
        let own = match &settings.own {
            Some(OwnCertificate { cert, key }) => Some((read_certificates(cert)?, read_key(key)?)),
            None => None,
        };
        Ok(Self { authorities, own })
    }

    fn fingerprint(&self) -> [u8; 32] {
        let chain = self.own.iter().flat_map(|(chain, _)| chain);
        let certificates = self.authorities.iter().chain(chain).map(AsRef::as_ref);
        let key = self.own.iter().map(|(_, key)| key.secret_der());
        let hash = certificates.chain(key).fold(Sha256::new(), |hash, part: &[u8]| {
            hash.chain_update(part.len().to_be_bytes()).chain_update(part)
        });
        hash.finalize().into()
    }

    fn into_config(self, settings: &BackendTls) -> Result<ClientConfig, TlsError> {
        let roots = self.roots(settings)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Unsupported(error.to_string()))?
            .with_root_certificates(roots);
        let mut config = match (self.own, &settings.own) {
            (Some((chain, key)), Some(files)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| TlsError::Own { path: files.cert.clone(), reason: error.to_string() })?,
            _ => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(RESUMABLE);
        Ok(config)
    }

    /// SECURITY: every certificate of a named file must be of use; of the system's, those that are.
    fn roots(&self, settings: &BackendTls) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.authorities {
            let added = roots.add(certificate.clone());
            if let (Err(error), Some(path)) = (added, &settings.authorities) {
                return Err(TlsError::Authority { path: path.clone(), reason: error.to_string() });
            }
        }
        if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) }
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = certificates.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| TlsError::NoCertificate(path.to_owned()))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = Zeroizing::new(read(path)?);
    let mode = fs::metadata(path).map_err(|error| unreadable(path, &error))?.mode();
    // SECURITY: a group may be trusted with a key (as Debian's `ssl-cert` is), everybody may not.
    if mode & 0o007 != 0 {
        return Err(TlsError::KeyOpenToAll(path.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NoKey(path.to_owned()))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> TlsError {
    TlsError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

/// Servers whose last session is remembered, so that the next handshake is a short one.
const RESUMABLE: usize = 256;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    struct Files {
        folder: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let files = Self { folder: tempfile::tempdir().unwrap() };
            files.renew();
            files
        }

        /// Writes another authority and another certificate of ours.
        fn renew(&self) {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            fs::write(self.path("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
            let key = KeyPair::generate().unwrap();
            let own = CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
            fs::write(self.path("own.pem"), own.self_signed(&key).unwrap().pem()).unwrap();
            fs::write(self.path("own.key"), key.serialize_pem()).unwrap();
            self.allow("own.key", 0o600);
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn allow(&self, name: &str, mode: u32) {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn settings(&self) -> BackendTls {
            BackendTls {
                authorities: Some(self.path("ca.pem")),
                server_name: None,
                protocol: Protocol::Http1,
                own: Some(OwnCertificate { cert: self.path("own.pem"), key: self.path("own.key") }),
            }
        }
    }

    #[test]
    fn files_that_were_replaced_are_noticed() {
        let files = Files::new();
        let client = TlsClient::load(&files.settings()).unwrap();
        assert!(client.is_current(&files.settings()));
        files.renew();
        assert!(!client.is_current(&files.settings()));
        fs::remove_file(files.path("own.key")).unwrap();
        assert!(!client.is_current(&files.settings()));
    }

    #[test]
    fn a_key_that_everybody_can_read_is_refused() {
        let files = Files::new();
        files.allow("own.key", 0o644);
        assert_eq!(
            TlsClient::load(&files.settings()).unwrap_err(),
            TlsError::KeyOpenToAll(files.path("own.key"))
        );
    }

    #[test]
    fn files_that_hold_something_else_are_refused() {
        let files = Files::new();
        let load = |change: &dyn Fn(&mut BackendTls)| {
            let mut settings = files.settings();
            change(&mut settings);
            TlsClient::load(&settings).unwrap_err()
        };
        let key = files.path("own.key");
        let no_authority = load(&|settings| settings.authorities = Some(key.clone()));
        assert_eq!(no_authority, TlsError::NoCertificate(key.clone()));
        let missing = load(&|settings| settings.authorities = Some(files.path("nowhere.pem")));
        assert!(matches!(missing, TlsError::Unreadable { .. }));
        let other = Files::new();
        let swapped = load(&|settings| settings.own.as_mut().unwrap().key = other.path("own.key"));
        assert!(matches!(swapped, TlsError::Own { .. }), "{swapped}");
        let no_key = load(&|settings| settings.own.as_mut().unwrap().key = files.path("own.pem"));
        assert!(matches!(no_key, TlsError::KeyOpenToAll(_) | TlsError::NoKey(_)), "{no_key}");
    }

    #[test]
    fn the_name_to_verify_is_the_configured_one_or_the_host() {
        let named = BackendTls { server_name: Some("wiki.internal".to_owned()), ..BackendTls::default() };
        assert_eq!(server_name(&named, "10.0.0.5").unwrap().to_str(), "wiki.internal");
        assert_eq!(server_name(&BackendTls::default(), "10.0.0.5").unwrap().to_str(), "10.0.0.5");
        assert!(server_name(&BackendTls::default(), "a b").is_err());
    }
}
