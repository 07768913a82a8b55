//! Whole exchanges over real sockets: a client, a small gateway around [`forward`], a scripted backend.

mod answers;
mod bodies;
mod connections;
mod over_http2;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body_util::{Either, Empty};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::*;

fn play(scene: impl Future<Output = ()>) {
    LocalRuntime::new().unwrap().block_on(async {
        timeout(LONG, scene).await.expect("the scene ends");
    });
}

/// Answers with the request line; closes its first connection at the second request.
async fn dies_at_the_second_request(mut socket: TcpStream, number: usize) {
    let mut served = 0;
    while let Some(head) = read_head(&mut socket).await {
        if number == 0 && served == 1 {
            return;
        }
        served += 1;
        let line = head.split(" HTTP").next().unwrap();
        say(&mut socket, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len())).await;
    }
}

/// Reads a body of a known length and answers how long it was.
async fn echo_body_size(mut socket: TcpStream, _number: usize) {
    while let Some(head) = read_head(&mut socket).await {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        if socket.read_exact(&mut body).await.is_err() {
            return;
        }
        let text = format!("{} bytes", body.len());
        say(&mut socket, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())).await;
    }
}

async fn say(socket: &mut TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).await.unwrap();
}

/// The next head; none when the other side has closed.
async fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Everything until the other side closes or breaks the connection.
async fn rest(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = socket.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

fn failure(answer: &str) -> &str {
    let (_, rest) = answer.split_once("x-failure: ").unwrap_or_else(|| panic!("no failure: {answer}"));
    rest.split(['(', '\r']).next().unwrap()
}

/// A backend that follows a script on each connection.
struct Backend {
    address: SocketAddr,
    accepted: Rc<Cell<usize>>,
}

impl Backend {
    async fn start<F: AsyncFn(TcpStream, usize) + 'static>(script: F) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, accepted) = (listener.local_addr().unwrap(), Rc::new(Cell::new(0)));
        let (count, script) = (Rc::clone(&accepted), Rc::new(script));
        spawn_local(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (script, number) = (Rc::clone(&script), count.get());
                count.set(number + 1);
                spawn_local(async move { script(socket, number).await });
            }
        });
        Self { address, accepted }
    }

    fn connections(&self) -> usize {
        self.accepted.get()
    }
}

/// A gateway that does nothing but forward.
#[derive(Clone)]
struct Gateway {
    address: SocketAddr,
    upstream: Arc<Upstream>,
    pools: Rc<Pools>,
    limits: Rc<Cell<Limits>>,
}

impl Gateway {
    async fn before(backends: &[&Backend]) -> Self {
        Self::with(backends, |_| ()).await
    }

    async fn with(backends: &[&Backend], change: impl FnOnce(&mut UpstreamConfig)) -> Self {
        let servers: Vec<_> = backends.iter().map(|backend| backend.address).collect();
        Self::between(&servers, change).await
    }

    async fn between(servers: &[SocketAddr], change: impl FnOnce(&mut UpstreamConfig)) -> Self {
        let server = |address: &SocketAddr| {
            let place = HostPort { host: address.ip().to_string(), port: address.port() };
            WeightedServer { address: ServerAddress::Http(place), weight: 1 }
        };
        let mut config = UpstreamConfig {
            name: "backend".to_owned(),
            servers: servers.iter().map(server).collect(),
            tls: BackendTls::default(),
            balance: Balance::LeastRequests,
            host: HostHeader::Preserve,
            connect_timeout: PATIENCE,
            response_timeout: LONG,
            max_connections: 8,
            head_limits: HeadLimits::default(),
            health: None,
        };
        change(&mut config);
        Self::serve(Arc::new(Upstream::new(config).unwrap())).await
    }

    async fn another_worker(&self) -> Self {
        Self::serve(Arc::clone(&self.upstream)).await
    }

    async fn serve(upstream: Arc<Upstream>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = Rc::new(Cell::new(Limits { body_bytes: None, body_stall: LONG, min_rate: 0 }));
        let address = listener.local_addr().unwrap();
        let gateway = Self { address, upstream, pools: Rc::new(Pools::new()), limits };
        let serving = gateway.clone();
        spawn_local(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let gateway = serving.clone();
                let service = service_fn(move |request| gateway.clone().handle(request));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                spawn_local(connection.with_upgrades());
            }
        });
        gateway
    }

    fn limited(self, body_bytes: Option<u64>, body_stall: Duration) -> Self {
        self.limits.set(Limits { body_bytes, body_stall, min_rate: 0 });
        self
    }

    async fn handle(
        self,
        mut request: Request<Incoming>,
    ) -> Result<Response<TestBody>, std::convert::Infallible> {
        let client = hyper::upgrade::on(&mut request);
        headers::strip_hop_by_hop(request.headers_mut());
        let trailers = TrailerFilter::new(Arc::from([HeaderName::from_static("x-user-id")]));
        let place = Forward {
            upstream: &self.upstream,
            pools: &self.pools,
            visitor: Affinity::NOBODY,
            limits: self.limits.get(),
            trailers: &trailers,
        };
        Ok(match forward(place, request).await {
            Ok(Answer::Response(response)) => response.map(Either::Left),
            Ok(Answer::Upgraded(upgraded)) => {
                spawn_local(async move {
                    let mut client = TokioIo::new(client.await.unwrap());
                    let client = Side { io: &mut client, read_ahead: Bytes::new() };
                    let backend = Side { io: upgraded.backend, read_ahead: upgraded.read_ahead };
                    tunnel(client, backend, &Cell::new(0), std::future::pending()).await.ended.unwrap();
                });
                upgraded.response.map(|()| Either::Right(Empty::new()))
            }
            Err(error) => {
                let response = Response::builder().status(500).header("x-failure", format!("{error:?}"));
                response.body(Either::Right(Empty::new())).unwrap()
            }
        })
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, request: &str) -> String {
        let mut client = self.connect().await;
        say(&mut client, request).await;
        rest(&mut client).await
    }

    fn get(&self, path: &str) -> impl Future<Output = String> + use<> {
        let (gateway, path) = (self.clone(), path.to_owned());
        async move { gateway.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await }
    }
}

type TestBody = Either<UpstreamBody, Empty<Bytes>>;

/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(30);

/// Shorter than an idle connection is kept, so that nobody gets a slot only because it expired.
const PATIENCE: Duration = Duration::from_millis(900);

/// A limit that no test reaches.
const LONG: Duration = Duration::from_secs(20);
