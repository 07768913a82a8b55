//! Requests that no honest client sends: refused by name, and nothing of them reaches a backend.

use crate::harness::{Backend, Gateway, Raw, Setup};

#[test]
fn a_request_whose_framing_is_in_doubt_is_refused_and_its_connection_closed() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (attack, lines) in FRAMING {
        for version in ["1.1", "1.0"] {
            let head = format!("POST /public HTTP/{version}\r\nHost: localhost\r\n{lines}\r\n");
            assert_refused_and_closed(gateway.raw().write(head + SMUGGLED), attack);
        }
    }
    let head = "POST /public HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_refused_and_closed(gateway.raw().write(head.to_owned() + SMUGGLED), "a coding on HTTP/1.0");
    assert_eq!(backend.connections(), 0, "nothing reached a backend");
}

#[test]
fn a_head_that_is_no_head_is_refused_and_its_connection_closed() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (attack, head) in HEADS.iter().chain(&HOSTS) {
        assert_refused_and_closed(gateway.raw().write(format!("{head}\r\n\r\n")), attack);
    }
    assert_eq!(backend.connections(), 0, "nothing reached a backend");
}

#[test]
fn a_malformed_request_is_refused_behind_the_answers_that_are_due() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let good = "POST /public HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n#\n";
    let framing = FRAMING.map(|(attack, lines)| {
        (attack, format!("POST /public HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{SMUGGLED}"))
    });
    let heads = HEADS.map(|(attack, head)| (attack, format!("{head}\r\n\r\n")));
    let hosts = HOSTS.map(|(attack, head)| (attack, format!("{head}\r\n\r\n")));
    let attacks = || framing.iter().chain(&heads).chain(&hosts);
    for (attack, bad) in attacks() {
        let mut socket = gateway.raw();
        let answer = socket.write(format!("{good}{bad}")).response();
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{attack}");
        assert_refused_and_closed(&mut socket, attack);
        assert_eq!(backend.received().body, b"#\n", "{attack}");
    }
    assert_eq!(backend.requests(), attacks().count(), "nothing else reached the backend");
}

#[test]
fn a_malformed_request_is_refused_however_it_is_cut_into_pieces() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (attack, lines) in FRAMING {
        let mut socket = gateway.raw();
        socket.write("POST /public HTTP/1.1\r\nHost: localhost\r\nUser-Agent: x");
        for piece in format!("\r\n{lines}\r\n").as_bytes().chunks(3) {
            socket.write(piece);
        }
        assert_refused_and_closed(&mut socket, attack);
    }
    assert_eq!(backend.connections(), 0, "nothing reached a backend");
}

#[test]
fn the_first_sign_of_a_flaw_is_enough() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for head in [
        "GET /public#",
        "GET /public HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
        "GET /public HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let (most, last) = head.split_at(head.len() - 1);
        let mut socket = gateway.raw();
        socket.write(most).write(last);
        assert_refused_and_closed(&mut socket, head);
    }
    assert_eq!(backend.connections(), 0, "nothing reached a backend");
}

#[test]
fn a_body_in_broken_chunks_is_never_a_whole_request() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for (attack, body) in CHUNKS {
        let head = "POST /public HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut socket = gateway.raw();
        let answer = socket.write(format!("{head}{body}{SMUGGLED}")).response();
        assert_eq!(answer.status, 400, "{attack}: {}", answer.head);
        assert!(socket.is_closed(), "{attack}");
    }
    let extensions = format!("0{}\r\n\r\n", ";a=b".repeat(8 << 10));
    let head = "POST /public HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = gateway.raw().write(format!("{head}{extensions}")).response();
    assert_eq!(answer.status, 400, "extensions without bound: {}", answer.head);
    assert_eq!(backend.requests(), 0, "nothing came whole to the backend");
}

#[test]
fn extensions_of_chunks_are_ignored_and_not_passed_on() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let request = "POST /public HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                   005;a=\"#\" ;b\r\nhello\r\n0;c\r\n\r\n";
    assert_eq!(gateway.raw().write(request).response().status, 200);
    let received = backend.received();
    assert_eq!(received.body, b"hello");
    assert!(!received.bytes.contains(&b';'), "{received:?}");
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

/// The next answer is a 400 of ours, the last of its connection.
#[track_caller]
fn assert_refused_and_closed(socket: &mut Raw, attack: &str) {
    let answer = socket.response();
    assert_eq!(answer.status, 400, "{attack}: {}", answer.head);
    assert_eq!(answer.values("connection"), ["close"], "{attack}: {}", answer.head);
    for name in SECURITY_HEADERS {
        assert_eq!(answer.values(name).len(), 1, "{attack}: {name} in {}", answer.head);
    }
    assert!(!answer.body.is_empty(), "{attack}");
    assert!(socket.is_closed(), "{attack}");
}

const SECURITY_HEADERS: [&str; 5] = [
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "content-security-policy",
    "referrer-policy",
];

/// An empty chunked body, and what would be a request of its own to whoever reads it differently.
const SMUGGLED: &str = "0\r\n\r\nGET /public/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Header lines after which two readers could disagree where the request ends.
const FRAMING: [(&str, &str); 24] = [
    ("a length before a coding", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ("a length after a coding", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ("a length of nothing after a coding", "transfer-encoding:chunked\r\ncontent-length:0\r\n"),
    ("the same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n"),
    ("the same length twice in one line", "Content-Length: 5, 5\r\n"),
    ("the same coding twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    (
        "a length behind so much room",
        "Content-Length:                                                    5\r\n",
    ),
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
const HEADS: [(&str, &str); 19] = [
    ("a fragment in the target", "GET /public#/admin HTTP/1.1\r\nHost: localhost"),
    ("a fragment behind the query", "GET /public?a=b# HTTP/1.1\r\nHost: localhost"),
    ("a fragment in a whole URL", "GET https://localhost/public#x HTTP/1.1\r\nHost: localhost"),
    ("a tab before the colon", "GET /public HTTP/1.1\r\nHost\t: localhost"),
    ("a line folded with a tab", "GET /public HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tb"),
    ("a bare CR that ends a line", "GET /public HTTP/1.1\r\nHost: localhost\rX: b"),
    ("a control character in a value", "GET /public HTTP/1.1\r\nHost: localhost\r\nX: a\u{1b}b"),
    ("a deletion in a value", "GET /public HTTP/1.1\r\nHost: localhost\r\nX: a\u{7f}b"),
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

/// Bodies in chunks that are none.
const CHUNKS: [(&str, &str); 12] = [
    ("a sign", "+5\r\nhello\r\n"),
    ("a negative size", "-5\r\nhello\r\n"),
    ("a size in another notation", "0x5\r\nhello\r\n"),
    ("a space before the size", " 5\r\nhello\r\n"),
    ("a space within the size", "0 5\r\nhello\r\n"),
    ("no size", "\r\nhello\r\n"),
    ("an extension without a size", ";a\r\nhello\r\n"),
    ("a size beyond all numbers", "10000000000000005\r\nhello\r\n"),
    ("more zeros than needed", "00000000000000005\r\nhello\r\n"),
    ("a size that ends with LF alone", "5\nhello\r\n"),
    ("no line break behind the chunk", "5\r\nhello0\r\n"),
    ("an LF alone behind the chunk", "5\r\nhello\n"),
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
