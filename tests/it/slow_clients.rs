//! Clients that send or read byte by byte: cut when they are slower than `server.limits.min_rate`, and never
//! for what a backend or an honest silence takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use http::Response;

use crate::harness::backend::HELLO;
use crate::harness::frames::End;
use crate::harness::{After, Backend, Client, Frames, Gateway, H2Backend, Raw, Setup, Upload, eventually};

#[test]
fn an_upload_that_drips_is_cut() {
    let backend = Backend::start();
    let gateway = Gateway::start(&asking_for("1KB", &backend));
    let mut raw = gateway.raw();
    let sent = drip(&mut raw);
    assert!(sent < LENGTH, "{sent}");
    assert_eq!(raw.response().status, 408);
    let (body, pieces) = Upload::in_pieces();
    let is_over = AtomicBool::new(false);
    let answer = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                pieces.send("x");
                thread::park_timeout(TICK);
            }
        });
        let answer = gateway.visitor().over_h2().ask("POST", "/public").body(body).try_send();
        is_over.store(true, Ordering::Relaxed);
        answer
    });
    assert_eq!(answer.map(|answer| answer.status), Ok(408));
    assert_eq!(backend.requests(), 0, "no part was taken for the whole");
}

#[test]
fn an_upload_that_keeps_the_rate_arrives_however_small_its_pieces() {
    let backend = Backend::start();
    for rate in ["10B", "0"] {
        let gateway = Gateway::start(&asking_for(rate, &backend));
        let mut raw = gateway.raw();
        assert_eq!(drip(&mut raw), LENGTH, "{rate}");
        assert_eq!(raw.response().status, 200, "{rate}");
        assert_eq!(backend.received().body.len(), LENGTH, "{rate}");
    }
}

#[test]
fn a_reader_that_is_too_slow_is_cut_and_gets_everything_where_none_is() {
    let backend = Backend::with(|peer| {
        peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        peer.write(vec![b'x'; LARGE]);
        After::KeepAlive
    });
    let read_from = |rate| sip(&mut Gateway::start(&asking_for(rate, &backend)).raw());
    let read = read_from("100MB");
    assert!(read < LARGE, "{read}");
    assert!(read_from("0") > LARGE);
}

#[test]
fn a_stream_whose_client_takes_a_few_bytes_at_a_time_is_reset() {
    let backend = Backend::with(|peer| {
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        peer.write("8\r\nxxxxxxxx\r\n".repeat(400) + "0\r\n\r\n");
        After::KeepAlive
    });
    for (rate, end) in [("100KB", End::Reset), ("0", End::Complete)] {
        let gateway = Gateway::start(&asking_for(rate, &backend));
        let mut client = Frames::open_with(gateway.raw_h2(), 0);
        client.ask(1, "/public");
        assert_eq!(client.status_of(1), Some(200));
        for _ in 0..60 {
            client.grant(1, 8);
            thread::park_timeout(TICK);
        }
        client.grant(1, 1 << 20);
        assert_eq!(client.end_of(1), end, "{rate}");
    }
}

#[test]
fn a_slow_backend_is_not_held_against_its_client() {
    let backend = Backend::with_head(|peer| {
        let upload = peer.request.header("content-length").parse().unwrap_or(0);
        // Longer than the window; meanwhile the client waits, not the gateway.
        thread::park_timeout(STALL * 2);
        let mut taken = 0;
        while taken < upload {
            taken += peer.read_some().map_or(upload, |bytes| bytes.len());
        }
        peer.write(HELLO.replace("Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n"));
        for _ in 0..40 {
            peer.write("1\r\nx\r\n");
            thread::park_timeout(TICK);
        }
        peer.write("0\r\n\r\n");
        After::Close
    });
    let gateway = Gateway::start(&asking_for("1MB", &backend));
    let ask = |visitor: Client| visitor.ask("POST", "/public").body(Upload::Pattern(24 << 20)).send();
    let answers = thread::scope(|scope| {
        let asking = [gateway.visitor(), gateway.visitor().over_h2()].map(|it| scope.spawn(move || ask(it)));
        asking.map(|asker| asker.join().expect("an answer"))
    });
    for answer in answers {
        assert_eq!((answer.status, answer.body.len()), (200, 40));
    }
}

#[test]
fn an_upload_that_only_says_that_it_is_a_call_may_not_stand_still() {
    let (plain, silent) =
        (Backend::start(), H2Backend::with(|mut call| async move { drop(call.rest().await) }));
    for url in [plain.url(), silent.url()] {
        let gateway = Gateway::start(&patient(Setup::in_front_of(&url)));
        let (body, pieces) = Upload::in_pieces();
        pieces.send("begun");
        let caller = gateway.visitor().over_h2();
        let ask = caller.ask("POST", "/public").header("content-type", "application/grpc").body(body);
        let told = ask.try_send().map(|answer| (answer.status, answer.header("grpc-status").to_owned()));
        assert_eq!(told, Ok((200, UNAVAILABLE.to_owned())), "{url}");
    }
}

#[test]
fn a_call_that_was_answered_to_its_end_may_not_stand_still_either() {
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let backend = H2Backend::with(move |mut call| {
        let over = Arc::clone(&over);
        async move {
            let head = Response::builder().header("content-type", "application/grpc");
            call.begin_reply(head).data("done").trailers(&[("grpc-status", "0")]);
            while call.piece().await.is_some() {}
            over.store(true, Ordering::Relaxed);
        }
    });
    let gateway = Gateway::start(&patient(Setup::in_front_of(&backend.url())));
    let (body, pieces) = Upload::in_pieces();
    pieces.send("begun");
    let caller = gateway.visitor().over_h2();
    let ask = caller.ask("POST", "/public").header("content-type", "application/grpc").body(body);
    assert_eq!(ask.stream().trailers()["grpc-status"], "0");
    eventually("the end of the upload", || is_over.load(Ordering::Relaxed).then_some(()));
}

/// Clients that are waited for must move so much a second.
fn asking_for(rate: &str, backend: &Backend) -> Setup {
    patient(Setup::in_front_of(&backend.url())).set("server.limits.min_rate", &format!("'{rate}'"))
}

/// Waits for clients for [`STALL`].
fn patient(setup: Setup) -> Setup {
    setup.set("server.limits.body_stall", &format!("'{}ms'", STALL.as_millis()))
}

/// Sends a body, a byte at a tick, until it is whole or an answer comes; how much was sent.
fn drip(raw: &mut Raw) -> usize {
    let head = format!("POST /public HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LENGTH}\r\n\r\n");
    raw.write(head);
    (0..LENGTH).take_while(|_| raw.stands_still_for(TICK) && raw.try_write("x")).count()
}

/// Reads an answer, some bytes at a tick, until the connection ends; how much came.
fn sip(raw: &mut Raw) -> usize {
    raw.write("GET /public HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut bytes = 0;
    loop {
        let more = raw.exactly(SIP).len();
        bytes += more;
        if more < SIP {
            return bytes;
        }
        thread::park_timeout(TICK / 2);
    }
}

const STALL: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(20);
/// Of an upload that drips: more than twice the window in ticks.
/// The status in the terms of gRPC (14) for a request that did not arrive in time.
const UNAVAILABLE: &str = "14";

const LENGTH: usize = 60;
/// More than all buffers between a backend and a client hold.
const LARGE: usize = 32 << 20;
const SIP: usize = 128 << 10;
