//! Proxies that are believed about where a request came from, and clients who speak through them.

use crate::harness::{Backend, Gateway, Setup};

#[test]
fn a_forged_field_beside_the_proxys_own_opens_no_network() {
    let (backend, gateway) = behind_a_proxy("either");
    let from = |fields: &[(&str, &str)]| ask(&gateway, "/office", fields);
    let own = ("x-forwarded-for", "203.0.113.5");
    for forged in ["for=127.0.0.9", "for=10.1.2.3", "for=unknown", "for=_x", "\"", "proto=https", "é"] {
        assert_eq!(from(&[own, ("forwarded", forged)]), 400, "{forged}");
    }
    assert_eq!(from(&[own, ("forwarded", "for=203.0.113.5")]), 403);
    assert_eq!(from(&[own]), 403);
    assert_eq!(from(&[("forwarded", "for=203.0.113.5")]), 403);
    for list in ["unknown", "203.0.113.5, _hidden", "10.1.2.3;"] {
        assert_eq!(from(&[("x-forwarded-for", list)]), 400, "{list}");
    }
    assert!(backend.saw_nothing());
    assert_eq!(from(&[("x-forwarded-for", "203.0.113.5, 10.1.2.3")]), 200);
    assert_eq!(from(&[]), 200, "the proxy asks for itself");
}

#[test]
fn the_reason_for_the_400_stands_in_the_log() {
    let backend = Backend::start();
    let setup = setup(&backend, "either").set("log.access", "true").set("log.format", "'json'");
    let gateway = Gateway::spawn(&setup);
    let fields = [("x-forwarded-for", "203.0.113.5"), ("forwarded", "for=10.1.2.3")];
    assert_eq!(ask(&gateway, "/office", &fields), 400);
    gateway.line_with(&["\"reason\":\"forwarded_differing\"", "\"status\":400"]);
}

#[test]
fn only_the_field_that_the_proxies_write_counts_and_is_passed_on() {
    let fields = [
        ("x-forwarded-for", "203.0.113.5"),
        ("forwarded", "for=198.51.100.7;host=evil.test"),
        ("x-real-ip", "10.1.2.3"),
    ];
    for (by, client, forwarded) in [
        ("x-forwarded-for", "203.0.113.5", ""),
        ("forwarded", "198.51.100.7", "for=198.51.100.7;host=evil.test"),
    ] {
        let (backend, gateway) = behind_a_proxy(by);
        assert_eq!(ask(&gateway, "/office", &fields), 403, "{by}");
        assert_eq!(ask(&gateway, "/public", &fields), 200, "{by}");
        let request = backend.received();
        assert_eq!(request.header("x-forwarded-for"), format!("{client}, 127.0.0.9"), "{by}");
        assert_eq!((request.header("forwarded"), request.header("x-real-ip")), (forwarded, client), "{by}");
    }
}

#[test]
fn a_field_that_agrees_with_the_proxys_own_is_not_passed_on_with_what_else_it_says() {
    let (backend, gateway) = behind_a_proxy("either");
    let fields = [("x-forwarded-for", "203.0.113.5"), ("forwarded", "for=203.0.113.5;host=evil.test")];
    assert_eq!(ask(&gateway, "/public", &fields), 200);
    assert_eq!(backend.received().header("forwarded"), "");
    assert_eq!(ask(&gateway, "/public", &fields[1..]), 200);
    let request = backend.received();
    assert_eq!(request.header("forwarded"), fields[1].1, "a proxy wrote it");
    assert_eq!(request.header("x-forwarded-for"), "203.0.113.5, 127.0.0.9");
}

#[test]
fn a_reload_changes_which_field_counts() {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup(&backend, "forwarded"));
    let fields = [("x-forwarded-for", "203.0.113.5"), ("forwarded", "for=10.1.2.3")];
    assert_eq!(ask(&gateway, "/office", &fields), 200);
    setup(&backend, "x-forwarded-for").write_to(&gateway.folder);
    let said = gateway.reload().expect("a reload");
    assert!(said.contains("\"server\"") && said.contains("restart_needed: []"), "{said}");
    assert_eq!(ask(&gateway, "/office", &fields), 403);
}

fn behind_a_proxy(by: &str) -> (Backend, Gateway) {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup(&backend, by));
    (backend, gateway)
}

/// `/office` is for the inner networks, of which the proxy's is one.
fn setup(backend: &Backend, by: &str) -> Setup {
    let networks = "networks = ['127.0.0.9', '10.0.0.0/8']";
    Setup::in_front_of(&backend.url())
        .set("server.trusted_proxies", "['127.0.0.9']")
        .set("server.forwarded_by", &format!("'{by}'"))
        .route(&format!("path = '/office'; upstream = 'app'; access = 'public'; {networks}"))
}

/// The status that somebody gets who comes by the proxy with these fields.
fn ask(gateway: &Gateway, target: &str, fields: &[(&str, &str)]) -> u16 {
    let proxy = gateway.visitor().from("127.0.0.9");
    let ask = proxy.ask("GET", target);
    fields.iter().fold(ask, |ask, (name, value)| ask.header(name, value)).send().status
}
