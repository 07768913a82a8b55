//! Answers that no honest backend gives: a 502 or a body that breaks off, and a connection that is dropped.

use crate::harness::{After, Backend, Client, Gateway, Setup};

#[test]
fn an_answer_whose_end_is_in_doubt_is_a_502_and_its_connection_is_dropped() {
    let backend = Backend::with(|peer| {
        let (_, head) = HEADS[index(peer.request.target())];
        peer.write(format!("{head}\r\n\r\n0\r\n\r\n"));
        After::KeepAlive
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in both(&gateway) {
        for (number, (fault, _)) in HEADS.iter().enumerate() {
            let answer = visitor.get(&format!("/public/{number}"));
            assert_eq!(answer.status, 502, "{fault}");
            assert_eq!(answer.values("x-own"), [""; 0], "{fault}");
        }
    }
    assert_eq!(backend.connections(), 2 * HEADS.len(), "a connection in doubt is used once");
}

#[test]
fn a_body_in_broken_chunks_never_ends_cleanly() {
    let backend = Backend::with(|peer| {
        let chunks = CHUNKS[index(peer.request.target())];
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n");
        peer.wait();
        peer.write(chunks);
        After::KeepAlive
    });
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (number, chunks) in CHUNKS.iter().enumerate() {
        for visitor in both(&gateway) {
            let mut answer = visitor.ask("GET", &format!("/public/{number}")).stream();
            backend.release();
            let mut end = answer.try_piece();
            while matches!(end, Ok(Some(_))) {
                end = answer.try_piece();
            }
            assert!(end.is_err(), "{chunks:?} ended cleanly");
        }
    }
    assert_eq!(backend.connections(), 2 * CHUNKS.len(), "a connection in doubt is used once");
}

#[test]
fn an_answer_to_nobody_is_nobodys_answer() {
    for first in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n",
    ] {
        let backend = Backend::with(move |peer| {
            match peer.number {
                0 => peer.write(format!("{first}HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled")),
                _ => peer.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"),
            };
            After::KeepAlive
        });
        let setup = Setup::in_front_of(&backend.url()).set("server.workers", "1");
        let gateway = Gateway::start(&setup);
        assert!(gateway.visitor().get("/public").status < 400, "{first}");
        assert_eq!(gateway.visitor().get("/public").text(), "second", "{first}");
        assert_eq!(backend.connections(), 2, "{first}");
    }
}

#[test]
fn the_body_of_an_answer_to_head_is_nobodys_answer() {
    let backend = Backend::with(|peer| {
        let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
        match peer.request.method() {
            "HEAD" => {
                peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()))
            }
            _ => peer.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"),
        };
        After::KeepAlive
    });
    let setup = Setup::in_front_of(&backend.url()).set("server.workers", "1");
    let gateway = Gateway::start(&setup);
    assert_eq!(gateway.visitor().ask("HEAD", "/public").send().status, 200);
    assert_eq!(gateway.visitor().get("/public").text(), "second");
}

#[test]
fn a_flood_of_interim_answers_ends_with_the_time_for_an_answer() {
    let backend = Backend::with(|peer| {
        let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100);
        while peer.request.target() == "/flood" && peer.write(&flood) {}
        peer.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        After::KeepAlive
    });
    let servers = format!("servers = ['{}']; response_timeout = '300ms'", backend.url());
    let setup = Setup::new()
        .set("server.workers", "1")
        .upstream_with("app", &servers)
        .route("upstream = 'app'; access = 'public'");
    let gateway = Gateway::start(&setup);
    for visitor in both(&gateway) {
        assert_eq!(visitor.get("/flood").status, 504);
        assert_eq!(visitor.get("/").text(), "ok", "others are served");
    }
}

/// A client for each version of HTTP.
fn both(gateway: &Gateway) -> [Client; 2] {
    [gateway.visitor(), gateway.visitor().over_h2()]
}

/// The number at the end of a path.
fn index(target: &str) -> usize {
    target.rsplit('/').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Heads after which two readers could disagree where the answer ends, or that are none.
const HEADS: [(&str, &str); 20] = [
    ("a length beside a coding", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"),
    ("a coding beside a length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0"),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6"),
    ("the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5"),
    ("the same length twice in one line", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5"),
    ("two lengths of nothing", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nContent-Length: 6"),
    ("a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +5"),
    ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5"),
    ("a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: five"),
    ("a length beyond all numbers", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999"),
    ("a coding before chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked"),
    ("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked"),
    ("chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ("a coding on HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked"),
    ("a folded line", "HTTP/1.1 200 OK\r\nX-Own: a\r\n b\r\nContent-Length: 5"),
    ("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 5"),
    ("a NUL in a value", "HTTP/1.1 200 OK\r\nX-Own: a\0b\r\nContent-Length: 5"),
    ("a bare CR in a value", "HTTP/1.1 200 OK\r\nX-Own: a\rb\r\nContent-Length: 5"),
    ("a line without a colon", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 5"),
    ("another version", "HTTP/1.7 200 OK\r\nContent-Length: 5"),
];

/// What comes behind a first chunk and is none.
const CHUNKS: [&str; 8] = [
    "+4\r\npart\r\n0\r\n\r\n",
    "0x4\r\npart\r\n0\r\n\r\n",
    " 4\r\npart\r\n0\r\n\r\n",
    "\r\n0\r\n\r\n",
    "10000000000000000\r\npart\r\n0\r\n\r\n",
    "4\npart\n0\n\n",
    "4\r\npart0\r\n\r\n",
    "0\r\nX\0: y\r\n\r\n",
];
