//! WebSockets of clients that speak HTTP/2, to backends that speak HTTP/1.1.

use std::time::Duration;

use http::Response;
use hyper::body::Incoming;

use crate::harness::h2_socket::{H2Socket, echo, switch};
use crate::harness::{After, Backend, Client, Gateway, Setup, eventually};

#[test]
fn bytes_pass_both_ways_beside_other_requests() {
    let (gateway, visitor, backend) = signed_in(echo());
    let mut one = H2Socket::open(&visitor, "/ws/1?x=%2F");
    let mut other = H2Socket::open(&visitor, "/ws/2");
    assert_eq!(one.write("first").exactly(5), b"first");
    let large = vec![b'x'; 1 << 20];
    let mut came = Vec::new();
    for piece in large.chunks(64 * 1024) {
        came.extend(other.write(piece).exactly(piece.len()));
    }
    assert!(came == large, "every byte came back");
    let seen = backend.received();
    assert_eq!((seen.method(), seen.target()), ("GET", "/ws/1?x=%2F"));
    assert_eq!((seen.header("upgrade"), seen.header("connection")), ("websocket", "upgrade"));
    assert_eq!((seen.header("host"), seen.header("x-user-id")), (&*visitor.authority(), "alice"));
    assert_eq!((seen.header("sec-websocket-version"), seen.header("cookie")), ("13", ""));
    assert_ne!(seen.header("sec-websocket-key"), backend.received().header("sec-websocket-key"));
    one.finish_writing();
    assert!(one.rest().is_empty());
    // The other streams of the connection go on.
    assert_eq!(other.write("still there").exactly(11), b"still there");
    assert_eq!(visitor.get("/.vestibule/account").status, 200);
    // With a socket open, the gateway would wait for it.
    drop(other);
    drop(gateway);
}

#[test]
fn an_idle_socket_outlives_every_time_limit_of_requests() {
    let mut setup = Setup::new();
    let backend = echo();
    for limit in ["handshake", "request_head", "keep_alive", "body_stall"] {
        setup = setup.set(&format!("server.limits.{limit}"), "'1s'");
    }
    let gateway =
        Gateway::start(&setup.upstream("app", &backend.url()).route("upstream = 'app'; access = 'public'"));
    let mut socket = H2Socket::open(&met(gateway.visitor()), "/ws");
    std::thread::park_timeout(Duration::from_millis(2500));
    assert_eq!(socket.write("still there").exactly(11), b"still there");
}

#[test]
fn a_socket_is_closed_with_4401_by_a_logout_and_its_connection_goes_on() {
    let (gateway, visitor, backend) = signed_in(echo());
    let mut socket = H2Socket::open(&visitor, "/ws");
    visitor.second_tab().sign_out();
    let last = socket.rest();
    assert_eq!((last[0], &last[2..4]), (0x88, &4401_u16.to_be_bytes()[..]));
    eventually("the end at the backend", || (backend.open_connections() == 0).then_some(()));
    assert_eq!(visitor.get("/ws").status, 401);
    drop(gateway);
}

#[test]
fn a_socket_ends_with_its_client_and_with_its_backend() {
    let (_gateway, visitor, backend) = signed_in(echo());
    drop(H2Socket::open(&visitor, "/ws"));
    eventually("the end at the backend", || (backend.open_connections() == 0).then_some(()));
    let mut socket = H2Socket::open(&visitor, "/ws");
    socket.write("x").exactly(1);
    drop(backend);
    assert!(socket.rest().is_empty());
}

#[test]
fn who_may_not_pass_gets_no_tunnel_and_nothing_reaches_the_backend() {
    let backend = echo();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = met(gateway.visitor());
    assert_eq!(visitor.ask_for_websocket("/ws").status(), 401);
    let visitor = met(gateway.visitor()).signed_in_as("alice");
    assert_eq!(visitor.ask_for_websocket("/admin/ws").status(), 403);
    assert_eq!(visitor.ask_for_websocket("/closed/ws").status(), 403);
    assert!(backend.saw_nothing());
}

#[test]
fn a_switch_that_does_not_answer_our_key_is_no_websocket() {
    let (_gateway, visitor, _backend) = signed_in(Backend::with_head(|peer| {
        switch(peer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        peer.wait();
        After::Close
    }));
    assert_eq!(visitor.ask_for_websocket("/ws").status(), 502);
}

#[test]
fn an_answer_that_does_not_switch_never_looks_like_a_tunnel() {
    let (_gateway, visitor, backend) = signed_in(Backend::start());
    assert_eq!(visitor.ask_for_websocket("/ws").status(), 501);
    assert_eq!(visitor.ask_for_websocket("/.vestibule/login").status(), 501);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_refusal_of_the_backend_passes() {
    let refusal = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 3\r\n\r\nno\n";
    let (_gateway, visitor, _backend) = signed_in(Backend::answering(refusal));
    let answer: Response<Incoming> = visitor.ask_for_websocket("/ws");
    assert_eq!(answer.status(), 426);
}

fn signed_in(backend: Backend) -> (Gateway, Client, Backend) {
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = met(gateway.visitor()).signed_in_as("alice");
    (gateway, visitor, backend)
}

/// A visitor over HTTP/2 who has heard what the gateway allows.
fn met(visitor: Client) -> Client {
    let visitor = visitor.over_h2();
    visitor.get("/.vestibule/login");
    visitor
}
