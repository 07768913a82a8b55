//! A session stays in its browser and its network.

use super::{counted, house, setup};
use crate::harness::{Backend, Client, Gateway};

#[test]
fn a_session_in_another_browser_is_over_for_both() {
    let (_backend, gateway) = house(&[("bind", "['user-agent']")]);
    let alice = gateway.visitor().always("user-agent", FIREFOX).signed_in_as("alice");
    let updated = alice.second_tab().always("user-agent", UPDATED);
    assert_eq!(updated.get("/").status, 200);
    assert_eq!(alice.second_tab().from("127.0.0.9").get("/").status, 200, "its address may change");
    let thief = alice.second_tab().always("user-agent", "curl/8.5.0");
    assert!(thief.page("/").asks_login());
    assert!(alice.page("/").asks_login());
    let event = gateway.audited("session_destroyed");
    assert_eq!(event["detail"], "the browser is another one");
    assert_eq!((event["user"].as_str(), event["address"].as_str()), (Some("alice"), Some("127.0.0.1")));
    assert_eq!(counted(&gateway, "session_destroyed"), 1);
}

#[test]
fn a_browser_is_the_same_one_on_our_own_pages_too() {
    for page in ["/.vestibule/session", "/.vestibule/account", "/.vestibule/logout", "/.vestibule/login"] {
        let (_backend, gateway) = house(&[]);
        let alice = gateway.visitor().always("user-agent", FIREFOX).signed_in_as("alice");
        alice.second_tab().always("user-agent", "curl/8.5.0").page(page);
        assert!(alice.page("/").asks_login(), "{page}");
    }
}

#[test]
fn a_session_in_another_network_is_over_for_both() {
    for (there, is_same) in
        [("203.0.113.99", true), ("203.0.114.7", false), ("2001:db8::7", false), ("::ffff:203.0.113.1", true)]
    {
        let (_backend, gateway) = behind_a_proxy();
        let alice = from(&gateway, "203.0.113.7").signed_in_as("alice");
        let elsewhere = alice.second_tab().always("x-forwarded-for", there);
        assert_eq!(elsewhere.get("/").status, if is_same { 200 } else { 401 }, "{there}");
        assert_eq!(alice.get("/").status, if is_same { 200 } else { 401 }, "{there}");
        assert_eq!(counted(&gateway, "session_destroyed"), u32::from(!is_same), "{there}");
    }
}

#[test]
fn an_address_that_nobody_trusted_tells_is_not_believed() {
    let (_backend, gateway) = behind_a_proxy();
    let alice = from(&gateway, "203.0.113.7").signed_in_as("alice");
    let thief = alice.second_tab().from("127.0.0.9");
    assert_eq!(thief.get("/").status, 401);
    assert_eq!(alice.get("/").status, 401);
    let event = gateway.audited("session_destroyed");
    assert_eq!(
        (event["detail"].as_str(), event["address"].as_str()),
        (Some("the network is another one"), Some("127.0.0.9"))
    );
}

#[test]
fn what_is_not_bound_may_change() {
    let (_backend, gateway) = house(&[("bind", "[]")]);
    let alice = gateway.visitor().always("user-agent", FIREFOX).signed_in_as("alice");
    let elsewhere = alice.second_tab().from("127.0.0.9").always("user-agent", "curl/8.5.0");
    assert_eq!(elsewhere.get("/").status, 200);
    assert_eq!(alice.get("/").status, 200);
}

fn behind_a_proxy() -> (Backend, Gateway) {
    let backend = Backend::start();
    let setup = setup(&backend, &[("bind", "['address']")]).set("server.trusted_proxies", "['127.0.0.3']");
    let gateway = Gateway::start(&setup);
    (backend, gateway)
}

/// Somebody at this address, as a trusted proxy tells it.
fn from(gateway: &Gateway, address: &'static str) -> Client {
    gateway.visitor().from("127.0.0.3").always("x-forwarded-for", address)
}

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const UPDATED: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0.1";
