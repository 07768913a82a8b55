//! The security headers of everything that the gateway sends, each exactly once.

use std::collections::BTreeSet;

use crate::harness::client::{LOGIN, LOGOUT};
use crate::harness::form::unescape;
use crate::harness::raw::RawResponse;
use crate::harness::{After, Answer, Backend, Gateway, PASSWORD, Setup, Upload};

#[test]
fn every_answer_of_a_backend_carries_each_security_header_once() {
    let backend = backend_of_statuses();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        for status in [200, 201, 204, 206, 302, 304, 400, 401, 404, 418, 500, 503] {
            for method in ["GET", "HEAD", "POST"] {
                let answer = visitor.ask(method, &format!("/public/{status}")).send();
                assert_eq!(answer.status, status, "{method}");
                assert_carries(&answer, &COMPATIBLE);
            }
        }
    }
}

#[test]
fn every_answer_that_sends_somebody_to_the_login_or_away_carries_the_strict_set() {
    let backend = Backend::start();
    let gateway = Gateway::start(&troubled(&backend));
    for guest in [gateway.visitor(), gateway.visitor().over_h2()] {
        for (answer, status) in [
            (guest.page("/"), 303),
            (guest.ask("HEAD", "/").as_page().send(), 303),
            (guest.get("/"), 401),
            (guest.page("/closed"), 403),
            (guest.get("/closed"), 403),
            (guest.ask("DELETE", "/read").as_page().send(), 405),
            (guest.ask("DELETE", "/read").send(), 405),
            (guest.ask("TRACE", "/").send(), 405),
            (guest.get("/%zz"), 400),
            (guest.page("/a%2fb"), 400),
            (guest.ask("POST", "/public").body(Upload::text(vec![b'x'; 2048])).send(), 413),
        ] {
            assert_eq!(answer.status, status, "{}", answer.text());
            assert_carries(&answer, &OWN);
        }
    }
}

#[test]
fn every_page_of_ours_carries_the_strict_set_and_a_policy_without_inline_code() {
    let backend = Backend::start();
    let gateway = Gateway::start(&troubled(&backend));
    for visitor in [gateway.visitor(), gateway.visitor().over_h2()] {
        let refused = visitor.try_login("/", "alice", "wrong");
        let forged = visitor.ask("POST", LOGIN).as_page().header("origin", "https://evil.test").send();
        let done = visitor.try_login("/", "alice", PASSWORD);
        for (answer, status) in [
            (refused, 401),
            (forged, 403),
            (done, 303),
            (visitor.page(LOGIN), 200),
            (visitor.ask("HEAD", LOGIN).as_page().send(), 200),
            (visitor.page("/admin"), 403),
            (visitor.page(LOGOUT), 200),
            (visitor.page("/.vestibule/account"), 200),
            (visitor.get("/.vestibule/session"), 200),
            (visitor.get("/.vestibule/ping"), 200),
            (visitor.page("/.vestibule/nothing"), 404),
            (visitor.ask("DELETE", LOGIN).send(), 405),
            (visitor.page("/builtin"), 200),
            (visitor.sign_out(), 303),
            (visitor.page(LOGIN), 200),
        ] {
            assert_eq!(answer.status, status, "{}", answer.text());
            assert_carries(&answer, &OWN);
            assert!(!answer.header("content-security-policy").contains("unsafe"));
            assert_says_its_type(&answer);
        }
    }
}

#[test]
fn what_our_pages_load_carries_the_strict_set_and_may_be_kept() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let visitor = gateway.visitor();
    let page = unescape(&visitor.page(LOGIN).text());
    let assets: BTreeSet<_> =
        page.split('"').filter(|text| text.starts_with("/.vestibule/assets/")).collect();
    let of_passkeys = usize::from(cfg!(feature = "passkeys"));
    assert_eq!(assets.len(), 3 + of_passkeys, "{page}");
    for path in assets {
        let asset = visitor.get(path);
        assert_eq!(asset.status, 200);
        assert_carries(&asset, &OWN);
        assert_says_its_type(&asset);
        assert!(asset.header("cache-control").contains("immutable"));
    }
}

#[test]
fn every_trouble_with_a_backend_is_answered_with_the_strict_set() {
    let backend = Backend::with(|peer| {
        peer.wait();
        After::Close
    });
    let gateway = Gateway::start(&troubled(&backend));
    let mut busy = gateway.raw();
    busy.write("GET /one HTTP/1.1\r\nHost: localhost\r\n\r\n");
    backend.received();
    let visitor = gateway.visitor();
    let (stalled, _pieces) = Upload::in_pieces();
    for (answer, status) in [
        (visitor.page("/down"), 502),
        (visitor.get("/down"), 502),
        (visitor.page("/slow"), 504),
        (visitor.get("/one"), 503),
        (gateway.visitor().ask("POST", "/public").body(stalled).send(), 408),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_carries(&answer, &OWN);
        assert_says_its_type(&answer);
    }
}

#[test]
fn a_request_that_cannot_be_read_is_answered_with_the_strict_set() {
    let backend = Backend::start();
    let gateway = Gateway::start(&troubled(&backend).set("server.limits.request_head", "'300ms'"));
    for (bytes, status) in unreadable() {
        let answer = gateway.raw().write(&bytes).response();
        assert_eq!(answer.status, status, "{}", answer.head);
        assert_carries(&answer, &OWN);
        assert_eq!(answer.header("connection"), "close");
    }
    assert_carries(&gateway.raw().write("GET / HTTP/1.1\r\nHost: loc").response(), &OWN);
    assert!(backend.saw_nothing());
}

#[test]
fn the_clear_text_listener_says_everything_but_what_only_https_may_say() {
    let backend = Backend::start();
    let gateway = Gateway::start(&troubled(&backend).set("server.http", "['127.0.0.1:0']"));
    let good = [
        ("GET /a?b HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 301),
        ("POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".to_owned(), 308),
        ("GET /a HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n".to_owned(), 400),
    ];
    for (bytes, status) in good.into_iter().chain(unreadable()) {
        let answer = gateway.raw_http().write(&bytes).response();
        assert_eq!(answer.status, status, "{}", answer.head);
        assert_carries(&answer, &OWN[1..]);
        // RFC 6797 section 7.2: never over a connection that is not secure.
        assert_eq!(answer.values("strict-transport-security"), [""; 0]);
    }
}

#[test]
fn the_compatible_profile_keeps_what_a_backend_says_and_settles_doubles() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Frame-Options: DENY\r\nReferrer-Policy: origin\r\n\
         X-Content-Type-Options: nosniff\r\nX-Content-Type-Options: nosniff\r\n\
         Strict-Transport-Security: max-age=1\r\nPermissions-Policy: camera=()\r\n\r\n",
    );
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let answer = gateway.visitor().get("/public");
    assert_carries(
        &answer,
        &[
            ("strict-transport-security", HSTS),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "origin"),
            ("x-content-type-options", "nosniff"),
            ("permissions-policy", "camera=()"),
        ],
    );
    // A policy of ours about frames would silence the backend's stricter word in the older header.
    assert_eq!(answer.values("content-security-policy"), [""; 0]);
}

#[test]
fn the_strict_profile_replaces_what_a_backend_says() {
    let backend = talkative();
    let setup = Setup::in_front_of(&backend.url())
        .set("headers.profile", "'strict'")
        .set("headers.hsts", "'max-age=60'");
    let gateway = Gateway::start(&setup);
    let answer = gateway.visitor().get("/public");
    assert_carries(&answer, &STRICT);
    assert_carries(&answer, &[("strict-transport-security", "max-age=60")]);
    assert_eq!(answer.header("x-own"), "kept");
}

#[test]
fn the_profile_off_leaves_a_backend_alone_and_our_own_pages_strict() {
    let backend = talkative();
    let setup = Setup::in_front_of(&backend.url()).set("headers.profile", "'off'");
    let gateway = Gateway::start(&setup);
    let answer = gateway.visitor().get("/public");
    assert_carries(&answer, &[("x-frame-options", "ALLOWALL"), ("content-security-policy", "default-src *")]);
    for absent in ["strict-transport-security", "x-content-type-options", "referrer-policy"] {
        assert_eq!(answer.values(absent), [""; 0], "{absent}");
    }
    assert_carries(&gateway.visitor().get("/"), &OWN);
    assert_carries(&gateway.visitor().page(LOGIN), &OWN);
}

#[test]
fn an_answer_that_looks_like_a_refusal_of_ours_is_the_backends_all_the_same() {
    let backend = Backend::answering("HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n");
    let setup = Setup::in_front_of(&backend.url()).set("headers.profile", "'off'");
    let gateway = Gateway::start(&setup);
    for connection in ["close", "keep-alive"] {
        let head = format!("GET /public HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n");
        let answer = gateway.raw().write(head).response();
        assert_eq!(answer.status, 404);
        assert!(!answer.header("x-request-id").is_empty());
    }
}

/// The head of an answer, however it was read.
trait Head {
    fn of(&self, name: &str) -> Vec<&str>;
}

impl Head for Answer {
    fn of(&self, name: &str) -> Vec<&str> {
        self.values(name)
    }
}

impl Head for RawResponse {
    fn of(&self, name: &str) -> Vec<&str> {
        self.values(name)
    }
}

/// Each of the headers stands there once, and holds what is expected.
#[track_caller]
fn assert_carries(head: &dyn Head, expected: &[(&str, &str)]) {
    for (name, part) in expected {
        let found = head.of(name);
        assert!(found.len() == 1 && found[0].contains(part), "{name}: {found:?}");
    }
}

/// A body of ours says what it is.
#[track_caller]
fn assert_says_its_type(answer: &Answer) {
    let kind = answer.header("content-type");
    let is_known = kind.ends_with("; charset=utf-8") || kind == "application/json";
    assert!(is_known || answer.body.is_empty(), "{} {kind}", answer.status);
}

/// Heads that are no request, and what they are answered with.
fn unreadable() -> Vec<(String, u16)> {
    let long = "x".repeat(100 * 1024);
    let longer = "x".repeat(200 * 1024);
    let many = "A: b\r\n".repeat(500);
    vec![
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost : localhost\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {longer}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 414),
    ]
}

/// A gateway that runs into every trouble soon.
fn troubled(backend: &Backend) -> Setup {
    let servers = format!("servers = ['{}']", backend.url());
    Setup::in_front_of(&backend.url())
        .set("server.limits.header_bytes", "'128KiB'")
        .set("server.limits.body_bytes", "'1KiB'")
        .set("server.limits.body_stall", "'200ms'")
        .upstream("down", &closed_port())
        .upstream_with("slow", &format!("{servers}; response_timeout = '50ms'"))
        .upstream_with("one", &format!("{servers}; max_connections = 1; connect_timeout = '50ms'"))
        .routes(&[
            "path = '/down'; upstream = 'down'; access = 'public'",
            "path = '/slow'; upstream = 'slow'; access = 'public'",
            "path = '/one'; upstream = 'one'; access = 'public'",
            "path = '/read'; upstream = 'app'; access = 'public'; methods = ['GET']",
            "path = '/builtin'; upstream = 'builtin'",
        ])
}

/// The address of nobody.
fn closed_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// Answers `/x/404` with a 404.
fn backend_of_statuses() -> Backend {
    Backend::with(|peer| {
        let status = peer.request.target().rsplit('/').next().unwrap_or_default().to_owned();
        let length = if matches!(&*status, "204" | "304") { "" } else { "Content-Length: 0\r\n" };
        peer.write(format!("HTTP/1.1 {status} X\r\n{length}\r\n"));
        After::KeepAlive
    })
}

/// A backend with a word of its own on everything.
fn talkative() -> Backend {
    Backend::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Security-Policy: default-src *\r\n\
         X-Frame-Options: ALLOWALL\r\nX-Own: kept\r\n\r\n",
    )
}

const HSTS: &str = "max-age=31536000; includeSubDomains";

const COMPATIBLE: [(&str, &str); 6] = [
    ("strict-transport-security", HSTS),
    ("content-security-policy", "frame-ancestors 'self'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("referrer-policy", "same-origin"),
    ("x-permitted-cross-domain-policies", "none"),
];

const STRICT: [(&str, &str); 9] = [
    ("strict-transport-security", "max-age="),
    ("content-security-policy", "frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("x-permitted-cross-domain-policies", "none"),
    ("permissions-policy", "camera=()"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

const OWN: [(&str, &str); 12] = [
    ("strict-transport-security", HSTS),
    ("content-security-policy", "frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("x-permitted-cross-domain-policies", "none"),
    ("permissions-policy", "camera=()"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("x-dns-prefetch-control", "off"),
    ("cache-control", ""),
];
