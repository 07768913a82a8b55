//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446) by rustls with aws-lc-rs.

pub mod certificates;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, ServerConfig, SupportedProtocolVersion, version};
use tokio_rustls::TlsAcceptor;

use self::certificates::{Certificates, Resolver, Served};
use super::{TlsConfig, TlsVersion};

/// How TLS is spoken on all listeners.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
}

impl Tls {
    /// As configured, with these certificates.
    pub fn new(config: &TlsConfig, certificates: Certificates) -> Result<Self, rustls::Error> {
        let resolver = Arc::new(Resolver::new(certificates));
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(versions(config.min_version))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as _);
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.ignore_client_order = true;
        // Tickets instead of a table of sessions: nothing to keep, nothing to lose at a reload.
        server.ticketer = aws_lc_rs::Ticketer::new()?;
        // Browsers take a new ticket from each connection; a second one would only cost.
        server.send_tls13_tickets = 1;
        // SECURITY: early data can be replayed, and every request here may carry a session.
        server.max_early_data_size = 0;
        Ok(Self { config: Arc::new(server), resolver })
    }

    /// The certificates in force, replaceable.
    #[must_use]
    pub fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    /// The certificate that a client sees who asks for `name`.
    pub(super) fn certificate_for(&self, name: &str) -> Option<Arc<Served>> {
        self.resolver.certificate_for(name)
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

/// The cipher suites in the order in which browsers ask for them: AES-128 first.
///
/// Programs that use OpenSSL ask for AES-256 first, whose handshake needs SHA-384: processors have
/// instructions for SHA-256 only. Neither can be broken (NIST SP 800-57 part 1, table 2).
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    // A stable sort: what is alike otherwise stays in its order.
    provider.cipher_suites.sort_by_key(|suite| !is_aes_128(suite.suite()));
    provider
}

const fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match least {
        TlsVersion::Tls12 => rustls::ALL_VERSIONS,
        TlsVersion::Tls13 => TLS13_ALONE,
    }
}

static TLS13_ALONE: &[&SupportedProtocolVersion] = &[&version::TLS13];
