//! What keeps a session alive, and what does not.

use super::{IDLE, MINUTE, SECOND, house, setup};
use crate::harness::{Backend, Client, Gateway};

#[test]
fn a_page_that_polls_keeps_a_session_alive_unless_only_navigation_counts() {
    for (setting, outlives) in
        [("", true), ("; activity = 'any'", true), ("; activity = 'navigation'", false)]
    {
        let (_backend, gateway) = with_application(setting);
        let alice = gateway.visitor().signed_in_as("alice");
        let polls = (0..240).take_while(|_| {
            gateway.advance(10 * SECOND);
            poll(&alice) == 200
        });
        let polls = polls.count();
        assert_eq!(polls, if outlives { 240 } else { 179 }, "{setting}");
        assert_eq!(alice.page("/app").asks_login(), !outlives, "{setting}");
    }
}

#[test]
fn navigation_keeps_a_session_alive_where_only_it_counts() {
    let (_backend, gateway) = with_application("; activity = 'navigation'");
    let alice = gateway.visitor().signed_in_as("alice");
    for round in 0..12 {
        gateway.advance(IDLE - MINUTE);
        assert_eq!(poll(&alice), 200);
        let ask = alice.ask("GET", "/app");
        // A browser that says nothing of the mode says at least what it wants.
        let ask = if round % 2 == 0 { ask.as_page() } else { ask.header("accept", "text/html") };
        assert_eq!(ask.send().status, 200);
    }
    let form = alice.ask("POST", "/app").as_page().send();
    assert_eq!(form.status, 200);
}

#[test]
fn asking_for_the_session_never_counts_however_often() {
    let (_backend, gateway) = house(&[]);
    let alice = gateway.visitor().signed_in_as("alice");
    for minute in 1..30 {
        gateway.advance(MINUTE);
        let told = alice.get("/.vestibule/session").json();
        assert_eq!(told["idle_seconds_left"], 60 * (30 - minute));
    }
    gateway.advance(MINUTE);
    assert_eq!(alice.get("/.vestibule/session").status, 401);
    assert!(alice.page("/").asks_login());
    assert_eq!(gateway.audited("session_expired")["detail"], "idle");
}

#[test]
fn nothing_moves_the_absolute_end() {
    let (_backend, gateway) = house(&[("idle", "'1h'"), ("absolute", "'2h'")]);
    let alice = gateway.visitor().signed_in_as("alice");
    for minute in 1..120 {
        gateway.advance(MINUTE);
        assert_eq!(alice.page("/").status, 200);
        assert_eq!(alice.page("/.vestibule/account").status, 200);
        let told = alice.post("/.vestibule/session/extend", "").json();
        assert_eq!(told["absolute_seconds_left"], 60 * (120 - minute));
    }
    gateway.advance(MINUTE);
    assert!(alice.page("/").asks_login());
    assert_eq!(gateway.audited("session_expired")["detail"], "absolute");
}

#[test]
fn a_public_page_is_no_activity_and_an_optional_one_is() {
    let (_backend, gateway) = house(&[]);
    let alice = gateway.visitor().signed_in_as("alice");
    let left = || alice.get("/.vestibule/session").json()["idle_seconds_left"].as_u64();
    gateway.advance(10 * MINUTE);
    alice.page("/public");
    assert_eq!(left(), Some(20 * 60));
    alice.page("/optional");
    assert_eq!(left(), Some(30 * 60));
}

/// What a script in the application is answered.
fn poll(visitor: &Client) -> u16 {
    visitor
        .ask("GET", "/app/news")
        .header("sec-fetch-mode", "cors")
        .header("sec-fetch-dest", "empty")
        .send()
        .status
}

/// An application at `/app` whose route has these further lines.
fn with_application(lines: &str) -> (Backend, Gateway) {
    let backend = Backend::start();
    let route = format!("path = '/app'; upstream = 'app'; access = 'login'{lines}");
    let gateway = Gateway::start(&setup(&backend, &[]).route(&route));
    (backend, gateway)
}
