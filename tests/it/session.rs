//! Sessions over time: lifetimes, cookies, ends.

use std::time::Duration;

use crate::harness::client::SESSION_COOKIE;
use crate::harness::{Backend, Client, Gateway, PASSWORD, Setup};

#[test]
fn a_session_ends_when_nobody_used_it_for_the_idle_time() {
    let (_backend, gateway) = house(IN_A_FILE);
    let alice = gateway.visitor().signed_in_as("alice");
    for _ in 0..3 {
        gateway.advance(IDLE - SECOND);
        assert_eq!(alice.page("/").status, 200);
    }
    gateway.advance(IDLE);
    assert!(alice.page("/").asks_login());
    assert_eq!(alice.get("/").status, 401);
    assert_eq!(gateway.audited("session_expired")["detail"], "idle");
}

#[test]
fn steady_activity_does_not_carry_a_session_past_its_absolute_end() {
    let (_backend, gateway) = house(IN_A_FILE);
    let alice = gateway.visitor().signed_in_as("alice");
    let steps = ABSOLUTE.as_secs() / STEP.as_secs();
    for _ in 1..steps {
        gateway.advance(STEP);
        assert_eq!(alice.get("/").status, 200);
    }
    gateway.advance(STEP);
    assert!(alice.page("/").asks_login());
    assert_eq!(gateway.audited("session_expired")["detail"], "absolute");
}

#[test]
fn a_remembered_session_outlives_idle_and_absolute_but_not_its_own_end() {
    let (_backend, gateway) = house(IN_A_FILE);
    let alice = gateway.visitor().remembered_as("alice");
    gateway.advance(REMEMBERED / 2);
    assert_eq!(alice.page("/").status, 200);
    gateway.advance(REMEMBERED / 2 - SECOND);
    assert_eq!(alice.page("/").status, 200);
    gateway.advance(SECOND);
    assert!(alice.page("/").asks_login());
}

#[test]
fn the_cookie_of_a_session_has_these_attributes_and_no_others() {
    let (_backend, gateway) = house(IN_A_FILE);
    let answer = gateway.visitor().try_login("/", "alice", PASSWORD);
    let line = answer.set_cookie(SESSION_COOKIE).expect("a session cookie");
    let value = &answer.cookies()[SESSION_COOKIE];
    assert_eq!(line, format!("{SESSION_COOKIE}={value}; HttpOnly; SameSite=Lax; Secure; Path=/"));
    assert!(value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{value}");
    assert!(value.len() > 64, "{value}");
}

#[test]
fn only_the_cookie_of_a_remembered_session_says_how_long_to_keep_it() {
    let (_backend, gateway) = house(IN_A_FILE);
    let visitor = gateway.visitor();
    let (place, page) = visitor.login_page("/");
    let form = page.login_form().fill("text", "alice").fill("password", PASSWORD).tick();
    let answer = visitor.submit(&form, &place);
    let line = answer.set_cookie(SESSION_COOKIE).expect("a session cookie");
    let attributes = format!("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age={}", REMEMBERED.as_secs());
    assert!(line.ends_with(&attributes), "{line}");
}

#[test]
fn without_an_offer_to_remember_a_tick_changes_nothing() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).set("session.remember", "'0s'"));
    let visitor = gateway.visitor();
    let (place, page) = visitor.login_page("/");
    assert!(!page.login_form().has("checkbox"));
    let body = page.login_form().fill("text", "alice").fill("password", PASSWORD).encoded();
    let answer = visitor
        .ask("POST", &place)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(crate::harness::Upload::text(format!("{body}&remember=yes")))
        .send();
    assert_eq!(answer.status, 303);
    assert!(!answer.set_cookie(SESSION_COOKIE).expect("a session cookie").contains("Max-Age"));
}

#[test]
fn a_login_gives_a_new_cookie_and_kills_the_one_before() {
    let (_backend, gateway) = house(IN_A_FILE);
    let visitor = gateway.visitor();
    let (place, page) = visitor.login_page("/");
    let form = page.login_form().fill("text", "alice").fill("password", PASSWORD);
    assert_eq!(visitor.submit(&form, &place).status, 303);
    let first = visitor.second_tab();
    assert_eq!(first.page("/").status, 200);
    assert_eq!(visitor.submit(&form, &place).status, 303);
    assert_ne!(visitor.session_cookie(), first.session_cookie());
    assert_eq!(visitor.page("/").status, 200);
    assert!(first.page("/").asks_login());
}

#[test]
fn a_cookie_that_an_attacker_planted_is_not_adopted_by_a_login() {
    let (backend, gateway) = house(IN_A_FILE);
    let mallory = gateway.visitor().signed_in_as("ada");
    let signed_out = mallory.second_tab();
    signed_out.sign_out();
    let other_house = Gateway::start(&Setup::in_front_of(&backend.url()));
    let stranger = other_house.visitor().signed_in_as("alice");
    let live = gateway.visitor().signed_in_as("ada");
    for planted in [&mallory, &stranger, &live].map(|attacker| attacker.session_cookie().expect("a cookie")) {
        let (place, page) = gateway.visitor().login_page("/");
        let victim = gateway.visitor();
        for (name, value) in page.cookies() {
            victim.put_cookie(&name, &value);
        }
        victim.put_cookie(SESSION_COOKIE, &planted);
        let form = page.login_form().fill("text", "alice").fill("password", PASSWORD);
        assert_eq!(victim.submit(&form, &place).status, 303);
        assert_ne!(victim.session_cookie().as_ref(), Some(&planted));
        assert_eq!(victim.page("/").status, 200);
        assert!(holding(&gateway, &planted).page("/").asks_login());
    }
}

#[test]
fn a_cookie_that_is_not_exactly_ours_is_no_session_and_no_error() {
    let (_backend, gateway) = house(IN_A_FILE);
    let alice = gateway.visitor().signed_in_as("alice");
    let cookie = alice.session_cookie().expect("a session cookie");
    let other = gateway.visitor().signed_in_as("alice").session_cookie().expect("a session cookie");
    let mut lines: Vec<String> =
        (0..cookie.len()).step_by(7).map(|at| named(&changed_at(&cookie, at))).collect();
    lines.extend([
        named(""),
        named("x"),
        named("\u{e4}\u{f6}"),
        named("\"quoted\""),
        named(&cookie[..cookie.len() - 1]),
        named(&format!("{cookie}A")),
        named(&format!("{cookie}=")),
        named(&cookie.to_ascii_uppercase()),
        named(&"A".repeat(cookie.len())),
        named(&"A".repeat(20_000)),
        format!("{}; {}", named(&cookie), named(&other)),
        format!("{}; {}", named(&cookie), named("x")),
        format!("{}; {}", named(""), named(&cookie)),
        format!("__Host-VESTIBULE={cookie}"),
        format!("vestibule={cookie}"),
        format!("__Host-vestibule ={cookie}x; =; ;;"),
        "JSESSIONID=1; =x; novalue; a=b=c".to_owned(),
    ]);
    let visitor = gateway.visitor();
    for line in &lines {
        let ask = |target: &str| visitor.ask("GET", target).header("cookie", line);
        let page = ask("/x").as_page().send();
        assert!(page.asks_login() && !page.location().contains("reason"), "{line}: {}", page.status);
        assert_eq!(ask("/x").send().status, 401, "{line}");
        assert_eq!(ask("/public").send().status, 200, "{line}");
        assert_eq!(ask("/.vestibule/login").send().status, 200, "{line}");
        assert_eq!(ask("/.vestibule/session").send().status, 401, "{line}");
    }
    assert_eq!(alice.page("/").status, 200);
}

#[test]
fn looking_at_the_session_is_no_activity_and_extending_it_is() {
    let (_backend, gateway) = house(IN_A_FILE);
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(Duration::from_mins(10));
    let told = alice.get("/.vestibule/session");
    assert_eq!(told.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(
        told.json(),
        serde_json::json!({
            "user": "alice",
            "idle_seconds_left": 20 * 60,
            "absolute_seconds_left": 12 * 3600 - 10 * 60,
        })
    );
    let extended = alice.post("/.vestibule/session/extend", "");
    assert_eq!(extended.json()["idle_seconds_left"], IDLE.as_secs());
    gateway.advance(IDLE - SECOND);
    assert_eq!(alice.get("/.vestibule/session").json()["idle_seconds_left"], 1);
    gateway.advance(SECOND);
    assert_eq!(alice.get("/.vestibule/session").status, 401);
    assert_eq!(alice.post("/.vestibule/session/extend", "").status, 401);
    assert!(alice.page("/").asks_login());
}

#[test]
fn another_site_cannot_extend_a_session() {
    let (_backend, gateway) = house(IN_A_FILE);
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(Duration::from_mins(10));
    let extend = || alice.ask("POST", "/.vestibule/session/extend");
    assert_eq!(extend().header("sec-fetch-site", "cross-site").send().status, 403);
    assert_eq!(extend().header("origin", "https://evil.example").send().status, 403);
    assert_eq!(alice.get("/.vestibule/session").json()["idle_seconds_left"], 20 * 60);
}

#[test]
fn the_login_page_says_that_a_session_has_expired() {
    let (_backend, gateway) = house(IN_A_FILE);
    let alice = gateway.visitor().signed_in_as("alice");
    assert!(!gateway.visitor().login_page("/x").1.text().contains(EXPIRED));
    gateway.advance(IDLE);
    let answer = alice.page("/wiki?page=1");
    assert_eq!(answer.status, 303);
    assert_eq!(answer.location(), "/.vestibule/login?reason=expired&next=/wiki%3Fpage%3D1");
    assert!(alice.page(answer.location()).text().contains(EXPIRED));
    let answer = alice.try_login("/wiki?page=1", "alice", PASSWORD);
    assert_eq!((answer.status, answer.location()), (303, "/wiki?page=1"));
}

#[test]
fn a_logout_in_one_tab_ends_the_other_and_the_cookie_for_good() {
    let (_backend, gateway) = house(IN_A_FILE);
    let alice = gateway.visitor().signed_in_as("alice");
    let cookie = alice.session_cookie().expect("a session cookie");
    let second_tab = alice.second_tab();
    assert_eq!(second_tab.page("/").status, 200);
    assert_eq!(alice.sign_out().status, 303);
    assert!(alice.session_cookie().is_none());
    assert!(second_tab.page("/").asks_login());
    assert_eq!(second_tab.get("/").status, 401);
    let replayed = holding(&gateway, &cookie);
    assert!(replayed.page("/").asks_login());
    assert_eq!(replayed.over_h2().get("/").status, 401);
    assert_eq!(gateway.audited("session_use_after_expire")["event"], "session_use_after_expire");
}

#[test]
fn a_logout_ends_no_other_session_of_the_same_user() {
    let (_backend, gateway) = house(IN_A_FILE);
    let at_work = gateway.visitor().signed_in_as("alice");
    let at_home = gateway.visitor().signed_in_as("alice");
    at_work.sign_out();
    assert_eq!(at_home.page("/").status, 200);
}

#[test]
fn a_session_in_a_file_survives_a_restart_and_its_end_does_too() {
    let (_backend, gateway) = house(IN_A_FILE);
    let alice = gateway.visitor().signed_in_as("alice");
    let gone = gateway.visitor().signed_in_as("ada");
    let cookie = gone.session_cookie().expect("a session cookie");
    gone.sign_out();
    let gateway = Gateway::start_in(gateway.stop());
    assert_eq!(alice.moved_to(gateway.address()).page("/").status, 200);
    assert!(holding(&gateway, &cookie).page("/").asks_login());
}

#[test]
fn a_session_in_memory_works_until_the_gateway_stops() {
    let (backend, gateway) = house("'memory:'");
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(alice.page("/").status, 200);
    assert_eq!(backend.received().header("x-user-id"), "alice");
    let ada = gateway.visitor().signed_in_as("ada");
    let second_tab = ada.second_tab();
    ada.sign_out();
    assert!(second_tab.page("/").asks_login());
    gateway.advance(IDLE - SECOND);
    assert_eq!(alice.page("/").status, 200);
    let gateway = Gateway::start_in(gateway.stop());
    assert!(alice.moved_to(gateway.address()).page("/").asks_login());
}

/// A gateway with this session store in front of a backend that says hello.
fn house(store: &str) -> (Backend, Gateway) {
    let backend = Backend::start();
    let mut setup = Setup::in_front_of(&backend.url());
    if store != IN_A_FILE {
        setup = setup.set("session.store", store);
    }
    let gateway = Gateway::start(&setup);
    (backend, gateway)
}

/// Somebody whose only cookie is this one.
fn holding(gateway: &Gateway, cookie: &str) -> Client {
    let visitor = gateway.visitor();
    visitor.put_cookie(SESSION_COOKIE, cookie);
    visitor
}

fn named(value: &str) -> String {
    format!("{SESSION_COOKIE}={value}")
}

/// The same text with another character of base64url at that place.
fn changed_at(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).expect("text")
}

const EXPIRED: &str = "Your session has expired. Please sign in again.";
/// The harness's own store, in the gateway's folder.
const IN_A_FILE: &str = "";
const SECOND: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_mins(30);
const ABSOLUTE: Duration = Duration::from_hours(12);
const STEP: Duration = Duration::from_mins(20);
const REMEMBERED: Duration = Duration::from_hours(30 * 24);
