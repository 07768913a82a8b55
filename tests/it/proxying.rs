//! What passes between client and backend, byte for byte and piece by piece.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue};

use crate::harness::backend::HELLO;
use crate::harness::{After, Backend, Client, Gateway, Setup, Upload, eventually};

#[test]
fn every_method_passes_with_its_path_and_query_byte_for_byte() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "X-own!"] {
            let target = "/public/a%20b/%C3%A9?x=%2f%2F&y=a;b&&z=[1]//../?";
            assert_eq!(visitor.ask(method, target).send().status, 200, "{method}");
            let request = backend.received();
            assert_eq!((request.method(), request.target()), (method, target));
        }
    }
}

#[test]
fn uploads_arrive_whole_with_a_length_and_in_chunks() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        assert_eq!(visitor.post("/public", "a\0b\r\n\r\nc").status, 200);
        let request = backend.received();
        assert_eq!((&*request.body, request.header("content-length")), (&b"a\0b\r\n\r\nc"[..], "8"));
        assert_eq!(request.values("transfer-encoding"), [""; 0]);
        let (body, pieces) = Upload::in_pieces();
        pieces.send("one,");
        pieces.send("two");
        drop(pieces);
        assert_eq!(visitor.ask("PUT", "/public").body(body).send().status, 200);
        let request = backend.received();
        assert_eq!((&*request.body, request.header("transfer-encoding")), (&b"one,two"[..], "chunked"));
        assert_eq!(request.values("content-length"), [""; 0]);
    }
}

#[test]
fn an_upload_reaches_the_backend_before_it_ends() {
    let backend = Backend::with_head(|peer| {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains("first") {
            read.extend(peer.read_some().expect("the first piece"));
        }
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ngot\r\n");
        while !read.ends_with(b"0\r\n\r\n") {
            read.extend(peer.read_some().expect("the rest"));
        }
        peer.write("3\r\nall\r\n0\r\n\r\n");
        After::Close
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        let (body, pieces) = Upload::in_pieces();
        pieces.send("first");
        let mut answer = visitor.ask("POST", "/public").body(body).stream();
        assert_eq!(answer.read(3), b"got");
        pieces.send("last");
        drop(pieces);
        assert_eq!(answer.read(3), b"all");
        assert_eq!(answer.piece(), None);
    }
}

#[test]
fn a_download_arrives_piece_by_piece() {
    let backend = Backend::with(|peer| {
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        peer.wait();
        peer.write("3\r\ntwo\r\n");
        peer.wait();
        peer.write("0\r\n\r\n");
        After::KeepAlive
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        let mut answer = visitor.ask("GET", "/public").stream();
        assert_eq!(answer.read(3), b"one");
        backend.release();
        assert_eq!(answer.read(3), b"two");
        backend.release();
        assert_eq!(answer.piece(), None);
    }
}

#[test]
fn large_bodies_pass_both_ways_without_losing_a_byte() {
    let backend = Backend::with_head(|peer| {
        let expected: u64 = peer.request.header("content-length").parse().unwrap_or(0);
        let mut read = 0;
        while read < expected {
            read += peer.read_some().expect("more of the upload").len() as u64;
        }
        peer.write(format!("HTTP/1.1 200 OK\r\nX-Read: {read}\r\nContent-Length: {LARGE}\r\n\r\n"));
        let piece = vec![b'y'; 1 << 20];
        for _ in 0..LARGE >> 20 {
            peer.write(&piece);
        }
        After::KeepAlive
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        let answer = visitor.ask("POST", "/public").body(Upload::Pattern(LARGE)).stream();
        assert_eq!(answer.headers["x-read"], LARGE.to_string());
        assert_eq!(answer.count(), Ok(LARGE));
    }
}

#[test]
fn trailers_pass_both_ways_and_carry_nothing_that_matters_before() {
    let backend = Backend::with(|peer| {
        peer.write(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie\r\n\r\n2\r\nhi\r\n0\r\n\
             X-Sum: 7\r\nSet-Cookie: a=b\r\nContent-Length: 3\r\n\r\n",
        );
        After::KeepAlive
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        let (body, pieces) = Upload::in_pieces();
        pieces.send("body");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-up", HeaderValue::from_static("1"));
        trailers.insert("authorization", HeaderValue::from_static("no"));
        pieces.trailers(trailers);
        let ask = visitor.ask("POST", "/public").header("te", "trailers");
        let answer = ask.header("trailer", "x-up, authorization").body(body).send();
        assert_eq!((answer.text(), answer.trailers.len()), ("hi".to_owned(), 1), "{:?}", answer.trailers);
        assert_eq!(answer.trailers["x-sum"], "7");
        assert_eq!(backend.received().trailers, "x-up: 1\r\n");
    }
}

#[test]
fn answers_without_a_body_pass_as_they_are() {
    let backend = Backend::with(|peer| {
        peer.write(match peer.request.target() {
            "/public/204" => "HTTP/1.1 204 No Content\r\nX-Own: 1\r\n\r\n",
            "/public/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\nX-Own: 1\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-Own: 1\r\n\r\n",
        });
        After::KeepAlive
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        for (method, path, status) in
            [("HEAD", "/public", 200), ("GET", "/public/204", 204), ("GET", "/public/304", 304)]
        {
            let answer = visitor.ask(method, path).header("if-none-match", "\"e\"").send();
            assert_eq!((answer.status, answer.header("x-own"), answer.body.len()), (status, "1", 0));
            assert_eq!(backend.received().header("if-none-match"), "\"e\"");
        }
        assert_eq!(visitor.ask("HEAD", "/public").send().header("content-length"), "12345");
        backend.received();
    }
    assert!(backend.connections() <= 2, "one for each worker at most");
}

#[test]
fn a_range_passes_both_ways() {
    let backend = Backend::answering(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-3/9\r\nContent-Length: 2\r\n\r\ncd",
    );
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let answer = gateway.visitor().ask("GET", "/public").header("range", "bytes=2-3").send();
    assert_eq!((answer.status, answer.header("content-range"), &*answer.text()), (206, "bytes 2-3/9", "cd"));
    assert_eq!(backend.received().header("range"), "bytes=2-3");
}

#[test]
fn the_backend_learns_the_way_of_a_request_from_us_alone() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (visitor, via) in both(&gateway).iter().zip(["1.1 vestibule", "2.0 vestibule"]) {
        let forged = FORGED_WAY
            .iter()
            .fold(visitor.ask("GET", "/public"), |ask, (name, value)| ask.header(name, value));
        let answer = forged.send();
        let request = backend.received();
        assert_eq!((request.header("host"), request.header("via")), (&*visitor.authority(), via));
        assert_eq!(request.folded("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(request.folded("x-forwarded-proto"), ["https"]);
        assert_eq!(request.folded("x-forwarded-host"), [&*visitor.authority()]);
        assert_eq!(request.folded("x-request-id"), [answer.header("x-request-id")]);
        for name in ["forwarded", "x-real-ip", "x-forwarded-port", "x-forwarded-server"] {
            assert_eq!(request.folded(name), [""; 0], "{name}");
        }
    }
}

#[test]
fn what_a_trusted_proxy_says_of_the_way_is_kept_and_extended() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url()).set("server.trusted_proxies", "['127.0.0.3']");
    let gateway = Gateway::start(&setup);
    let proxy = gateway.visitor().from("127.0.0.3");
    let ask = proxy
        .ask("GET", "/public")
        .header("x-forwarded-for", "203.0.113.7")
        .header("x-forwarded-for", "10.0.0.1");
    let ask = ask
        .header("x-forwarded-proto", "http")
        .header("x-forwarded-host", "shown.test")
        .header("via", "1.1 edge");
    assert_eq!(ask.send().status, 200);
    let request = backend.received();
    assert_eq!(request.header("x-forwarded-for"), "203.0.113.7, 10.0.0.1, 127.0.0.3");
    assert_eq!(
        (request.header("x-forwarded-proto"), request.header("x-forwarded-host")),
        ("http", "shown.test")
    );
    assert_eq!(request.values("via").join(", "), "1.1 edge, 1.1 vestibule");
}

#[test]
fn what_is_meant_for_one_connection_stays_on_it() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: x\r\nUpgrade: h2c\r\nX-Kept: 1\r\n\r\n",
    );
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let answer = gateway
        .visitor()
        .ask("GET", "/public")
        .header("connection", "x-hop, keep-alive")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "x")
        .header("te", "gzip")
        .header("x-kept", "1")
        .send();
    let request = backend.received();
    for name in ["x-hop", "keep-alive", "proxy-connection", "te", "upgrade", "connection"] {
        assert_eq!((answer.header(name), request.header(name)), ("", ""), "{name}");
    }
    assert_eq!((answer.header("x-kept"), request.header("x-kept")), ("1", "1"));
}

#[test]
fn a_connection_to_the_backend_is_used_again() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).set("server.workers", "1"));
    for _ in 0..5 {
        for visitor in both(&gateway) {
            assert_eq!(visitor.post("/public", "x").status, 200);
        }
    }
    assert_eq!((backend.connections(), backend.requests()), (1, 10));
}

#[test]
fn a_post_is_delivered_once_at_most_and_a_get_again_when_a_kept_connection_was_closed() {
    let backend = Backend::with(|peer| {
        // The connection is closed just when the second request on it is there.
        if peer.number == 1 || peer.number == 3 {
            return After::Close;
        }
        peer.write(HELLO);
        After::KeepAlive
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).set("server.workers", "1"));
    let visitor = gateway.visitor();
    assert_eq!(visitor.get("/public/0").status, 200);
    assert_eq!(visitor.get("/public/1").status, 200);
    assert_eq!(visitor.post("/public/3", "x").status, 502);
    let asked: Vec<_> = (0..4).map(|_| backend.received().target().to_owned()).collect();
    assert_eq!(asked, ["/public/0", "/public/1", "/public/1", "/public/3"]);
    assert!(backend.saw_nothing());
}

#[test]
fn an_answer_that_breaks_off_is_an_error_and_never_a_clean_end() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\npart",
    ] {
        let backend = Backend::closing_after(cut);
        let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
        for visitor in both(&gateway) {
            let mut answer = visitor.ask("GET", "/public").stream();
            assert_eq!(answer.status, 200);
            let mut end = answer.try_piece();
            while matches!(end, Ok(Some(_))) {
                end = answer.try_piece();
            }
            assert!(end.is_err(), "{cut:?} ended cleanly");
        }
    }
}

#[test]
fn a_slow_reader_slows_the_backend_down_and_still_gets_every_byte() {
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let backend = Backend::with(move |peer| {
        peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        let piece = vec![b'y'; 1 << 20];
        for _ in 0..LARGE >> 20 {
            peer.write(&piece);
            count.fetch_add(1 << 20, Ordering::SeqCst);
        }
        After::KeepAlive
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        written.store(0, Ordering::SeqCst);
        let mut answer = visitor.ask("GET", "/public").stream();
        let first = answer.read(1).len() as u64;
        // Others are served meanwhile, and what lies in buffers has an end.
        let mut before = 0;
        let buffered = eventually("an end of what is buffered", || {
            let other = gateway.visitor();
            assert!((0..20).all(|_| other.get("/.vestibule/ping").status == 200));
            let now = written.load(Ordering::SeqCst);
            (std::mem::replace(&mut before, now) == now && now > 0).then_some(now)
        });
        assert!(buffered < LARGE / 2, "{buffered} bytes went into buffers");
        assert_eq!(answer.count(), Ok(LARGE - first));
    }
}

/// A visitor for each protocol.
fn both(gateway: &Gateway) -> [Client; 2] {
    [gateway.visitor(), gateway.visitor().over_h2()]
}

const LARGE: u64 = 64 << 20;

/// What clients say about their way here to be taken for others.
const FORGED_WAY: [(&str, &str); 10] = [
    ("x-forwarded-for", "6.6.6.6"),
    ("x_forwarded_for", "6.6.6.6"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-host", "evil.test"),
    ("x-forwarded-port", "1"),
    ("x-forwarded-server", "evil.test"),
    ("forwarded", "for=6.6.6.6"),
    ("x-real-ip", "6.6.6.6"),
    ("x-request-id", "forged"),
    ("x_request_id", "forged"),
];
