//! HTTP/2 connections that nobody uses, and backends that fall silent: half a minute and minutes, on a clock
//! that does not wait.

use super::*;

#[test]
fn an_idle_connection_is_kept_for_the_next_request_and_closed_after_half_a_minute() {
    play_slowly(async {
        let (closed, seen) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let (is_closed, served) = (Rc::clone(&closed), Rc::clone(&seen));
        let backend = Backend::start(async move |socket, _| {
            let mut peer = Peer::greet(socket).await;
            while let Some(stream) = peer.next_request().await {
                served.set(served.get() + 1);
                peer.answer(stream).await;
            }
            is_closed.notify_one();
        })
        .await;
        let gateway = before(&backend).await;
        gateway.get("/").await;
        sleep(NEARLY_KEPT).await;
        gateway.get("/").await;
        assert_eq!((backend.connections(), seen.get(), gateway.pools.idle_connections()), (1, 2, 1));
        // The second request has begun the time anew.
        sleep(NEARLY_KEPT).await;
        assert_eq!(gateway.pools.idle_connections(), 1);
        sleep(JUST_NOT_KEPT).await;
        closed.notified().await;
        assert_eq!((gateway.pools.idle_connections(), gateway.upstream.connections()), (0, 0));
    });
}

#[test]
fn a_backend_that_thinks_for_minutes_is_asked_whether_it_is_still_there() {
    play_slowly(async {
        let pings = Rc::new(Cell::new(0));
        let asked = Rc::clone(&pings);
        let backend = Backend::start(async move |socket, _| {
            let mut peer = Peer::greet(socket).await;
            let stream = peer.next_request().await.expect("a request");
            let ping = peer.next_of(PING).await.expect("a ping");
            asked.set(asked.get() + 1);
            peer.write(PING, ACK, 0, &ping.payload).await;
            sleep(Duration::from_mins(1)).await;
            peer.answer(stream).await;
            peer.next_request().await;
        })
        .await;
        let gateway = before(&backend).await;
        assert!(gateway.get("/").await.starts_with("HTTP/1.1 200"));
        assert_eq!(pings.get(), 1);
    });
}

#[test]
fn a_backend_that_does_not_say_that_it_is_there_is_given_up() {
    play_slowly(async {
        let backend = Backend::start(async |socket, _| {
            let mut peer = Peer::greet(socket).await;
            peer.next_request().await.expect("a request");
            while peer.frame().await.is_some() {}
        })
        .await;
        let gateway = before(&backend).await;
        let answer = timeout(Duration::from_secs(400), gateway.get("/")).await;
        assert_eq!(failure(&answer.expect("an end within six minutes")), "BadResponse");
        assert_eq!(gateway.upstream.connections(), 0);
    });
}

/// On a clock that jumps to whatever is waited for next; an hour of it is enough for everybody.
fn play_slowly(scene: impl Future<Output = ()>) {
    LocalRuntime::new().unwrap().block_on(async {
        tokio::time::pause();
        timeout(Duration::from_hours(1), scene).await.expect("the scene ends");
    });
}

async fn before(backend: &Backend) -> Gateway {
    let place = HostPort { host: backend.address.ip().to_string(), port: backend.address.port() };
    Gateway::with(&[], |config| {
        config.servers = vec![WeightedServer { address: ServerAddress::H2c(place), weight: 1 }];
        // The clock may jump while a socket is waited for.
        config.connect_timeout = Duration::from_hours(1);
        config.response_timeout = Duration::from_hours(1);
    })
    .await
}

/// The backend's side of a connection: frames of RFC 9113, as bytes.
struct Peer(TcpStream);

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Peer {
    /// Takes the preface and exchanges settings.
    async fn greet(mut socket: TcpStream) -> Self {
        let mut preface = [0; PREFACE.len()];
        socket.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, PREFACE);
        let mut peer = Self(socket);
        peer.write(SETTINGS, 0, 0, &[]).await;
        peer
    }

    /// The stream of the next request; none when the gateway has closed.
    async fn next_request(&mut self) -> Option<u32> {
        self.next_of(HEADERS).await.map(|frame| frame.stream)
    }

    async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.frame().await?;
            let is_answer = frame.kind == PING && frame.flags & ACK != 0;
            if frame.kind == kind && !is_answer {
                return Some(frame);
            }
        }
    }

    /// The next frame; settings are acknowledged.
    async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        if kind == SETTINGS && flags & ACK == 0 {
            self.write(SETTINGS, ACK, 0, &[]).await;
        }
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// `200` without a body.
    async fn answer(&mut self, stream: u32) {
        self.write(HEADERS, END_STREAM | END_HEADERS, stream, &[STATUS_200]).await;
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat();
        // The gateway may have closed.
        let _gone = self.0.write_all(&frame).await;
    }
}

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` by its number in the static table of HPACK.
const STATUS_200: u8 = 0x88;

/// A connection is idle for half a minute at most; the pool looks twice a second.
const NEARLY_KEPT: Duration = Duration::from_secs(28);
const JUST_NOT_KEPT: Duration = Duration::from_secs(4);
