//! How the gateway ends.

use std::net::TcpStream;
use std::thread;

use crate::harness::backend::HELLO;
use crate::harness::{After, Backend, Gateway, Setup, eventually};

#[test]
fn a_request_under_way_is_finished_and_nobody_new_is_let_in() {
    let backend = Backend::with(|peer| {
        peer.wait();
        peer.write(HELLO);
        After::KeepAlive
    });
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let address = gateway.address();
    let (one, two) = (gateway.visitor(), gateway.visitor().over_h2());
    let answers = thread::scope(|scope| {
        let asking = [scope.spawn(move || one.get("/public")), scope.spawn(move || two.get("/public"))];
        backend.received();
        backend.received();
        gateway.terminate();
        gateway.line_with(&["stopping"]);
        eventually("a refused connection", || TcpStream::connect(address).err());
        backend.release();
        backend.release();
        asking.map(|asker| asker.join().expect("an answer"))
    });
    for answer in answers {
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }
    let (code, printed, _folder) = gateway.ended();
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("stopped cut_requests=0 cut_tunnels=0"), "{printed}");
}

#[test]
fn idle_connections_are_closed_after_a_last_call() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let multiplexed = gateway.visitor().over_h2();
    assert_eq!(multiplexed.get("/public").status, 200);
    let mut fresh = gateway.raw();
    let mut used = gateway.raw();
    assert_eq!(used.write("GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n").response().status, 200);
    gateway.terminate();
    assert!(used.is_closed() && fresh.is_closed());
    let (code, printed, folder) = gateway.ended();
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("stopped cut_requests=0 cut_tunnels=0"), "{printed}");
    assert!(!folder.path("admin.sock").exists());
    assert!(folder.read("audit.log").trim_end().ends_with("\"event\":\"sys_shutdown\"}"));
    assert!(multiplexed.ask("GET", "/public").try_send().is_err());
}

#[test]
fn what_does_not_end_in_time_is_cut_and_counted() {
    let silent = Backend::silent();
    let tunnel = Backend::echoing_tunnel();
    let setup = Setup::in_front_of(&silent.url())
        .upstream("tunnel", &tunnel.url())
        .route("path = '/public/ws'; upstream = 'tunnel'; access = 'public'")
        .set("server.drain", "'1s'");
    let gateway = Gateway::spawn(&setup);
    let mut asking = gateway.raw();
    asking.write("GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n");
    silent.received();
    let mut talking = gateway.raw();
    talking.write(
        "GET /public/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(talking.response().status, 101);
    gateway.terminate();
    gateway.line_with(&["stopping"]);
    assert_eq!(talking.write("still there").exactly(11), b"still there");
    assert!(talking.is_closed());
    assert!(asking.try_response().is_none());
    let (code, printed, _folder) = gateway.ended();
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("stopped cut_requests=1 cut_tunnels=1"), "{printed}");
}

#[test]
fn sigint_stops_in_the_same_good_order() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    gateway.interrupt();
    let (code, printed, _folder) = gateway.ended();
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("stopped cut_requests=0 cut_tunnels=0"), "{printed}");
}
