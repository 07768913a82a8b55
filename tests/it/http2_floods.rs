//! Clients that abuse HTTP/2: each is sent away or does no harm, the gateway's memory stays, and a
//! visitor is served meanwhile.

use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, End, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame, head, text,
};
use crate::harness::{After, Backend, Frames, Gateway, Setup};

#[test]
fn requests_that_are_taken_back_at_once_end_the_connection() {
    let flood = Flood::new();
    let mut client = flood.client();
    let taken_back = |stream| {
        let ask = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("localhost", "/", &[]));
        [ask, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    client.pour(streams().take(20_000).map(taken_back));
    assert!(client.is_sent_away());
    flood.did_no_harm();
}

#[test]
fn a_head_that_never_ends_ends_the_connection() {
    let flood = Flood::new();
    let mut client = flood.client();
    client.send(&frame(HEADERS, END_STREAM, 1, &head("localhost", "/", &[])));
    let field = [&[0x00][..], &text("x"), &text(&"y".repeat(16_000))].concat();
    client.pour((0..4_000).map(|_| frame(CONTINUATION, 0, 1, &field)));
    assert!(client.is_sent_away());
    flood.did_no_harm();
}

#[test]
fn a_head_in_endless_empty_parts_ends_the_connection() {
    let flood = Flood::new();
    let mut client = flood.client();
    client.send(&frame(HEADERS, END_STREAM, 1, &head("localhost", "/", &[])));
    client.pour((0..100_000).map(|_| frame(CONTINUATION, 0, 1, &[])));
    assert!(client.is_sent_away());
    flood.did_no_harm();
}

#[test]
fn settings_and_pings_without_end_cost_no_memory() {
    for kind in [SETTINGS, PING] {
        let flood = Flood::new();
        let mut client = flood.client();
        let payload: &[u8] = if kind == PING { &[0; 8] } else { &[] };
        // The answers are not read: the gateway must not keep them.
        client.pour((0..500_000).map(|_| frame(kind, 0, 0, payload)));
        flood.did_no_harm();
    }
}

#[test]
fn priorities_and_unknown_frames_without_end_cost_nothing() {
    let flood = Flood::new();
    let mut client = flood.client();
    client.pour(streams().take(200_000).map(|stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 16])));
    client.pour((0..200_000).map(|_| frame(0xaa, 0, 0, b"what?")));
    flood.did_no_harm();
}

#[test]
fn empty_pieces_of_a_body_end_the_connection() {
    let flood = Flood::new();
    let mut client = flood.client();
    client.send(&frame(HEADERS, END_HEADERS, 1, &head("localhost", "/", &[])));
    client.pour((0..200_000).map(|_| frame(DATA, 0, 1, &[])));
    assert!(client.is_sent_away());
    flood.did_no_harm();
}

#[test]
fn empty_heads_end_the_connection() {
    let flood = Flood::new();
    let mut client = flood.client();
    client.pour(streams().take(50_000).map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &[])));
    assert!(client.is_sent_away());
    flood.did_no_harm();
}

#[test]
fn streams_that_the_gateway_is_made_to_reset_end_the_connection() {
    let flood = Flood::new();
    let mut client = flood.client();
    let broken = |stream| {
        let ask = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("localhost", "/", &[]));
        // An increment of nothing is an error of the stream (RFC 9113 section 6.9).
        [ask, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
    };
    client.pour(streams().take(20_000).map(broken));
    assert!(client.is_sent_away());
    flood.did_no_harm();
}

#[test]
fn a_small_head_that_unpacks_to_a_large_one_is_refused() {
    let flood = Flood::new();
    let mut client = flood.client();
    // One field goes into the dynamic table (0x40), and is named sixteen thousand times by one byte each (0xbe).
    let bomb = |stream| {
        let field = [&[0x40][..], &text("x"), &text(&"y".repeat(4_000))].concat();
        let block = [head("localhost", "/", &[]), field].concat();
        let fill = vec![0xbe; 16_000 - block.len()];
        [
            frame(HEADERS, END_STREAM, stream, &[block, fill].concat()),
            frame(CONTINUATION, END_HEADERS, stream, &[0xbe; 16_000]),
        ]
        .concat()
    };
    client.send(&bomb(1));
    assert!(matches!(client.status_of(1), Some(431) | None));
    client.pour(streams().skip(1).take(2_000).map(bomb));
    flood.did_no_harm();
}

#[test]
fn responses_that_nobody_takes_are_not_kept() {
    let flood = Flood::in_front_of(Backend::with(|peer| {
        peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        peer.write(vec![b'x'; LARGE]);
        After::Close
    }));
    let mut client = Frames::open_with(flood.gateway.raw_h2(), 0);
    for stream in streams().take(50) {
        client.ask(stream, "/");
    }
    for stream in streams().take(50) {
        assert_eq!(client.end_of(stream), End::Reset, "{stream}");
    }
    flood.did_no_harm();
}

#[test]
fn a_large_head_costs_no_more_than_ten_times_its_size() {
    let flood = Flood::in_front_of(Backend::silent());
    let value = "v".repeat(10 * 1024);
    let resident = flood.gateway.resident();
    let mut clients: Vec<Frames> = (0..8).map(|_| flood.client()).collect();
    for client in &mut clients {
        for stream in streams().take(50) {
            let block = head("localhost", "/", &[("cookie", &value)]);
            client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
        }
    }
    let mut single: Vec<_> = (0..200).map(|_| flood.gateway.raw()).collect();
    for raw in &mut single {
        raw.write(format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {value}\r\n\r\n"));
    }
    let requests = 8 * 50 + 200;
    for _ in 0..requests {
        flood.backend.received();
    }
    let each = flood.gateway.resident().saturating_sub(resident) / requests;
    assert!(each < 100, "{each} KiB for each request");
}

/// A gateway that is flooded, and what it was before.
struct Flood {
    gateway: Gateway,
    backend: Backend,
    resident: u64,
}

impl Flood {
    fn new() -> Self {
        Self::in_front_of(Backend::start())
    }

    fn in_front_of(backend: Backend) -> Self {
        let setup = Setup::new()
            .set("server.workers", "1")
            .set("server.limits.body_stall", "'1s'")
            .upstream_with("app", &format!("servers = ['{}']; max_connections = 2000", backend.url()))
            .route("upstream = 'app'; access = 'public'")
            .route("path = '/builtin'; upstream = 'builtin'; access = 'public'");
        let gateway = Gateway::spawn(&setup);
        assert_eq!(gateway.visitor().over_h2().get("/builtin").status, 200);
        let resident = gateway.resident();
        Self { gateway, backend, resident }
    }

    fn client(&self) -> Frames {
        Frames::open(self.gateway.raw_h2())
    }

    #[track_caller]
    fn did_no_harm(&self) {
        assert_eq!(self.gateway.visitor().over_h2().get("/builtin").status, 200);
        let grown = self.gateway.resident().saturating_sub(self.resident);
        assert!(grown < MOST_GROWTH, "{grown} KiB more");
    }
}

impl Frames {
    /// Sends as long as the gateway takes it.
    fn pour(&mut self, frames: impl Iterator<Item = Vec<u8>>) {
        let mut batch = Vec::new();
        for frame in frames {
            batch.extend(frame);
            if batch.len() > 32 * 1024 {
                if !self.send(&batch) {
                    return;
                }
                batch.clear();
            }
        }
        self.send(&batch);
    }
}

/// The streams that a client may open, in order.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// More than a stream has room for.
const LARGE: usize = 600 * 1024;

/// In KiB: what a flood may leave behind in an allocator and in buffers.
const MOST_GROWTH: u64 = 24 * 1024;
