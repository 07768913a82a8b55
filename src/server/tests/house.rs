//! A small house to ring at: a server with a few rooms, its certificates, and clients for it.

use std::convert::Infallible;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock::Clock;
use crate::server::inherited::Inherited;
use crate::server::tls::Tls;
use crate::server::tls::certificates::Certificates;
use crate::server::{
    CertificateFiles, ClientSide, Config, Connection, EarlyErrors, Handler, Limits, Refusal, Refusals,
    Server, StartError, TlsConfig, TlsVersion, listeners,
};

/// Runs a test; one that hangs fails.
pub(super) fn play(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test hangs") });
}

/// A running server and what a client needs to know of it.
pub(super) struct House {
    pub(super) server: Server,
    pub(super) tls: Tls,
    pub(super) stage: Arc<Stage>,
    pub(super) early: EarlyErrors,
    pub(super) config: Config,
    roots: Vec<CertificateDer<'static>>,
    _dir: TempDir,
}

impl House {
    pub(super) fn open() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = [certificate(dir.path(), "a.test"), certificate(dir.path(), "b.test")];
        let roots = files.iter().map(|files| CertificateDer::from_pem_file(&files.cert).unwrap()).collect();
        let mut config = config(files.to_vec());
        change(&mut config);
        let certificates = Certificates::load(&config.tls.certificates, Clock::system().now()).unwrap();
        let tls = Tls::new(&config.tls, certificates).unwrap();
        let stage = Arc::new(Stage::default());
        let early = early_errors();
        let server = start(&config, &tls, {
            let stage = Arc::clone(&stage);
            move || Rooms(Arc::clone(&stage))
        })
        .unwrap();
        Self { server, tls, stage, early, config, roots, _dir: dir }
    }

    /// The certificate of `a.test` or `b.test`.
    pub(super) fn certificate(&self, index: usize) -> &CertificateDer<'static> {
        &self.roots[index]
    }

    pub(super) fn client(&self, versions: &[&'static SupportedProtocolVersion], alpn: &str) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots.iter().cloned());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Client { config: Arc::new(config), address: self.server.https_addresses()[0] }
    }

    /// Speaks HTTP/1.1 to `a.test`.
    pub(super) async fn ring(&self) -> Wire {
        self.client(rustls::ALL_VERSIONS, "http/1.1").ring("a.test").await.unwrap()
    }

    /// Speaks HTTP/2 to `a.test`.
    pub(super) async fn ring_http2(&self) -> (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
        let wire = self.client(rustls::ALL_VERSIONS, "h2").ring("a.test").await.unwrap();
        let io = TokioIo::new(wire.0.into_inner());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        (sender, tokio::spawn(connection))
    }
}

/// Starts a server with these rooms.
pub(super) fn start(
    config: &Config,
    tls: &Tls,
    rooms: impl Fn() -> Rooms + Clone + Send + 'static,
) -> Result<Server, StartError> {
    let early = Arc::new(ArcSwap::from_pointee(early_errors()));
    Server::start(listeners::bind(config, &mut Inherited::default()).unwrap(), config, tls, rooms, early)
}

/// Somebody outside with one TLS configuration.
#[derive(Clone)]
pub(super) struct Client {
    config: Arc<ClientConfig>,
    address: std::net::SocketAddr,
}

impl Client {
    pub(super) async fn ring(&self, name: &'static str) -> std::io::Result<Wire> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(name).unwrap();
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await?;
        Ok(Wire(BufReader::new(stream)))
    }
}

/// The client's end of a connection, for HTTP/1.1 by hand.
pub(super) struct Wire(pub(super) BufReader<TlsStream<TcpStream>>);

impl Wire {
    pub(super) async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    pub(super) async fn get(&mut self, path: &str) -> (String, String) {
        self.say(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
        self.answer().await
    }

    /// A head, up to its empty line.
    pub(super) async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).await.unwrap(), 0, "ended in the head: {head:?}");
        }
        head
    }

    /// One answer with a length: head and body.
    pub(super) async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body = self.bytes(length.expect("a length").parse().unwrap()).await;
        (head, body)
    }

    pub(super) async fn bytes(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Everything up to the proper end of the TLS connection.
    pub(super) async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        String::from_utf8(rest).unwrap()
    }

    /// Whether the connection ends without another byte, be it proper or not.
    pub(super) async fn ends(mut self) -> bool {
        self.0.read_u8().await.is_err()
    }
}

/// Whole text of an answer's body over HTTP/2.
pub(super) async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Lets the test and a slow room wait for each other.
pub(super) struct Stage {
    entered: Semaphore,
    leave: Semaphore,
}

impl Default for Stage {
    fn default() -> Self {
        Self { entered: Semaphore::new(0), leave: Semaphore::new(0) }
    }
}

impl Stage {
    /// Waits until a slow request is under way.
    pub(super) async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    /// Lets one slow request go on.
    pub(super) fn leave(&self) {
        self.leave.add_permits(1);
    }

    async fn pause(&self) {
        self.entered.add_permits(1);
        self.leave.acquire().await.unwrap().forget();
    }
}

/// What the server answers with.
pub(super) struct Rooms(pub(super) Arc<Stage>);

type RoomBody = UnsyncBoxBody<Bytes, Infallible>;

impl Handler for Rooms {
    type Body = RoomBody;

    fn trusts(&self, _address: IpAddr) -> bool {
        false
    }

    fn refused(&self, _client: IpAddr, _refusal: Refusal) {}

    async fn handle(&self, request: Request<Incoming>, connection: &Connection) -> Response<RoomBody> {
        let stage = Arc::clone(&self.0);
        match request.uri().path() {
            "/echo" => full(request.into_body().collect().await.unwrap().to_bytes()),
            "/slow" => {
                stage.pause().await;
                full("slow")
            }
            "/slow/missing" => {
                stage.pause().await;
                status(StatusCode::NOT_FOUND, full(""))
            }
            "/in-two" => Response::new(InTwo { stage, left: 2, pause: None }.boxed_unsync()),
            "/worker" => full(std::thread::current().name().unwrap_or_default().to_owned()),
            "/big" => full(vec![b'x'; BIG]),
            "/tail" => full(LIKE_HYPER),
            "/switch" => {
                connection.hand_over(Box::new(|io, early| Box::pin(repeat(io, early))));
                status(StatusCode::SWITCHING_PROTOCOLS, full(""))
            }
            "/fall" => panic!("this room has no floor"),
            _ => full(connection.sni.as_deref().unwrap_or("nobody").to_owned()),
        }
    }
}

/// The second part of a body waits for the stage.
struct InTwo {
    stage: Arc<Stage>,
    left: usize,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Body for InTwo {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(context));
        }
        let stage = Arc::clone(&self.stage);
        self.pause = Some(Box::pin(async move { stage.pause().await }));
        self.left = self.left.saturating_sub(1);
        let part = if self.left == 1 { Some("HTTP/1.1 404 Not Found\r\n\r\n") } else { None };
        Poll::Ready(part.map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))))
    }
}

/// Says back what it hears, first of all what came too early.
async fn repeat(io: &mut dyn ClientSide, early: Bytes) {
    io.write_all(&early).await.unwrap();
    io.flush().await.unwrap();
    let mut buffer = [0; 64];
    while let Ok(count @ 1..) = io.read(&mut buffer).await {
        io.write_all(&buffer[..count]).await.unwrap();
        io.flush().await.unwrap();
    }
    io.shutdown().await.unwrap();
}

fn full(body: impl Into<Bytes>) -> Response<RoomBody> {
    Response::new(Full::new(body.into()).boxed_unsync())
}

fn status(status: StatusCode, mut response: Response<RoomBody>) -> Response<RoomBody> {
    *response.status_mut() = status;
    response
}

fn early_errors() -> EarlyErrors {
    let answer = |status: &str| {
        let head = "x-ours: yes\r\ncontent-length: 4\r\nconnection: close";
        Bytes::from(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\nours"))
    };
    let refusals = Refusals {
        bad_request: answer("400 Bad Request"),
        timeout: answer("408 Request Timeout"),
        uri_too_long: answer("414 URI Too Long"),
        header_too_large: answer("431 Request Header Fields Too Large"),
    };
    EarlyErrors {
        secure: refusals.clone(),
        clear: refusals,
        redirect: HeaderMap::from_iter([("x-ours".parse().unwrap(), HeaderValue::from_static("yes"))]),
    }
}

fn config(certificates: Vec<CertificateFiles>) -> Config {
    Config {
        https: vec!["127.0.0.1:0".parse().unwrap()],
        http: vec!["127.0.0.1:0".parse().unwrap()],
        proxy_protocol: false,
        workers: 1,
        max_connections: 100,
        connections_per_address: 100,
        drain: PATIENCE,
        limits: Limits {
            handshake: PATIENCE,
            request_head: PATIENCE,
            keep_alive: PATIENCE,
            body_stall: PATIENCE,
            min_rate: 0,
            header_bytes: 64 << 10,
            // So that connections rest between the requests of every test.
            rest_after: Duration::from_millis(1),
            header_count: 128,
            body_bytes: None,
            streams: 100,
        },
        tls: TlsConfig { min_version: TlsVersion::Tls12, certificates },
    }
}

fn certificate(dir: &Path, name: &str) -> CertificateFiles {
    let signed = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let files =
        CertificateFiles { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
    fs::write(&files.cert, signed.cert.pem()).unwrap();
    fs::write(&files.key, signed.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    files
}

/// No test takes nearly as long.
const PATIENCE: Duration = Duration::from_mins(1);

/// More than all buffers between server and client hold.
pub(super) const BIG: usize = 32 << 20;

/// A body that ends as if hyper had refused a request.
pub(super) const LIKE_HYPER: &str = "see\r\nHTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Sat, 21 Nov 2026 04:10:00 GMT\r\n\r\n";
