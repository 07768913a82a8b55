//! A new token every few minutes: nobody is signed out by it, and a thief is noticed.

use std::thread;

use super::{GRACE, IDLE, MINUTE, RENEW, SECOND, counted, given, house, setup, with_cookie};
use crate::harness::client::SESSION_COOKIE;
use crate::harness::websocket::WebSocket;
use crate::harness::{After, Backend, Client, Gateway, PASSWORD};

#[test]
fn a_token_is_replaced_when_it_is_due_and_serves_until_the_new_one_is_shown() {
    let (_backend, gateway) = house(RENEWED);
    let alice = gateway.visitor().signed_in_as("alice");
    let old = alice.session_cookie().expect("a cookie");
    gateway.advance(RENEW - SECOND);
    assert_eq!(given(&alice.get("/")), None);
    gateway.advance(SECOND);
    let elsewhere = alice.second_tab();
    let answer = elsewhere.get("/");
    let new = given(&answer).expect("a new token");
    assert_ne!(new, old);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.set_cookie(SESSION_COOKIE).expect("a line").contains("Max-Age"));
    gateway.advance(RENEW);
    assert_eq!(
        given(&alice.second_tab().get("/")).as_ref(),
        Some(&new),
        "an answer that was lost is made up for"
    );
    assert_eq!(alice.second_tab().get("/").status, 200);
    assert_eq!(counted(&gateway, "session_renewed"), 0);
    assert_eq!(given(&elsewhere.get("/")), None);
    assert_eq!(counted(&gateway, "session_renewed"), 1);
}

#[test]
fn a_replaced_token_serves_what_was_under_way_and_then_ends_the_whole_session() {
    let (_backend, gateway) = house(RENEWED);
    let thief = gateway.visitor().signed_in_as("alice");
    let alice = renewed(&gateway, &thief);
    let late = thief.second_tab();
    gateway.advance(GRACE - SECOND);
    let answer = late.get("/");
    assert_eq!((answer.status, given(&answer)), (200, alice.session_cookie()));
    gateway.advance(SECOND);
    assert_eq!(alice.get("/").status, 200);
    assert!(thief.page("/").asks_login());
    assert!(alice.page("/").asks_login());
    assert_eq!(alice.get("/").status, 401);
    let event = gateway.audited("session_destroyed");
    assert_eq!(
        (event["user"].as_str(), event["detail"].as_str()),
        (Some("alice"), Some("a replaced token was used"))
    );
    assert!(event["request_id"].is_string() && event["session"].is_string(), "{event}");
    assert_eq!(counted(&gateway, "session_destroyed"), 1);
}

#[test]
fn a_token_of_two_renewals_ago_ends_the_session_at_once() {
    let (_backend, gateway) = house(RENEWED);
    let thief = gateway.visitor().signed_in_as("alice");
    let alice = renewed(&gateway, &thief);
    gateway.advance(RENEW);
    alice.get("/");
    assert_eq!(alice.get("/").status, 200);
    assert!(thief.page("/").asks_login());
    assert!(alice.page("/").asks_login());
}

#[test]
fn fifty_requests_at_the_moment_of_renewal_sign_nobody_out() {
    let (_backend, gateway) = house(RENEWED);
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(RENEW);
    let values = at_once((0..50).map(|_| alice.second_tab()).collect());
    assert!(values.iter().all(|value| *value == values[0] && value.is_some()), "all get the same token");
    let new = values[0].clone().expect("a token");
    let mixed =
        (0..50).map(|number| if number % 2 == 0 { with_cookie(&alice, &new) } else { alice.second_tab() });
    at_once(mixed.collect());
    gateway.advance(GRACE);
    at_once((0..50).map(|_| with_cookie(&alice, &new)).collect());
    assert_eq!(counted(&gateway, "session_renewed"), 1);
    assert_eq!(counted(&gateway, "session_destroyed"), 0);
}

#[test]
fn an_answer_with_a_new_token_is_kept_by_nobody_and_other_answers_carry_none() {
    let backend = Backend::with(|peer| {
        let upgrade = peer.request.header("upgrade").to_owned();
        peer.write(if upgrade.is_empty() { CACHEABLE } else { SWITCHING });
        After::KeepAlive
    });
    let gateway = Gateway::start(&setup(&backend, RENEWED));
    let alice = gateway.visitor().signed_in_as("alice");
    let ask = |kind: &str| alice.second_tab().ask("GET", "/").header("sec-fetch-dest", kind).send();
    gateway.advance(RENEW);
    for kind in ["image", "style", "script", "font", "audio", "video", "worker", "object", "manifest"] {
        let answer = ask(kind);
        assert_eq!((answer.status, answer.header("cache-control")), (200, "public, max-age=3600"), "{kind}");
        assert_eq!(answer.values("set-cookie"), ["app=1"], "{kind}");
    }
    let (_connection, switched) = WebSocket::ask(&gateway, &alice, "/ws", "websocket");
    assert_eq!(switched.status, 101, "{}", switched.head);
    assert!(!switched.head.to_ascii_lowercase().contains("set-cookie"), "{}", switched.head);
    for kind in ["document", "iframe", "empty"] {
        let answer = ask(kind);
        assert_eq!(answer.values("cache-control"), ["no-store"], "{kind}");
        assert_eq!(answer.values("set-cookie").len(), 2, "{kind}: {:?}", answer.headers);
        assert!(given(&answer).is_some(), "{kind}");
    }
}

#[test]
fn a_page_of_ours_brings_no_new_token_and_the_next_answer_does() {
    let (_backend, gateway) = house(RENEWED);
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(RENEW);
    for page in ["/.vestibule/session", "/.vestibule/account", "/.vestibule/logout", "/public"] {
        assert_eq!(given(&alice.get(page)), None, "{page}");
    }
    assert!(given(&alice.get("/optional")).is_some());
    assert_eq!(given(&alice.get("/.vestibule/session")), None);
    assert_eq!(counted(&gateway, "session_renewed"), 1, "what our pages are shown counts too");
}

#[test]
fn a_login_after_many_renewals_still_ends_by_its_limits() {
    let (_backend, gateway) = house(RENEWED);
    let alice = gateway.visitor().signed_in_as("alice");
    let first = alice.session_cookie();
    for _ in 0..47 {
        gateway.advance(RENEW);
        assert_eq!(alice.get("/").status, 200);
        assert_eq!(alice.get("/").status, 200);
    }
    assert_ne!(alice.session_cookie(), first);
    assert_eq!(counted(&gateway, "session_renewed"), 47);
    gateway.advance(RENEW);
    assert!(alice.page("/").asks_login());
    assert_eq!(gateway.audited("session_expired")["detail"], "absolute");
}

#[test]
fn without_renewal_the_first_token_serves_to_the_end() {
    let (_backend, gateway) = house(&[("renew_id", "'0s'")]);
    let alice = gateway.visitor().signed_in_as("alice");
    for _ in 0..24 {
        gateway.advance(IDLE - MINUTE);
        assert_eq!(given(&alice.get("/")), None);
    }
}

#[test]
fn a_restart_forgets_no_renewal() {
    let (_backend, gateway) = house(RENEWED);
    let thief = gateway.visitor().signed_in_as("alice");
    let alice = renewed(&gateway, &thief);
    let gateway = Gateway::start_in(gateway.stop());
    // The clock of the new one begins at the present, which is where the old one began.
    gateway.advance(RENEW + GRACE);
    let (alice, thief) = (alice.moved_to(gateway.address()), thief.moved_to(gateway.address()));
    assert_eq!(alice.get("/").status, 200);
    assert_eq!(thief.get("/").status, 401);
    assert_eq!(alice.get("/").status, 401);
}

#[test]
fn a_replaced_token_is_nobodys_way_to_sign_out_or_in() {
    let (_backend, gateway) = house(RENEWED);
    let thief = gateway.visitor().signed_in_as("alice");
    let alice = renewed(&gateway, &thief);
    gateway.advance(GRACE);
    let (place, page) = gateway.visitor().login_page("/");
    for (name, value) in page.cookies() {
        thief.put_cookie(&name, &value);
    }
    let form = page.login_form().fill("text", "alice").fill("password", PASSWORD);
    assert_eq!(thief.submit(&form, &place).status, 303, "whoever has the password");
    assert_eq!(thief.get("/").status, 200);
    assert_eq!(alice.get("/").status, 401, "the theft was noticed by the login as well");
}

/// The browser of a session after its token was renewed; `old` keeps the one before.
#[track_caller]
fn renewed(gateway: &Gateway, old: &Client) -> Client {
    gateway.advance(RENEW);
    let browser = old.second_tab();
    assert!(given(&browser.get("/")).is_some());
    assert_eq!(browser.get("/").status, 200);
    assert_ne!(browser.session_cookie(), old.session_cookie());
    browser
}

/// What each of the browsers is given when they all ask in one moment; all are answered.
fn at_once(browsers: Vec<Client>) -> Vec<Option<String>> {
    thread::scope(|scope| {
        let asking: Vec<_> =
            browsers.into_iter().map(|browser| scope.spawn(move || browser.get("/"))).collect();
        let answers = asking.into_iter().map(|one| one.join().expect("an answer"));
        answers
            .map(|answer| {
                assert_eq!(answer.status, 200);
                given(&answer)
            })
            .collect()
    })
}

const RENEWED: &[(&str, &str)] = &[("renew_id", "'15m'")];

const CACHEABLE: &str = "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=3600\r\nSet-Cookie: app=1\r\n\
                         Content-Length: 5\r\n\r\nhello";

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
