//! TLS towards a gateway: which roots are trusted and which protocol is spoken.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// What ALPN offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// A client's TLS settings.
pub(crate) fn tls(roots: &Arc<RootCertStore>, protocol: Protocol) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder().with_root_certificates(Arc::clone(roots)).with_no_client_auth();
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Arc::new(config)
}
