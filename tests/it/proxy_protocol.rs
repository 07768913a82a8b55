//! Load balancers that announce their clients by the PROXY protocol, and everybody else who tries.

use crate::harness::{Backend, Gateway, Raw, Setup};

const GET: &str = "GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn the_announced_client_is_the_client() {
    let (backend, gateway) = behind_a_balancer();
    for (words, client) in [
        (&b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n"[..], "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 1 443\r\n", "2001:db8::9"),
        (&second(0x21, 0x11, &[203, 0, 113, 7, 10, 0, 0, 1, 0, 9, 1, 187]), "203.0.113.7"),
        (
            &second(
                0x21,
                0x11,
                &[&[203, 0, 113, 8, 10, 0, 0, 1, 0, 9, 1, 187][..], &[0xee, 0, 1, 7]].concat(),
            ),
            "203.0.113.8",
        ),
    ] {
        assert_eq!(gateway.raw_behind(words).write(GET).response().status, 200, "{client}");
        assert_eq!(backend.received().header("x-forwarded-for"), client);
    }
    assert_eq!(refused(&gateway), "0");
}

#[test]
fn a_balancer_that_names_no_client_speaks_for_itself() {
    let (backend, gateway) = behind_a_balancer();
    for words in [&b"PROXY UNKNOWN\r\n"[..], &second(0x20, 0x00, &[]), &second(0x20, 0x11, &[1; 12])] {
        assert_eq!(gateway.raw_behind(words).write(GET).response().status, 200);
        assert_eq!(backend.received().header("x-forwarded-for"), "127.0.0.1");
    }
}

#[test]
fn an_announced_client_is_not_believed_about_others() {
    let (backend, gateway) = behind_a_balancer();
    let mut raw = gateway.raw_behind("PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n");
    raw.write("GET /public HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    assert_eq!(raw.response().status, 200);
    assert_eq!(backend.received().header("x-forwarded-for"), "203.0.113.9");
}

#[test]
fn connections_without_a_readable_header_are_closed_and_counted() {
    let (backend, gateway) = behind_a_balancer();
    let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
    let words = [
        &b""[..],
        b"PROXY TCP4 203.0.113.9 10.0.0.1 +56324 443\r\n",
        b"PROXY_TCP4 203.0.113.9 10.0.0.1 56324 443\r\n",
        long.as_bytes(),
        &second(0x21, 0x12, &[1; 12]),
        &second(0x21, 0x11, &[1; 3]),
        &second(0x21, 0x11, &[0; 5000]),
    ];
    for words in words {
        assert!(gateway.raw_behind(words).write(GET).try_response().is_none(), "{words:?}");
    }
    assert_eq!(refused(&gateway), "7");
    assert!(backend.saw_nothing());
}

#[test]
fn nobody_but_a_trusted_proxy_may_announce_a_client() {
    let backend = Backend::start();
    let gateway = Gateway::start(&announced(&backend, "'127.0.0.9'"));
    let mut raw = gateway.raw_behind("PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n");
    assert!(raw.write(GET).try_response().is_none());
    assert_eq!(refused(&gateway), "1");
    assert!(backend.saw_nothing());
}

#[test]
fn a_header_that_does_not_come_to_its_end_is_not_waited_for() {
    let backend = Backend::start();
    let gateway =
        Gateway::start(&announced(&backend, "'127.0.0.1'").set("server.limits.handshake", "'300ms'"));
    let mut raw = Raw::plain(gateway.address());
    raw.write("PROXY TCP4 203.0.113.9 10.0");
    assert!(raw.is_closed());
    assert_eq!(refused(&gateway), "1");
}

#[test]
fn the_clear_text_listener_reads_the_header_too() {
    let backend = Backend::start();
    let gateway = Gateway::start(&announced(&backend, "'127.0.0.1'").set("server.http", "['127.0.0.1:0']"));
    let mut announced = gateway.raw_http();
    announced.write("PROXY TCP4 203.0.113.9 10.0.0.1 56324 80\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(announced.response().status, 301);
    assert!(gateway.raw_http().write(GET).try_response().is_none());
}

fn behind_a_balancer() -> (Backend, Gateway) {
    let backend = Backend::start();
    let gateway = Gateway::start(&announced(&backend, "'127.0.0.1'"));
    (backend, gateway)
}

fn announced(backend: &Backend, proxies: &str) -> Setup {
    Setup::in_front_of(&backend.url())
        .set("server.proxy_protocol", "true")
        .set("server.trusted_proxies", &format!("[{proxies}]"))
}

/// How many connections were refused so far.
fn refused(gateway: &Gateway) -> String {
    gateway.metric("vestibule_connections_refused_total").to_string()
}

/// A header of the second version.
fn second(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a length").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, kind][..], &length, rest].concat()
}
