//! The path that is decided on is the path that backends read: four servers, one table of odd targets.
//!
//! Each server answers with the target as it came and with the path that it would serve. The gateway refuses a
//! target, or every server reads exactly what the gateway did.

use http::Uri;
use percent_encoding::percent_decode_str;

use crate::harness::raw::RawResponse;
use crate::harness::readers::Reader;
use crate::harness::{Gateway, Setup};
use crate::servers::nginx::Nginx;

#[test]
fn gunicorn_reads_what_the_gateway_decided_on() {
    let gunicorn = Reader::gunicorn();
    assert_reads_alike(&gunicorn.url());
}

#[test]
fn waitress_reads_what_the_gateway_decided_on() {
    let waitress = Reader::waitress();
    assert_reads_alike(&waitress.url());
}

#[test]
fn node_reads_what_the_gateway_decided_on() {
    let node = Reader::node();
    assert_reads_alike(&node.url());
}

#[test]
fn nginx_reads_what_the_gateway_decided_on() {
    let nginx = Nginx::telling_paths();
    assert_reads_alike(&nginx.url());
}

#[test]
fn a_path_that_was_written_anew_is_read_as_it_was_meant() {
    let nginx = Nginx::telling_paths();
    let gateway = Gateway::start(&Setup::new().upstream("reader", &nginx.url()).route(
        "path = '/a'; upstream = 'reader'; access = 'public'; strip_prefix = '/a'; add_prefix = '/jail'",
    ));
    for (target, read_as) in TARGETS.iter().filter(|(target, _)| target.starts_with('/')) {
        let target = format!("/a{target}");
        if let Some(path) = read_as {
            assert_read(&gateway, &target, Some(&format!("/jail{path}")));
            continue;
        }
        // What leads above the root of the table may be in order here, but never leaves the prefix.
        let answer = ask(&gateway, &target);
        let is_within = answer.text().starts_with("/jail");
        assert!(is_within || [400, 404].contains(&answer.status), "{target}: {}", answer.text());
    }
}

#[test]
fn every_spelling_of_a_closed_path_is_closed() {
    let node = Reader::node();
    let gateway = gateway(&node.url());
    for target in [
        "/closed",
        "/closed/",
        "/closed/x",
        "/%63losed",
        "/%63%6c%6F%73%65%64",
        "//closed",
        "/./closed",
        "/x/../closed",
        "/x/%2e%2E/closed/y",
        "/closed/../closed",
        "/closed?x=/../open",
        "/closed/.",
        "/closed//x",
    ] {
        assert_eq!(ask(&gateway, target).status, 403, "{target}");
    }
}

/// Public but for one path: rules differ, so what has two readings is refused.
fn gateway(url: &str) -> Gateway {
    Gateway::start(
        &Setup::new()
            .upstream("reader", url)
            .route("path = '/'; upstream = 'reader'; access = 'public'")
            .route("path = '/closed'; access = 'deny'"),
    )
}

#[track_caller]
fn assert_reads_alike(url: &str) {
    let gateway = gateway(url);
    for (target, read_as) in TARGETS {
        assert_read(&gateway, target, *read_as);
    }
    let long = format!("/{}", "a%2D/./".repeat(300));
    assert_reads_alike_over_h2(&gateway);
    assert_read(&gateway, &long, Some(&format!("/{}", "a-/".repeat(300))));
}

/// The same over HTTP/2, as far as a client can be made to send it.
#[track_caller]
fn assert_reads_alike_over_h2(gateway: &Gateway) {
    let visitor = gateway.visitor().over_h2();
    let is_sent =
        |target: &str| target.starts_with('/') && !target.contains('#') && target.parse::<Uri>().is_ok();
    for (target, read_as) in TARGETS.iter().filter(|(target, _)| is_sent(target)) {
        let answer = visitor.get(target);
        match read_as {
            Some(path) => assert_told(target, path, answer.status, &answer.body),
            None => assert_eq!(answer.status, 400, "{target} over HTTP/2"),
        }
    }
}

/// Sends a target as it is, on a connection of its own.
#[track_caller]
fn ask(gateway: &Gateway, target: &str) -> RawResponse {
    gateway.raw().write(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).response()
}

/// `read_as` is path and query as the backend is to get them; none where the request is refused.
#[track_caller]
fn assert_read(gateway: &Gateway, target: &str, read_as: Option<&str>) {
    let answer = ask(gateway, target);
    let Some(read_as) = read_as else {
        assert_eq!(answer.status, 400, "{target}: {}", answer.text());
        return;
    };
    assert_told(target, read_as, answer.status, &answer.body);
}

/// What a server told: the target as it got it, a line end, and the path that it would serve.
#[track_caller]
fn assert_told(target: &str, read_as: &str, status: u16, told: &[u8]) {
    let path = read_as.split('?').next().unwrap_or_default();
    let served: Vec<u8> = percent_decode_str(path).collect();
    let expected = [read_as.as_bytes(), b"\n", &served].concat();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!((status, shown(told)), (200, shown(&expected)), "{target}");
    assert_eq!(told, expected, "{target}");
}

/// Targets as a client sends them, and path and query as a backend gets them; none for 400.
const TARGETS: &[(&str, Option<&str>)] = &[
    // What everybody reads alike.
    ("/", Some("/")),
    ("/a/b.html", Some("/a/b.html")),
    ("/a/", Some("/a/")),
    ("/a+b", Some("/a+b")),
    ("/a%2bb", Some("/a%2Bb")),
    ("/a%20b", Some("/a%20b")),
    ("/a:b@c!$&'()*,=~", Some("/a:b@c!$&'()*,=~")),
    ("/a%3ab%40c%21%24%26%27%28%29%2a%2c%3d", Some("/a%3Ab%40c%21%24%26%27%28%29%2A%2C%3D")),
    // Unreserved characters are decoded, the other escapes are written in capitals.
    ("/%61%62%7E%5f%2D", Some("/ab~_-")),
    ("/%41%5A%30", Some("/AZ0")),
    ("/%c3%bc%C3%Bc", Some("/%C3%BC%C3%BC")),
    ("/%ff%fe", Some("/%FF%FE")),
    ("/%22%3c%3e%5b%5d%5e%60%7b%7c%7d", Some("/%22%3C%3E%5B%5D%5E%60%7B%7C%7D")),
    ("/a%3fb", Some("/a%3Fb")),
    ("/a%23b", Some("/a%23b")),
    // Dot segments and repeated slashes are resolved.
    ("/a/../b", Some("/b")),
    ("/a/%2e%2e/b", Some("/b")),
    ("/a/.%2E/b", Some("/b")),
    ("/a/%2e/b", Some("/a/b")),
    ("/a/./b/.", Some("/a/b/")),
    ("/a/b/..", Some("/a/")),
    ("//a", Some("/a")),
    ("//evil.test/a", Some("/evil.test/a")),
    ("/a//b///c//", Some("/a/b/c/")),
    ("/a/.//../b", Some("/b")),
    ("///", Some("/")),
    // Dots that are names.
    ("/...", Some("/...")),
    ("/a./b..", Some("/a./b..")),
    ("/.a/..b", Some("/.a/..b")),
    ("/a..%2e", Some("/a...")),
    // The query is not touched.
    ("/?", Some("/?")),
    ("/a?", Some("/a?")),
    ("/a??", Some("/a??")),
    ("/a?b?c", Some("/a?b?c")),
    ("/a?/../b//c/./;%2f%5c%00", Some("/a?/../b//c/./;%2f%5c%00")),
    ("/a/../b?x=%2e%2e&y=+", Some("/b?x=%2e%2e&y=+")),
    // An address in front of the path is the host.
    ("http://localhost/a/../b", Some("/b")),
    // What leads above the root, is broken, or could be two things.
    ("/..", None),
    ("/../a", None),
    ("/a/../../b", None),
    ("/%2e%2e/a", None),
    ("/a%2fb", None),
    ("/a%2Fb", None),
    ("/..%2fa", None),
    ("/a/..%2f..%2fb", None),
    ("/a%5cb", None),
    ("/a%5Cb", None),
    ("/a\\b", None),
    ("/a\\..\\b", None),
    ("/a;b=c", None),
    ("/a;b=c/d", None),
    ("/..;/a", None),
    ("/a%3bb", None),
    ("/a%252fb", None),
    ("/a%25", None),
    ("/a%252e%252e/b", None),
    ("/%00", None),
    ("/a%00b", None),
    ("/a%0d%0ab", None),
    ("/a%09b", None),
    ("/a%7fb", None),
    ("/%", None),
    ("/a%2", None),
    ("/a%zz", None),
    ("/a%u002fb", None),
    ("/a#b", None),
    ("/a?b#c", None),
    ("/\u{fc}", None),
    ("/a\u{ff0f}b", None),
    ("/a\tb", None),
    ("/a\x01b", None),
    ("/a\x7fb", None),
    ("a/b", None),
    ("*", None),
    ("localhost:80", None),
    ("http://other.test/a", None),
];
