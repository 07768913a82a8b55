//! What requests that share a connection to a backend of HTTP/2 can and cannot do to each other.

use http::Response;

use crate::harness::{Frames, Gateway, H2Backend, Relay, Setup};

#[test]
fn slow_readers_do_not_stop_the_request_beside_them() {
    let backend = H2Backend::with(|call| async move {
        let pieces = if call.head.uri.path() == "/slow" { 1 } else { LARGE / PIECE.len() };
        let mut reply = call.reply(Response::builder());
        for _ in 0..pieces {
            reply.send(&PIECE[..]);
        }
        reply.end();
    });
    let gateway = Gateway::start(&setup(&format!("servers = ['{}']", backend.url())));
    let mut readers = Frames::open_with(gateway.raw_h2(), 0);
    let streams: Vec<u32> = (0..99).map(|number| number * 2 + 1).collect();
    for stream in &streams {
        readers.ask(*stream, "/slow");
    }
    for stream in &streams {
        assert_eq!(readers.status_of(*stream), Some(200));
    }
    assert_eq!(gateway.visitor().ask("GET", "/").stream().count(), Ok(LARGE as u64));
    assert_eq!((backend.connections(), backend.seen().len()), (1, 100));
}

#[test]
fn a_connection_that_the_network_lost_is_left_after_the_first_request_that_meets_it() {
    let backend = H2Backend::start();
    let network = Relay::to(backend.address());
    let lines = format!("response_timeout = '1s'; servers = ['h2c://{}']", network.address());
    let gateway = Gateway::start(&setup(&lines));
    let visitor = gateway.visitor();
    assert_eq!(visitor.get("/").status, 200);
    network.lose_connections();
    assert_eq!([visitor.get("/").status, visitor.get("/").status], [504, 200]);
    assert_eq!(backend.connections(), 2);
}

/// One worker, so that it is known which requests meet.
fn setup(lines: &str) -> Setup {
    let public = "path = '/'; upstream = 'app'; access = 'public'";
    Setup::new().set("server.workers", "1").upstream_with("app", lines).route(public)
}

static PIECE: [u8; 512 << 10] = [b'x'; 512 << 10];
/// More than a backend may send ahead on a connection.
const LARGE: usize = 24 << 20;
