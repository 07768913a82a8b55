//! Requests that no honest client sends: refused by name, and nothing of them reaches a backend.

use crate::harness::{Backend, Gateway, Setup};

#[test]
fn a_request_whose_framing_is_in_doubt_is_refused_and_its_connection_closed() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (attack, lines) in FRAMING {
        assert_refused_and_closed(&gateway, attack, lines);
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_length_beside_a_coding_is_ignored_and_the_connection_closed_behind_the_body() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (attack, lines) in LENGTH_AND_CODING {
        let mut socket = gateway.raw();
        let head = format!("POST /public HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        socket.write(head + SMUGGLED).response();
        assert!(socket.is_closed(), "{attack}");
        let received = backend.received();
        assert_eq!(received.target(), "/public", "{attack}");
        assert_eq!(received.values("content-length"), [""; 0], "{attack}");
    }
    assert_eq!(backend.requests(), LENGTH_AND_CODING.len(), "nothing was smuggled");
}

#[test]
fn a_transfer_coding_on_http_1_0_is_refused_and_its_connection_closed() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let mut socket = gateway.raw();
    let answer = socket
        .write("POST /public HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .response();
    assert_eq!(answer.status, 400, "{}", answer.head);
    assert!(socket.is_closed());
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_head_that_is_no_head_is_refused_and_its_connection_closed() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (attack, head) in HEADS {
        let mut socket = gateway.raw();
        let answer = socket.write(format!("{head}\r\n\r\n")).response();
        assert_eq!(answer.status, 400, "{attack}: {}", answer.head);
        assert!(socket.is_closed(), "{attack}");
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_request_for_no_host_or_for_two_is_refused() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (attack, head) in HOSTS {
        let answer = gateway.raw().write(format!("{head}\r\n\r\n")).response();
        assert_eq!(answer.status, 400, "{attack}: {}", answer.head);
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_path_that_has_no_single_reading_is_refused_where_rules_differ() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for path in BROKEN_PATHS.iter().chain(&AMBIGUOUS_PATHS) {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = gateway.raw().write(head).response();
        assert_eq!(answer.status, 400, "{path}: {}", answer.head);
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_fragment_in_the_target_reaches_no_backend() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    gateway.raw().write("GET /public#/admin HTTP/1.1\r\nHost: localhost\r\n\r\n").response();
    assert_eq!(backend.received().target(), "/public");
}

#[test]
fn a_host_where_everything_is_public_lets_ambiguous_paths_pass_and_no_broken_ones() {
    let backend = Backend::start();
    let setup = Setup::new()
        .upstream("app", &backend.url())
        .route("host = 'open.test'; upstream = 'app'; access = 'public'")
        .route("host = 'closed.test'; upstream = 'app'; access = 'login'");
    let gateway = Gateway::start(&setup);
    let ask = |host: &str, path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        gateway.raw().write(head).response().status
    };
    for path in ["/public/a%2Fb", "/a%5Cb", "/a;b=c/d", "/a%252Fb", "/a%3Bb"] {
        assert_eq!(ask("open.test", path), 200, "{path}");
        assert_eq!(backend.received().target(), path);
        assert_eq!(ask("closed.test", path), 400, "{path}");
    }
    for path in BROKEN_PATHS {
        assert_eq!(ask("open.test", path), 400, "{path}");
    }
    assert!(backend.saw_nothing());
}

#[test]
fn a_detour_cannot_lead_around_a_rule() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for path in [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/./admin",
        "//admin",
        "/%61dmin",
        "/public/.%2E/%61dmin/",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(gateway.raw().write(head).response().status, 401, "{path}");
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn methods_for_other_kinds_of_proxies_are_refused() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (line, statuses) in [
        ("CONNECT localhost:443", [400, 405]),
        ("CONNECT /public", [400, 405]),
        ("TRACE /public", [405, 405]),
        ("OPTIONS *", [400, 400]),
        ("GET *", [400, 400]),
    ] {
        let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = gateway.raw().write(head).response();
        assert!(statuses.contains(&answer.status), "{line}: {}", answer.head);
    }
    assert_eq!(backend.requests(), 0);
}

#[track_caller]
fn assert_refused_and_closed(gateway: &Gateway, attack: &str, lines: &str) {
    let head = format!("POST /public HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    let mut socket = gateway.raw();
    let answer = socket.write(head + SMUGGLED).response();
    assert_eq!(answer.status, 400, "{attack}: {}", answer.head);
    assert_eq!(answer.header("connection"), "close", "{attack}: {}", answer.head);
    assert!(socket.is_closed(), "{attack}");
}

/// An empty chunked body, and what would be a request of its own to whoever reads it differently.
const SMUGGLED: &str = "0\r\n\r\nGET /public/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Both ways to say where a body ends, which RFC 9112 section 6.1 calls an attempt at smuggling.
const LENGTH_AND_CODING: [(&str, &str); 2] = [
    ("a length before a coding", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ("a length after a coding", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
];

/// Header lines after which two readers could disagree where the request ends.
const FRAMING: [(&str, &str); 17] = [
    ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
    ("two lengths in one line", "Content-Length: 5, 6\r\n"),
    ("a length with a sign", "Content-Length: +5\r\n"),
    ("a negative length", "Content-Length: -5\r\n"),
    ("a length in hexadecimal", "Content-Length: 0x5\r\n"),
    ("an empty length", "Content-Length:\r\n"),
    ("a length beyond all numbers", "Content-Length: 99999999999999999999999\r\n"),
    ("a coding before chunked", "Transfer-Encoding: gzip, chunked\r\n"),
    ("a coding after chunked", "Transfer-Encoding: chunked, gzip\r\n"),
    ("an unknown coding", "Transfer-Encoding: xchunked\r\n"),
    ("identity", "Transfer-Encoding: identity\r\n"),
    ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n"),
    ("two lines of coding", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ("a vertical tab before chunked", "Transfer-Encoding: \u{b}chunked\r\n"),
    ("a space before the colon", "Transfer-Encoding : chunked\r\n"),
    ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n"),
    ("a coding behind a bare CR", "X: a\rTransfer-Encoding: chunked\r\n"),
];

/// Heads that no reader should accept.
const HEADS: [(&str, &str); 11] = [
    ("a space before the colon", "GET /public HTTP/1.1\r\nHost : localhost"),
    ("a folded line", "GET /public HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b"),
    ("a first line that is folded", "GET /public HTTP/1.1\r\n Host: localhost\r\nHost: localhost"),
    ("a NUL in a value", "GET /public HTTP/1.1\r\nHost: localhost\r\nX: a\0b"),
    ("a NUL in a name", "GET /public HTTP/1.1\r\nHost: localhost\r\nX\0Y: a"),
    ("a bare CR in a value", "GET /public HTTP/1.1\r\nHost: localhost\r\nX: a\rb"),
    ("a line without a colon", "GET /public HTTP/1.1\r\nHost: localhost\r\nnonsense"),
    ("an empty name", "GET /public HTTP/1.1\r\nHost: localhost\r\n: x"),
    ("another version", "GET /public HTTP/1.2\r\nHost: localhost"),
    ("a method that is no token", "GE(T /public HTTP/1.1\r\nHost: localhost"),
    ("a control character in the path", "GET /pub\u{1}lic HTTP/1.1\r\nHost: localhost"),
];

/// Heads that do not say which site is meant.
const HOSTS: [(&str, &str); 12] = [
    ("two hosts", "GET /public HTTP/1.1\r\nHost: localhost\r\nHost: evil.test"),
    ("the same host twice", "GET /public HTTP/1.1\r\nHost: localhost\r\nHost: localhost"),
    ("no host", "GET /public HTTP/1.1\r\nX: y"),
    ("no host on HTTP/1.0", "GET /public HTTP/1.0\r\nX: y"),
    ("an empty host", "GET /public HTTP/1.1\r\nHost:"),
    ("another host in the target", "GET https://evil.test/public HTTP/1.1\r\nHost: localhost"),
    ("another port in the target", "GET https://localhost:1/public HTTP/1.1\r\nHost: localhost:2"),
    ("a host with user info", "GET /public HTTP/1.1\r\nHost: a@localhost"),
    ("a host with a path", "GET /public HTTP/1.1\r\nHost: localhost/x"),
    ("a host with a list", "GET /public HTTP/1.1\r\nHost: localhost, evil.test"),
    ("a host with a strange port", "GET /public HTTP/1.1\r\nHost: localhost:99999"),
    ("a host outside ASCII", "GET /public HTTP/1.1\r\nHost: l\u{f6}calhost"),
];

/// Paths without any reading.
const BROKEN_PATHS: [&str; 12] = [
    "/..",
    "/../public",
    "/public/../../x",
    "/%2e%2e/",
    "/public/%2E%2e/%2e./x",
    "/%",
    "/%4",
    "/%zz",
    "/a%00b",
    "/a%0d%0aX:%20y",
    "/a%7f",
    "public",
];

/// Paths that a backend could read in another way.
const AMBIGUOUS_PATHS: [&str; 10] = [
    "/public%2fadmin",
    "/public/..%2Fadmin",
    "/public%5cadmin",
    "/public\\..\\admin",
    "/public;/admin",
    "/public/..;/admin",
    "/public%3Bx",
    "/public%252fadmin",
    "/public%25252e",
    "/public/%u002e",
];
