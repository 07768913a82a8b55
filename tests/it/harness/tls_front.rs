//! TLS in front of a plain backend, as a server of an internal network would speak it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::folder::Folder;
use super::{Backend, block_on, runtime};

/// Ends TLS and passes the bytes on to a backend.
pub(crate) struct TlsFront {
    address: SocketAddr,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
    goodbyes: Arc<AtomicUsize>,
    acceptor: JoinHandle<()>,
}

/// What the gateway did in a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) server_name: String,
    pub(crate) protocol: String,
    pub(crate) is_resumed: bool,
}

/// Whether a client must show a certificate of the folder's authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientCertificate {
    Needed,
    NotAsked,
}

impl TlsFront {
    /// Shows `stem.pem` of `folder`.
    pub(crate) fn before(backend: &Backend, folder: &Folder, stem: &str, client: ClientCertificate) -> Self {
        Self::serving([backend.address(); 2], config(folder, stem, client))
    }

    /// Passes what is agreed to be HTTP/1.1 on to the first address, HTTP/2 to the second.
    pub(crate) fn by_protocol(targets: [SocketAddr; 2], folder: &Folder, stem: &str) -> Self {
        Self::serving(targets, config(folder, stem, ClientCertificate::NotAsked))
    }

    /// Speaks HTTP/1.1 and nothing else.
    pub(crate) fn of_http1(target: SocketAddr, folder: &Folder, stem: &str) -> Self {
        let mut config = config(folder, stem, ClientCertificate::NotAsked);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self::serving([target; 2], config)
    }

    fn serving(targets: [SocketAddr; 2], config: ServerConfig) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&handshakes);
        let goodbyes = Arc::new(AtomicUsize::new(0));
        let heard = Arc::clone(&goodbyes);
        let acceptor = runtime().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, log, heard) = (acceptor.clone(), Arc::clone(&log), Arc::clone(&heard));
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(socket).await else { return };
                    log.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(Handshake::of(client.get_ref().1));
                    let is_http2 = client.get_ref().1.alpn_protocol() == Some(b"h2");
                    let target = targets[usize::from(is_http2)];
                    let mut backend = TcpStream::connect(target).await.expect("the backend");
                    // A connection that ends without a goodbye is an error to rustls.
                    if copy_bidirectional(&mut client, &mut backend).await.is_ok() {
                        heard.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { address, handshakes, goodbyes, acceptor }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Connections that the gateway ended in the way of TLS.
    pub(crate) fn goodbyes(&self) -> usize {
        self.goodbyes.load(Ordering::Relaxed)
    }

    /// Those that succeeded so far.
    pub(crate) fn handshakes(&self) -> Vec<Handshake> {
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Handshake {
    fn of(connection: &ServerConnection) -> Self {
        Self {
            server_name: connection.server_name().unwrap_or_default().to_owned(),
            protocol: String::from_utf8_lossy(connection.alpn_protocol().unwrap_or_default()).into_owned(),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

fn config(folder: &Folder, stem: &str, client: ClientCertificate) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(folder.path(&format!("{stem}.pem"))).expect("a certificate");
    let chain = chain.collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(folder.path(&format!("{stem}.key"))).expect("a key");
    let builder = match client {
        ClientCertificate::Needed => ServerConfig::builder().with_client_cert_verifier(
            WebPkiClientVerifier::builder(folder.trust()).build().expect("a verifier"),
        ),
        ClientCertificate::NotAsked => ServerConfig::builder().with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).expect("a certificate with its key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
