//! The server over real sockets: TLS, HTTP/1.1 and HTTP/2, deadlines, early errors, and its end.

mod house;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::house::{BIG, House, LIKE_HYPER, Rooms, Wire, play, start, text};
use super::tls::certificates::Certificates;
use super::{Drained, TlsVersion};
use crate::clock::Clock;

// TLS

#[test]
fn http_2_is_spoken_when_alpn_says_so() {
    play(async {
        let house = House::open();
        let (mut sender, _connection) = house.ring_http2().await;
        let request = Request::post("https://a.test/echo").body(Full::from("hello")).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(text(response).await, "hello");
    });
}

#[test]
fn http_1_1_serves_one_request_after_the_other() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        for body in ["", "hello"] {
            wire.say(format!("POST /echo HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
            let (head, echo) = wire.answer().await;
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && echo == body, "{head}{echo}");
        }
        assert_eq!((house.server.gauges().accepted(), house.server.gauges().active_connections()), (1, 1));
    });
}

#[test]
fn a_connection_that_rested_serves_on() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        for _ in 0..20 {
            // Long enough to rest in between: the answer of another connection comes later.
            assert_eq!(wire.get("/").await.1, "a.test");
            assert_eq!(house.ring().await.get("/").await.1, "a.test");
            wire.say("GET /").await;
            assert_eq!(house.ring().await.get("/").await.1, "a.test");
            wire.say(" HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").await;
            assert_eq!((wire.answer().await.1, wire.answer().await.1), ("a.test".into(), "a.test".into()));
        }
    });
}

#[test]
fn the_name_of_the_handshake_chooses_the_certificate() {
    play(async {
        let house = House::open();
        let client = house.client(rustls::ALL_VERSIONS, "http/1.1");
        for (index, name) in ["a.test", "b.test"].into_iter().enumerate() {
            let mut wire = client.ring(name).await.unwrap();
            assert_eq!(presented(&wire), house.certificate(index));
            assert_eq!(wire.get("/").await.1, name);
        }
        assert_eq!(presented(&client.ring("B.TEST").await.unwrap()), house.certificate(1));
    });
}

#[test]
fn new_certificates_do_not_touch_open_connections() {
    play(async {
        let house = House::open();
        let mut old = house.ring().await;
        // Nobody is left who could prove to be `a.test`.
        house.tls.resolver().replace(Certificates::load(&[], Clock::system().now()).unwrap());
        assert!(house.client(rustls::ALL_VERSIONS, "http/1.1").ring("a.test").await.is_err());
        assert_eq!(old.get("/").await.1, "a.test");
    });
}

#[test]
fn a_client_that_comes_back_resumes_its_tls_session() {
    play(async {
        let house = House::open();
        let client = house.client(rustls::ALL_VERSIONS, "http/1.1");
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut wire = client.ring("a.test").await.unwrap();
            assert_eq!(wire.0.get_ref().get_ref().1.handshake_kind(), Some(kind));
            // The ticket comes with the answer.
            wire.get("/").await;
        }
    });
}

#[test]
fn tls_1_2_is_spoken_unless_the_configuration_forbids_it() {
    play(async {
        let old: &[_] = &[&rustls::version::TLS12];
        let house = House::open();
        let mut wire = house.client(old, "http/1.1").ring("a.test").await.unwrap();
        assert_eq!(wire.get("/").await.1, "a.test");
        let strict = House::with(|config| config.tls.min_version = TlsVersion::Tls13);
        assert!(strict.client(old, "http/1.1").ring("a.test").await.is_err());
        assert_eq!(strict.ring().await.get("/").await.1, "a.test");
        until(|| strict.server.gauges().handshakes_failed() == 1).await;
    });
}

#[test]
fn a_client_that_asks_for_aes_256_first_gets_what_browsers_get() {
    play(async {
        let house = House::open();
        let both: &[_] = &[&rustls::version::TLS13, &rustls::version::TLS12];
        for versions in [both, &both[1..]] {
            let wire = house.client(versions, "http/1.1").ring("a.test").await.unwrap();
            let suite = wire.0.get_ref().get_ref().1.negotiated_cipher_suite().unwrap().suite();
            assert!(suite.as_str().unwrap().contains("AES_128_GCM_SHA256"), "{suite:?}");
        }
    });
}

// Early errors

#[test]
fn a_head_that_cannot_be_read_gets_our_answer_alone() {
    play(async {
        let house = House::open();
        let long = "x".repeat(100 << 10);
        let lines = "a: b\r\n".repeat(300);
        let early = &house.early;
        for (head, answer) in [
            ("GET / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(), &early.secure.bad_request),
            (
                "GET / HTTP/1.1\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                    .to_owned(),
                &early.secure.bad_request,
            ),
            ("GET /a#b HTTP/1.1\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("GET / HTTP/9.9\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("\u{1}\u{2} what is this?\r\n\r\n".to_owned(), &early.secure.bad_request),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &early.secure.bad_request),
            (format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n"), &early.secure.header_too_large),
            (format!("GET / HTTP/1.1\r\n{lines}\r\n"), &early.secure.header_too_large),
            (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70 << 10)), &early.secure.uri_too_long),
        ] {
            let mut wire = house.ring().await;
            wire.say(&head).await;
            let begin: String = head.escape_debug().take(60).collect();
            assert_eq!(wire.rest().await.as_bytes(), answer, "{begin}");
        }
    });
}

#[test]
fn a_target_too_long_for_hyper_is_a_414_too() {
    play(async {
        let house = House::with(|config| config.limits.header_bytes = 1 << 20);
        let mut wire = house.ring().await;
        wire.say(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70 << 10))).await;
        assert_eq!(wire.rest().await.as_bytes(), house.early.secure.uri_too_long);
    });
}

#[test]
fn a_line_may_end_with_a_bare_line_feed() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        wire.say("GET / HTTP/1.1\nhost: a.test\n\n").await;
        assert_eq!(wire.answer().await.1, "a.test");
    });
}

#[test]
fn a_good_request_is_answered_before_the_malformed_one_behind_it() {
    play(async {
        let house = House::open();
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut wire = house.ring().await;
            let good = format!("GET / {version}\r\nconnection: keep-alive, upgrade\r\nupgrade: x\r\n\r\n");
            wire.say(format!("{good}GET / HTTP/1.1\r\nbad : x\r\n\r\nGET / HTTP/1.1\r\n\r\n")).await;
            assert_eq!(wire.answer().await.1, "a.test");
            assert_eq!(wire.rest().await.as_bytes(), house.early.secure.bad_request, "{version}");
        }
    });
}

#[test]
fn a_malformed_request_behind_a_large_answer_spoils_nothing() {
    play(async {
        let house = House::open();
        for bad in ["bad\r\n\r\n", "GET /#", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n"] {
            let mut wire = house.ring().await;
            wire.say(format!("GET /big HTTP/1.1\r\n\r\n{bad}")).await;
            assert_eq!(wire.answer().await.1.len(), BIG);
            assert_eq!(wire.rest().await.as_bytes(), house.early.secure.bad_request, "{bad}");
        }
    });
}

#[test]
fn a_flaw_in_the_last_piece_of_a_head_is_found_too() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        wire.get("/").await;
        for piece in ["GET / HTTP/1.1\r\nhost: a\r\nho", "st", ": a\r", "\n"] {
            wire.say(piece).await;
        }
        assert_eq!(wire.rest().await.as_bytes(), house.early.secure.bad_request);
    });
}

#[test]
fn a_response_that_looks_like_a_refusal_is_sent_at_once() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        assert_eq!(wire.get("/tail").await.1, LIKE_HYPER);
        for _ in 0..2 {
            wire.say("GET /slow/missing HTTP/1.1\r\n\r\n").await;
            house.stage.entered().await;
            house.stage.leave();
            assert!(wire.answer().await.0.starts_with("HTTP/1.1 404 Not Found\r\n"));
        }
        wire.say("bad\r\n\r\n").await;
        assert_eq!(wire.rest().await.as_bytes(), house.early.secure.bad_request);
    });
}

#[test]
fn a_part_of_a_body_that_looks_like_a_refusal_is_sent_at_once() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        wire.say("GET /in-two HTTP/1.1\r\n\r\n").await;
        wire.head().await;
        assert_eq!(wire.bytes(32).await, "1A\r\nHTTP/1.1 404 Not Found\r\n\r\n\r\n");
        house.stage.leave();
        assert_eq!(wire.bytes(5).await, "0\r\n\r\n");
        let (mut sender, _connection) = house.ring_http2().await;
        house.stage.leave();
        let response = sender.send_request(get("/in-two")).await.unwrap();
        assert_eq!(text(response).await, "HTTP/1.1 404 Not Found\r\n\r\n");
        assert_eq!(text(sender.send_request(get("/tail")).await.unwrap()).await, LIKE_HYPER);
    });
}

// Deadlines

#[test]
fn a_head_that_does_not_become_complete_gets_a_408() {
    play(async {
        let house = House::with(|config| config.limits.request_head = SHORT);
        let mut wire = house.ring().await;
        wire.say("GET / HTTP/1.1\r\nho").await;
        assert_eq!(wire.rest().await.as_bytes(), house.early.secure.timeout);
    });
}

#[test]
fn the_second_head_has_a_deadline_too() {
    play(async {
        let house = House::with(|config| config.limits.request_head = SHORT);
        let mut wire = house.ring().await;
        wire.say("GET / HTTP/1.1\r\n\r\n").await;
        wire.answer().await;
        wire.say("GET / HTTP/1.1\r\nho").await;
        assert_eq!(wire.rest().await.as_bytes(), house.early.secure.timeout);
    });
}

#[test]
fn an_unused_connection_just_ends() {
    play(async {
        let house = House::with(|config| config.limits.request_head = SHORT);
        assert_eq!(house.ring().await.rest().await, "");
    });
}

#[test]
fn an_idle_connection_just_ends() {
    play(async {
        let house = House::with(|config| config.limits.keep_alive = SHORT);
        let mut wire = house.ring().await;
        wire.get("/").await;
        assert_eq!(wire.rest().await, "");
        let (mut sender, connection) = house.ring_http2().await;
        sender.send_request(get("/")).await.unwrap();
        assert!(connection.await.unwrap().is_ok());
    });
}

#[test]
fn http_2_stays_between_requests_for_longer_than_a_head_may_take() {
    play(async {
        let house = House::with(|config| config.limits.request_head = SHORT);
        let (mut sender, _connection) = house.ring_http2().await;
        assert_eq!(text(sender.send_request(get("/tail")).await.unwrap()).await, LIKE_HYPER);
        // Somebody else's deadline passes.
        let mut slow = house.ring().await;
        slow.say("GET").await;
        slow.rest().await;
        assert_eq!(text(sender.send_request(get("/")).await.unwrap()).await, "a.test");
    });
}

#[test]
fn a_client_that_takes_no_bytes_is_left() {
    play(async {
        let house = House::with(|config| config.limits.body_stall = SHORT);
        let mut wire = house.ring().await;
        wire.say("GET /big HTTP/1.1\r\n\r\n").await;
        wire.head().await;
        until(|| house.server.gauges().active_connections() == 0).await;
    });
}

#[test]
fn a_handshake_that_does_not_end_is_cut() {
    play(async {
        let house = House::with(|config| config.limits.handshake = SHORT);
        let mut silent = TcpStream::connect(house.server.https_addresses()[0]).await.unwrap();
        assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
        until(|| house.server.gauges().handshakes_failed() == 1).await;
    });
}

// Responses and tunnels

#[test]
fn a_large_answer_to_a_body_that_nobody_reads_is_complete() {
    play(async {
        let house = House::open();
        for more in ["", "connection: upgrade\r\nupgrade: x\r\n"] {
            let mut wire = house.ring().await;
            wire.say(format!("POST /big HTTP/1.1\r\n{more}content-length: 99999999\r\n\r\nbegin")).await;
            assert_eq!(wire.answer().await.1.len(), BIG);
            assert_eq!(wire.rest().await, "");
        }
    });
}

#[test]
fn a_tunnel_gets_what_was_read_ahead_and_then_the_rest() {
    play(async {
        let house = House::open();
        let mut wire = switch(&house, "early").await;
        assert_eq!(wire.bytes(5).await, "early");
        wire.say("late").await;
        assert_eq!(wire.bytes(4).await, "late");
        wire.0.shutdown().await.unwrap();
        assert_eq!(wire.rest().await, "");
    });
}

#[test]
fn a_tunnel_gets_what_would_be_a_flaw_in_a_head() {
    play(async {
        let house = House::open();
        for early in ["#", "a#b\n#\r\n", "x\nhost:\nhost:\nhost:\n"] {
            let mut wire = switch(&house, early).await;
            assert_eq!(wire.bytes(early.len()).await, early);
            wire.say("#late\n").await;
            assert_eq!(wire.bytes(6).await, "#late\n");
        }
    });
}

#[test]
fn a_handler_that_panics_takes_only_its_connection_along() {
    play(async {
        let house = House::open();
        let mut other = house.ring().await;
        let mut wire = house.ring().await;
        wire.say("GET /fall HTTP/1.1\r\n\r\n").await;
        assert!(wire.ends().await);
        assert_eq!(other.get("/").await.1, "a.test");
        until(|| house.server.gauges().active_connections() == 1).await;
    });
}

// Accepting

#[test]
fn the_connection_beyond_the_limit_waits_for_its_turn() {
    play(async {
        let house = House::with(|config| config.max_connections = 1);
        let mut first = house.ring().await;
        let client = house.client(rustls::ALL_VERSIONS, "http/1.1");
        let second = tokio::spawn(async move { client.ring("a.test").await.unwrap().get("/").await });
        for _ in 0..20 {
            first.get("/").await;
        }
        assert!(!second.is_finished() && house.server.gauges().accepted() == 1);
        drop(first);
        assert_eq!(second.await.unwrap().1, "a.test");
    });
}

#[test]
fn the_clear_text_listener_leads_to_https() {
    play(async {
        let house = House::open();
        let port = house.server.https_addresses()[0].port();
        for (request, status) in [
            ("GET /x?y HTTP/1.1\r\nhost: a.test:80\r\n\r\n", "301 Moved Permanently"),
            (
                "POST /x?y HTTP/1.1\r\nhost: a.test\r\ncontent-length: 9\r\n\r\nunread",
                "308 Permanent Redirect",
            ),
        ] {
            let answer = plain(&house, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
            assert!(answer.contains(&format!("location: https://a.test:{port}/x?y\r\n")), "{answer}");
            assert!(
                answer.contains("x-ours: yes\r\n") && answer.contains("connection: close\r\n"),
                "{answer}"
            );
        }
        assert!(plain(&house, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    });
}

#[test]
fn a_worker_that_cannot_begin_keeps_the_server_from_starting() {
    play(async {
        let house = House::open();
        let started = start(&house.config, &house.tls, || -> Rooms { panic!("no worker today") });
        assert!(started.unwrap_err().to_string().contains("a worker panicked"));
    });
}

// The end

#[test]
fn idle_connections_end_at_once_and_new_ones_are_refused() {
    play(async {
        let house = House::open();
        let (tls, clear) = (house.server.https_addresses()[0], house.server.http_addresses()[0]);
        let (fresh, mut used) = (house.ring().await, house.ring().await);
        used.get("/").await;
        let (mut sender, http2) = house.ring_http2().await;
        sender.send_request(get("/")).await.unwrap();
        let mut unused = TcpStream::connect(clear).await.unwrap();
        let mut hesitant = TcpStream::connect(tls).await.unwrap();
        until(|| house.server.gauges().accepted() == 5).await;
        let ends = async {
            assert_eq!((fresh.rest().await, used.rest().await), (String::new(), String::new()));
            assert_eq!(unused.read(&mut [0; 1]).await.unwrap(), 0);
            assert_eq!(hesitant.read(&mut [0; 1]).await.unwrap_or(0), 0);
            assert!(http2.await.unwrap().is_ok());
            drop((unused, hesitant));
        };
        let (drained, ()) = tokio::join!(house.server.drain(LONG), ends);
        assert_eq!(drained, Drained::default());
        for address in [tls, clear] {
            assert!(TcpStream::connect(address).await.is_err(), "{address}");
        }
    });
}

#[test]
fn a_request_under_way_is_finished_before_the_end() {
    play(async {
        let house = House::open();
        let (idle, mut wire) = (house.ring().await, house.ring().await);
        let (mut sender, http2) = house.ring_http2().await;
        wire.say("GET /slow HTTP/1.1\r\n\r\n").await;
        let response = tokio::spawn(sender.send_request(get("/slow")));
        house.stage.entered().await;
        house.stage.entered().await;
        let stage = Arc::clone(&house.stage);
        let ends = async {
            assert_eq!(idle.rest().await, "");
            stage.leave();
            stage.leave();
            let (head, body) = wire.answer().await;
            assert!(head.contains("\r\nconnection: close\r\n") && body == "slow", "{head}{body}");
            assert_eq!(wire.rest().await, "");
            assert_eq!(text(response.await.unwrap().unwrap()).await, "slow");
            assert!(http2.await.unwrap().is_ok());
        };
        let (drained, ()) = tokio::join!(house.server.drain(LONG), ends);
        assert_eq!(drained, Drained::default());
    });
}

#[test]
fn a_response_that_is_not_taken_yet_is_complete_at_the_end() {
    play(async {
        let house = House::open();
        let (idle, mut wire) = (house.ring().await, house.ring().await);
        wire.say("GET /big HTTP/1.1\r\nconnection: close\r\n\r\n").await;
        wire.head().await;
        let ends = async {
            assert_eq!(idle.rest().await, "");
            assert_eq!(wire.rest().await.len(), BIG);
        };
        let (drained, ()) = tokio::join!(house.server.drain(LONG), ends);
        assert_eq!(drained, Drained::default());
    });
}

#[test]
fn what_is_left_at_the_deadline_is_cut_and_counted() {
    play(async {
        let house = House::with(|config| config.workers = 2);
        let mut tunnel = switch(&house, "hello").await;
        assert_eq!(tunnel.bytes(5).await, "hello");
        let mut wire = house.ring().await;
        wire.say("GET /slow HTTP/1.1\r\n\r\n").await;
        let (mut sender, _http2) = house.ring_http2().await;
        let response = tokio::spawn(sender.send_request(get("/slow")));
        house.stage.entered().await;
        house.stage.entered().await;
        let drained = house.server.drain(SHORT).await;
        assert_eq!(drained, Drained { cut_requests: 2, cut_tunnels: 1 });
        assert!(tunnel.ends().await && wire.ends().await && response.await.unwrap().is_err());
    });
}

#[test]
fn a_server_that_is_dropped_ends() {
    play(async {
        let house = House::open();
        let mut wire = house.ring().await;
        wire.say("GET /slow HTTP/1.1\r\n\r\n").await;
        house.stage.entered().await;
        let gauges = house.server.gauges();
        drop(house);
        assert!(wire.ends().await);
        until(|| gauges.active_connections() == 0).await;
    });
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("https://a.test{path}")).body(Full::default()).unwrap()
}

/// A connection that has just become a tunnel.
async fn switch(house: &House, early: &str) -> Wire {
    let mut wire = house.ring().await;
    let head = "GET /switch HTTP/1.1\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    wire.say(format!("{head}{early}")).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    wire
}

/// The whole answer of the clear-text listener.
async fn plain(house: &House, request: &str) -> String {
    let mut stream = TcpStream::connect(house.server.http_addresses()[0]).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn presented(wire: &Wire) -> &rustls_pki_types::CertificateDer<'static> {
    &wire.0.get_ref().get_ref().1.peer_certificates().unwrap()[0]
}

/// Waits for what another thread is about to do.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        std::thread::yield_now();
        tokio::task::yield_now().await;
    }
}

/// A deadline that is to pass.
const SHORT: Duration = Duration::from_millis(300);

/// A deadline that is not to pass.
const LONG: Duration = Duration::from_mins(1);
