//! Tunnels, event streams and long polls end with what allowed them.

use std::thread;
use std::time::Duration;

use vestibule::clock::Stopwatch;

use crate::harness::client::Streaming;
use crate::harness::people::Person;
use crate::harness::websocket::{Message, WebSocket};
use crate::harness::{After, Answer, Backend, Client, Gateway, Setup, eventually};

#[test]
fn a_websocket_is_closed_with_4401_by_a_logout_in_another_tab() {
    let (backend, gateway) = tunnels();
    let alice = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &alice, "/ws");
    socket.say("hello");
    assert_eq!(socket.heard(), Message::Text("news".to_owned()));
    alice.second_tab().sign_out();
    is_closed(&backend, &mut socket);
}

#[test]
fn a_websocket_is_closed_with_4401_when_the_account_is_disabled() {
    let (backend, gateway) = tunnels();
    let alice = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &alice, "/ws");
    let disabled = gateway.folder.run(&["users", "disable", "alice"]);
    assert_eq!(disabled.code, 0, "{}", disabled.stderr);
    is_closed(&backend, &mut socket);
}

#[test]
fn a_websocket_is_closed_with_4401_when_the_session_expires() {
    let (backend, gateway) = tunnels();
    let alice = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &alice, "/ws");
    gateway.advance(IDLE);
    is_closed(&backend, &mut socket);
}

#[test]
fn a_websocket_is_closed_with_4401_when_its_key_is_retired() {
    let (backend, gateway) = tunnels();
    let alice = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &alice, "/ws");
    gateway.folder.new_keys();
    gateway.reload().expect("a reload");
    is_closed(&backend, &mut socket);
}

#[test]
fn a_websocket_is_closed_with_4401_when_the_route_no_longer_allows_it() {
    let backend = talkative();
    for routes in [
        &["path = '/'; access = 'deny'"][..],
        &["path = '/'; upstream = 'app'; access = 'login'; groups = ['admin']"],
        &["path = '/'; upstream = 'app'; access = 'login'; users = ['ada']"],
        &["path = '/'; upstream = 'app'; access = 'login'; methods = ['POST']"],
        &["path = '/'; upstream = 'app'; access = 'login'; networks = ['192.0.2.0/24']"],
        &["path = '/'; upstream = 'app'; access = 'login'", "path = '/ws'; access = 'deny'"],
        &["path = '/elsewhere'; upstream = 'app'; access = 'login'"],
    ] {
        let gateway =
            Gateway::start(&people(&backend).route("path = '/'; upstream = 'app'; access = 'login'"));
        let alice = gateway.visitor().signed_in_as("alice");
        let mut socket = WebSocket::open(&gateway, &alice, "/ws");
        people(&backend).routes(routes).write_to(&gateway.folder);
        gateway.reload().expect("a reload");
        is_closed(&backend, &mut socket);
        assert!(is_at(&gateway, "vestibule_streams_ended_total{reason=\"rule_changed\"}", 1.0), "{routes:?}");
    }
}

#[test]
fn a_stream_ends_with_its_upstream_and_not_with_a_changed_setting_of_it() {
    let backend = talkative();
    let setup = |name: &str, more: &str| {
        Setup::new()
            .set("server.workers", "1")
            .upstream_with(name, &format!("servers = ['{}']{more}", backend.url()))
            .route(&format!("path = '/'; upstream = '{name}'; access = 'login'"))
            .person(Person::named("alice"))
    };
    let gateway = Gateway::start(&setup("app", ""));
    let alice = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &alice, "/ws");
    setup("app", "; connect_timeout = '2s'").write_to(&gateway.folder);
    gateway.reload().expect("a reload");
    watcher_comes_by(&gateway);
    socket.say("still here");
    assert_eq!(socket.heard(), Message::Text("news".to_owned()));
    setup("other", "").write_to(&gateway.folder);
    gateway.reload().expect("a reload");
    is_closed(&backend, &mut socket);
}

#[test]
fn a_guest_on_a_route_that_is_no_longer_public_is_cut_off_too() {
    for rule in ["access = 'deny'", "upstream = 'app'; access = 'login'"] {
        let (sockets, events) = (talkative(), events());
        let rules = |rule: &str| {
            Setup::new()
                .upstream("app", &events.url())
                .upstream("sockets", &sockets.url())
                .route(&format!("path = '/'; {rule}"))
                .route(&format!("path = '/ws'; {}", rule.replace("'app'", "'sockets'")))
        };
        let gateway = Gateway::start(&rules("upstream = 'app'; access = 'public'"));
        let mut socket = WebSocket::open(&gateway, &gateway.visitor(), "/ws");
        let mut stream = began(&gateway.visitor(), "/");
        rules(rule).write_to(&gateway.folder);
        gateway.reload().expect("a reload");
        let watch = Stopwatch::start();
        assert_eq!(socket.heard(), Message::Close(4401));
        is_cut(&mut stream);
        in_time(watch);
    }
}

#[test]
fn nothing_is_put_into_a_frame_that_is_half_sent() {
    let backend = Backend::with_head(|peer| {
        peer.write(SWITCHING);
        peer.write(b"\x81\x05he");
        peer.wait();
        After::Close
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let mut connection = WebSocket::open(&gateway, &alice, "/ws").connection;
    assert_eq!(connection.exactly(4), b"\x81\x05he");
    alice.sign_out();
    let watch = Stopwatch::start();
    assert_eq!(connection.rest(), b"");
    in_time(watch);
}

#[test]
fn an_event_stream_is_cut_and_never_looks_complete() {
    let backend = events();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let over_http1 = gateway.visitor().signed_in_as("alice");
    let over_http2 = gateway.visitor().over_h2().signed_in_as("alice");
    for visitor in [over_http1, over_http2] {
        let mut stream = began(&visitor.second_tab(), "/events");
        backend.release();
        assert_eq!(&stream.piece().expect("an event")[..], EVENT);
        visitor.sign_out();
        let watch = Stopwatch::start();
        is_cut(&mut stream);
        in_time(watch);
    }
}

#[test]
fn a_long_poll_whose_answer_has_begun_is_cut_and_never_looks_complete() {
    let backend = Backend::with_head(|peer| {
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
        peer.wait();
        After::Close
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let visitor = visitor.signed_in_as("alice");
        let mut stream = visitor.second_tab().ask("GET", "/poll").stream();
        assert_eq!(stream.read(3), b"hel");
        visitor.sign_out();
        let watch = Stopwatch::start();
        is_cut(&mut stream);
        in_time(watch);
    }
}

#[test]
fn a_long_poll_whose_answer_has_not_begun_is_refused() {
    let backend = Backend::silent();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let visitor = visitor.signed_in_as("alice");
        let poll = waiting(&backend, visitor.second_tab());
        visitor.sign_out();
        let watch = Stopwatch::start();
        let answer = poll.join().expect("an answer");
        in_time(watch);
        assert_eq!((answer.status, answer.error().as_str()), (401, "login_required"));
    }
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let visitor = visitor.signed_in_as("alice");
        let tab = visitor.second_tab();
        let load = thread::spawn(move || tab.page("/slow?a=b"));
        backend.received();
        visitor.sign_out();
        let answer = load.join().expect("an answer");
        let login = "/.vestibule/login?reason=expired&next=/slow%3Fa%3Db";
        assert_eq!((answer.status, answer.location()), (303, login));
    }
    let alice = gateway.visitor().signed_in_as("alice");
    let poll = waiting(&backend, alice.second_tab());
    let config = gateway.folder.read("vestibule.toml").replace("access = 'login'", "access = 'deny'");
    gateway.folder.write("vestibule.toml", &config.replace("groups = ['admin']", ""));
    gateway.reload().expect("a reload");
    let watch = Stopwatch::start();
    assert_eq!(poll.join().expect("an answer").status, 403);
    in_time(watch);
}

#[test]
fn a_long_download_to_a_slow_client_is_cut() {
    let backend = Backend::with_head(|peer| {
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let piece = vec![b'x'; 64 * 1024];
        while peer.write(&piece) {}
        After::Close
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let mut stream = alice.second_tab().ask("GET", "/").stream();
    stream.read(4 << 20);
    alice.sign_out();
    assert!(stream.count().is_err());
    assert!(is_at(&gateway, "vestibule_streams_ended_total{reason=\"session_ended\"}", 1.0));
}

#[test]
fn a_logout_ends_neither_a_public_stream_nor_one_of_another_session() {
    let backend = events();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).set("server.workers", "1"));
    let alice = gateway.visitor().signed_in_as("alice");
    let ada = gateway.visitor().over_h2().signed_in_as("ada");
    let alice_elsewhere = gateway.visitor().signed_in_as("alice");
    let mut others = [
        began(&alice.second_tab(), "/public"),
        began(&ada, "/"),
        began(&alice_elsewhere, "/"),
        began(&gateway.visitor(), "/optional"),
    ];
    let mut stream = began(&alice.second_tab(), "/");
    alice.sign_out();
    // The look that ends this one has seen the others too.
    is_cut(&mut stream);
    for _ in 0..=others.len() {
        backend.release();
    }
    for stream in &mut others {
        assert_eq!(&stream.piece().expect("an event")[..], EVENT);
    }
}

#[test]
fn what_a_client_sends_through_a_tunnel_keeps_its_session_alive() {
    let (_backend, gateway) = tunnels();
    let alice = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &alice, "/ws");
    for _ in 0..6 {
        gateway.advance(Duration::from_mins(20));
        socket.say("still here");
        assert_eq!(socket.heard(), Message::Text("news".to_owned()));
        eventually("the activity", || (idle_left(&alice) == IDLE.as_secs()).then_some(()));
    }
    gateway.advance(IDLE);
    assert_eq!(socket.heard(), Message::Close(4401));
}

#[test]
fn neither_what_a_backend_sends_nor_a_browsers_pong_keeps_a_session_alive() {
    let backend = Backend::with_head(|peer| {
        peer.write(SWITCHING);
        peer.wait();
        peer.write(NEWS);
        while peer.read_some().is_some() {
            peer.write(NEWS);
        }
        After::Close
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).set("server.workers", "1"));
    let alice = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &alice, "/ws");
    gateway.advance(Duration::from_mins(20));
    backend.release();
    assert_eq!(socket.heard(), Message::Text("news".to_owned()));
    socket.pong();
    assert_eq!(socket.heard(), Message::Text("news".to_owned()));
    watcher_comes_by(&gateway);
    assert_eq!(idle_left(&alice), 10 * 60);
    gateway.advance(Duration::from_mins(10));
    let watch = Stopwatch::start();
    assert_eq!(socket.heard(), Message::Close(4401));
    in_time(watch);
}

#[test]
fn the_access_line_and_the_metrics_say_why_a_stream_ended() {
    let backend = events();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()).set("log.access", "true"));
    let alice = gateway.visitor().signed_in_as("alice");
    let mut stream = began(&alice.second_tab(), "/events");
    let mut guest = began(&gateway.visitor(), "/public");
    assert!(is_at(&gateway, "vestibule_streams", 2.0));
    alice.sign_out();
    is_cut(&mut stream);
    let id = |stream: &Streaming| stream.headers["x-request-id"].to_str().expect("text").to_owned();
    gateway.line_with(&[&id(&stream), "alice", "200", "forwarded/session_ended"]);
    let config = gateway.folder.read("vestibule.toml").replace("access = 'public'", "access = 'deny'");
    gateway.folder.write("vestibule.toml", &config);
    gateway.reload().expect("a reload");
    is_cut(&mut guest);
    gateway.line_with(&[&id(&guest), "200", "forwarded/rule_changed"]);
    for (metric, value) in [
        ("vestibule_streams", 0.0),
        ("vestibule_streams_ended_total{reason=\"session_ended\"}", 1.0),
        ("vestibule_streams_ended_total{reason=\"rule_changed\"}", 1.0),
    ] {
        eventually(metric, || is_at(&gateway, metric, value).then_some(()));
    }
}

/// A gateway in front of a WebSocket server.
fn tunnels() -> (Backend, Gateway) {
    let backend = talkative();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    (backend, gateway)
}

/// A WebSocket server that says `news` whenever it hears something.
fn talkative() -> Backend {
    Backend::with_head(|peer| {
        peer.write(SWITCHING);
        while peer.read_some().is_some() {
            peer.write(NEWS);
        }
        After::Close
    })
}

/// Sends one event at once, another when it is released, and never ends.
fn events() -> Backend {
    Backend::with_head(|peer| {
        let chunk = [format!("{:x}\r\n", EVENT.len()).as_bytes(), EVENT, b"\r\n"].concat();
        peer.write(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        peer.write(&chunk);
        peer.wait();
        peer.write(&chunk);
        peer.read_some();
        After::Close
    })
}

/// An upstream, and Alice and Ada, who may sign in.
fn people(backend: &Backend) -> Setup {
    let alice = Person::named("alice").in_group("staff");
    Setup::new().upstream("app", &backend.url()).person(alice).person(Person::named("ada"))
}

/// A stream whose first event has come.
fn began(visitor: &Client, target: &str) -> Streaming {
    let mut stream = visitor.ask("GET", target).stream();
    assert_eq!(stream.status, 200);
    assert_eq!(&stream.piece().expect("an event")[..], EVENT);
    stream
}

/// A request of this visitor that the backend keeps waiting.
fn waiting(backend: &Backend, visitor: Client) -> thread::JoinHandle<Answer> {
    let poll = thread::spawn(move || visitor.get("/poll"));
    backend.received();
    poll
}

#[track_caller]
fn is_closed(backend: &Backend, socket: &mut WebSocket) {
    let watch = Stopwatch::start();
    assert_eq!(socket.heard(), Message::Close(4401));
    assert!(socket.connection.is_closed());
    in_time(watch);
    eventually("the end of the backend's connection", || (backend.open_connections() == 0).then_some(()));
}

#[track_caller]
fn is_cut(stream: &mut Streaming) {
    let end = stream.try_piece();
    assert!(end.is_err(), "{end:?}");
}

#[track_caller]
fn in_time(watch: Stopwatch) {
    let elapsed = watch.elapsed();
    assert!(elapsed < Duration::from_secs(1), "after {elapsed:?}");
}

/// Waits until the watcher of a gateway of one worker has looked at all that is open now: by a look it ends
/// the socket of somebody who signs out.
#[track_caller]
fn watcher_comes_by(gateway: &Gateway) {
    let somebody = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(gateway, &somebody, "/ws");
    somebody.sign_out();
    assert_eq!(socket.heard(), Message::Close(4401));
}

fn is_at(gateway: &Gateway, metric: &str, value: f64) -> bool {
    (gateway.metric(metric) - value).abs() < 0.5
}

fn idle_left(visitor: &Client) -> u64 {
    visitor.get("/.vestibule/session").json()["idle_seconds_left"].as_u64().unwrap_or_default()
}

/// A text frame of a server.
const NEWS: &[u8] = b"\x81\x04news";

const EVENT: &[u8] = b"data: news\n\n";

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const IDLE: Duration = Duration::from_mins(30);
