//! Whole exchanges over real sockets: a client, a small gateway around [`forward`], a scripted backend.

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

mod over_http2;

#[test]
fn one_connection_serves_one_request_after_the_other() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        for _ in 0..5 {
            assert!(gateway.get("/").await.ends_with("\r\n\r\nok"));
        }
        assert_eq!((backend.connections(), gateway.pools.idle_connections()), (1, 1));
        gateway.pools.retain(&[]);
        assert_eq!(gateway.pools.idle_connections(), 0);
    });
}

#[test]
fn a_get_is_sent_again_when_a_kept_connection_dies() {
    play(async {
        let backend = Backend::start(dies_at_the_second_request).await;
        let gateway = Gateway::before(&[&backend]).await;
        assert!(gateway.get("/first").await.ends_with("GET /first"));
        assert!(gateway.get("/second").await.ends_with("GET /second"));
        assert_eq!(backend.connections(), 2);
    });
}

#[test]
fn a_post_reaches_the_backend_at_most_once() {
    play(async {
        let backend = Backend::start(dies_at_the_second_request).await;
        let gateway = Gateway::before(&[&backend]).await;
        gateway.get("/first").await;
        let post = "POST /pay HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
        assert_eq!(failure(&gateway.ask(post).await), "BadResponse");
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn a_get_that_kills_a_fresh_connection_is_not_sent_again() {
    play(async {
        let backend = Backend::start(async |mut socket, _| drop(read_head(&mut socket).await)).await;
        let gateway = Gateway::before(&[&backend]).await;
        assert_eq!(failure(&gateway.get("/").await), "BadResponse");
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn requests_beyond_the_cap_wait_for_a_connection() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let gateway = Gateway::with(&[&backend], |config| config.max_connections = 1).await;
        let (a, b, c) = tokio::join!(gateway.get("/a"), gateway.get("/b"), gateway.get("/c"));
        assert!([a, b, c].iter().all(|answer| answer.starts_with("HTTP/1.1 200")));
        assert_eq!((backend.connections(), gateway.upstream.connections()), (1, 1));
        assert_eq!(gateway.upstream.waiting(), 0);
    });
}

#[test]
fn a_request_that_finds_no_connection_in_time_is_turned_away() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            std::future::pending::<()>().await;
        })
        .await;
        let gateway = Gateway::with(&[&backend], |config| {
            config.max_connections = 1;
            config.connect_timeout = SHORT;
        })
        .await;
        let held = spawn_local(gateway.clone().get("/held"));
        while backend.connections() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(failure(&gateway.get("/late").await), "TooManyConnections");
        held.abort();
    });
}

#[test]
fn a_worker_gets_the_slot_of_another_worker_s_idle_connection() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let one = Gateway::with(&[&backend], |config| config.max_connections = 1).await;
        let other = one.another_worker().await;
        assert!(one.get("/").await.ends_with("ok"));
        assert!(other.get("/").await.ends_with("ok"));
        assert_eq!((one.pools.idle_connections(), other.pools.idle_connections()), (0, 1));
    });
}

#[test]
fn an_idle_connection_is_closed_after_a_while() {
    play(async {
        let closed = Rc::new(Notify::new());
        let seen = Rc::clone(&closed);
        let backend = Backend::start(async move |mut socket, _| {
            read_head(&mut socket).await;
            say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            assert_eq!(read_head(&mut socket).await, None);
            seen.notify_one();
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        assert!(gateway.get("/").await.ends_with("ok"));
        closed.notified().await;
        assert_eq!((gateway.pools.idle_connections(), gateway.upstream.connections()), (0, 0));
    });
}

#[test]
fn a_backend_of_http_1_0_serves_one_request_per_connection() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok")
                    .await;
            }
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        for _ in 0..2 {
            let answer = gateway.get("/").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
        }
        assert_eq!(backend.connections(), 2);
    });
}

#[test]
fn a_backend_that_does_not_answer_is_not_waited_for() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            std::future::pending::<()>().await;
        })
        .await;
        let gateway = Gateway::with(&[&backend], |config| config.response_timeout = SHORT).await;
        assert_eq!(failure(&gateway.get("/").await), "ResponseTimeout");
        while gateway.upstream.connections() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_slow_upload_is_no_slow_backend() {
    play(async {
        let backend = Backend::start(echo_body_size).await;
        let gateway = Gateway::with(&[&backend], |config| config.response_timeout = SHORT).await;
        let mut client = gateway.connect().await;
        say(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\na")
            .await;
        let early = timeout(SHORT * 3, client.read_u8()).await;
        assert!(early.is_err(), "no answer while the client is to send");
        say(&mut client, "b").await;
        assert!(rest(&mut client).await.ends_with("2 bytes"));
    });
}

#[test]
fn a_response_that_breaks_off_never_ends_as_if_it_were_complete() {
    play(async {
        for (head, part) in [
            ("content-length: 10\r\n\r\n", "half"),
            ("transfer-encoding: chunked\r\n\r\n", "4\r\nhalf\r\n"),
            ("transfer-encoding: chunked\r\n\r\n", "4\r\nhalf\r\n0\r\n"),
        ] {
            let backend = Backend::start(async move |mut socket, _| {
                read_head(&mut socket).await;
                say(&mut socket, &format!("HTTP/1.1 200 OK\r\n{head}{part}")).await;
            })
            .await;
            let answer = Gateway::before(&[&backend]).await.get("/").await;
            assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n"), "{answer}");
            assert!(answer.contains("content-length: 10") || answer.contains("chunked"), "{answer}");
        }
    });
}

#[test]
fn a_response_that_stalls_is_broken_off() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            say(&mut socket, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
            std::future::pending::<()>().await;
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await.limited(None, SHORT);
        let answer = gateway.get("/").await;
        assert!(answer.ends_with("4\r\nhalf\r\n"), "{answer}");
        assert_eq!(gateway.pools.idle_connections(), 0);
    });
}

#[test]
fn an_upload_waits_for_the_backend_and_arrives_whole() {
    const SIZE: usize = 64 << 20;
    play(async {
        let full = Rc::new(Notify::new());
        let seen = Rc::clone(&full);
        let backend = Backend::start(async move |mut socket, _| {
            read_head(&mut socket).await;
            seen.notified().await;
            let mut sink = tokio::io::sink();
            let read = tokio::io::copy(&mut (&mut socket).take(SIZE as u64), &mut sink).await.unwrap();
            let text = format!("{read} bytes");
            say(&mut socket, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
                .await;
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let mut client = gateway.connect().await;
        say(
            &mut client,
            &format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\nconnection: close\r\n\r\n"),
        )
        .await;
        let (piece, mut sent) = (vec![b'x'; 64 << 10], 0);
        while let Ok(written) = timeout(SHORT * 3, client.write(&piece)).await {
            sent += written.unwrap();
        }
        assert!(sent < SIZE / 2, "only the kernel's buffers fill up: {sent}");
        full.notify_one();
        while sent < SIZE {
            sent += client.write(&piece[..piece.len().min(SIZE - sent)]).await.unwrap();
        }
        assert!(rest(&mut client).await.ends_with(&format!("{SIZE} bytes")));
    });
}

#[test]
fn an_early_answer_is_delivered_before_the_upload_ends() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            say(&mut socket, "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
            std::future::pending::<()>().await;
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let mut client = gateway.connect().await;
        say(
            &mut client,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\nconnection: close\r\n\r\npart",
        )
        .await;
        assert!(read_head(&mut client).await.unwrap().starts_with("HTTP/1.1 403"));
        assert_eq!(gateway.pools.idle_connections(), 0, "the upload is not complete");
    });
}

#[test]
fn a_request_body_that_is_too_long_is_refused() {
    play(async {
        let backend = Backend::start(echo_body_size).await;
        let gateway = Gateway::before(&[&backend]).await.limited(Some(4), LONG);
        let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
        let declared = gateway.ask(&format!("{head}content-length: 5\r\n\r\nhello")).await;
        assert_eq!((failure(&declared), backend.connections()), ("BodyTooLarge", 0));
        let streamed = format!("{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(failure(&gateway.ask(&streamed).await), "BodyTooLarge");
        let fits = gateway.ask(&format!("{head}content-length: 4\r\n\r\nhell")).await;
        assert!(fits.ends_with("4 bytes"), "{fits}");
    });
}

#[test]
fn a_request_body_that_stalls_is_given_up() {
    play(async {
        let backend = Backend::start(echo_body_size).await;
        let gateway = Gateway::before(&[&backend]).await.limited(None, SHORT);
        let mut client = gateway.connect().await;
        say(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nconnection: close\r\n\r\npart")
            .await;
        assert_eq!(failure(&rest(&mut client).await), "BodyStalled");
    });
}

#[test]
fn the_body_of_a_get_is_not_lost() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            let head = read_head(&mut socket).await.unwrap();
            assert!(head.contains("transfer-encoding: chunked"), "{head}");
            let mut body = [0; 13];
            socket.read_exact(&mut body).await.unwrap();
            assert_eq!(&body, b"3\r\nabc\r\n0\r\n\r\n");
            say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        })
        .await;
        let get = "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert!(Gateway::before(&[&backend]).await.ask(get).await.ends_with("ok"));
    });
}

#[test]
fn trailers_pass_but_cannot_carry_identity() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n\r\n") {
                body.push(socket.read_u8().await.unwrap());
            }
            assert_eq!(String::from_utf8(body).unwrap(), "1\r\na\r\n0\r\nx-sum: 7\r\n\r\n");
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-check\r\n\r\n";
            say(&mut socket, &format!("{head}2\r\nok\r\n0\r\nx-check: 9\r\n\r\n")).await;
        })
        .await;
        let head = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\ntransfer-encoding: chunked\r\n";
        let body = "trailer: x-sum, x_user_id\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\nx_user_id: root\r\n\r\n";
        let answer = Gateway::before(&[&backend]).await.ask(&format!("{head}{body}")).await;
        assert!(answer.ends_with("2\r\nok\r\n0\r\nx-check: 9\r\n\r\n"), "{answer}");
    });
}

#[test]
fn the_answer_to_head_keeps_its_length() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            while read_head(&mut socket).await.is_some() {
                say(&mut socket, "HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n").await;
            }
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let answer = gateway.ask("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.contains("content-length: 42\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(gateway.pools.idle_connections(), 1);
    });
}

#[test]
fn the_next_server_is_asked_when_one_cannot_be_reached() {
    play(async {
        let backend = Backend::start(echo_body_size).await;
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let gateway = Gateway::between(&[closed, backend.address], |_| ()).await;
        for _ in 0..3 {
            assert!(gateway.get("/").await.ends_with("0 bytes"));
        }
        let alone = Gateway::between(&[closed], |_| ()).await;
        assert_eq!(failure(&alone.get("/").await), "Connect");
    });
}

#[test]
fn the_target_names_the_host_and_becomes_origin_form() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            let head = read_head(&mut socket).await.unwrap();
            say(&mut socket, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len()))
                .await;
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let get =
            "GET http://wiki.example/a?b HTTP/1.1\r\nhost: other\r\nconnection: close, x-a\r\nx-a: 1\r\n\r\n";
        let seen = gateway.ask(get).await;
        assert!(seen.contains("GET /a?b HTTP/1.1\r\n") && seen.contains("host: wiki.example\r\n"), "{seen}");
        assert!(!seen.contains("host: other") && !seen.contains("x-a"), "{seen}");
        assert_eq!(
            failure(&gateway.ask("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nconnection: close\r\n\r\n").await),
            "Method"
        );
    });
}

#[test]
fn a_websocket_talks_through_the_tunnel() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            let head = read_head(&mut socket).await.unwrap();
            assert!(head.contains("connection: upgrade") && head.contains("upgrade: websocket"), "{head}");
            let switch =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
            say(&mut socket, &format!("{switch}hello ")).await;
            let (mut read, mut write) = socket.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        let mut client = gateway.connect().await;
        say(&mut client, "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
        let head = read_head(&mut client).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket"), "{head}");
        assert_eq!(gateway.upstream.connections(), 1, "a tunnel is a connection");
        say(&mut client, "echo").await;
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, "hello echo");
        while gateway.upstream.connections() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_switch_that_was_not_asked_for_is_no_answer() {
    play(async {
        let backend = Backend::start(async |mut socket, _| {
            read_head(&mut socket).await;
            say(
                &mut socket,
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            )
            .await;
            std::future::pending::<()>().await;
        })
        .await;
        let gateway = Gateway::before(&[&backend]).await;
        assert_eq!(failure(&gateway.get("/").await), "BadResponse");
        let h2c = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: h2c\r\n\r\n";
        assert_eq!(failure(&gateway.ask(h2c).await), "BadResponse");
    });
}

#[test]
fn what_is_no_http_is_no_answer() {
    play(async {
        for nonsense in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ] {
            let backend = Backend::start(async move |mut socket, _| {
                read_head(&mut socket).await;
                say(&mut socket, nonsense).await;
            })
            .await;
            assert_eq!(failure(&Gateway::before(&[&backend]).await.get("/").await), "BadResponse");
        }
    });
}

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
