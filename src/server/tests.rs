//! The server over real sockets: TLS, HTTP/1.1 and HTTP/2, deadlines, early errors, and its end.

mod deadlines;
mod ends;
mod handshakes;
mod heads;
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
fn each_worker_has_its_share_of_connections() {
    play(async {
        let house = House::with(|config| config.workers = 3);
        let (mut wires, mut workers) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            let mut wire = house.ring().await;
            workers.push(wire.get("/worker").await.1);
            wires.push(wire);
        }
        workers.sort();
        assert_eq!(workers, ["worker-0", "worker-0", "worker-1", "worker-1", "worker-2", "worker-2"]);
    });
}

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
