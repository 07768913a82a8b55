//! The expiry notice: what its script asks of the gateway, and which pages get it.

#[cfg(feature = "html-rewrite")]
mod pages;
#[cfg(feature = "html-rewrite")]
mod policies;

use std::time::Duration;

use crate::harness::client::{LOGIN, SESSION_COOKIE};
use crate::harness::{Backend, Gateway, PASSWORD, Setup};

#[test]
fn the_script_is_served_to_everybody_and_may_be_kept_for_a_while() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let script = visitor.get(SCRIPT);
    assert_eq!((script.status, script.header("content-type")), (200, "text/javascript; charset=utf-8"));
    assert_eq!(script.header("cache-control"), "public, max-age=3600");
    assert_eq!(script.header("x-content-type-options"), "nosniff");
    assert!(script.body.len() < 8 * 1024, "{} bytes", script.body.len());
    let again = visitor.ask("GET", SCRIPT).header("if-none-match", script.header("etag")).send();
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(visitor.post(SCRIPT, "").status, 405);
}

#[test]
fn the_words_of_the_script_are_all_there() {
    let (_backend, gateway) = house();
    let words = gateway.visitor().get("/.vestibule/session/words").json();
    for part in ["soon", "last", "over", "other"] {
        for text in ["title", "lead"] {
            assert!(words[part][text].as_str().is_some_and(|text| !text.is_empty()), "{part} {text}");
        }
    }
    for word in ["lang", "stay", "later", "sign_in", "reload"] {
        assert!(words[word].as_str().is_some_and(|text| !text.is_empty()), "{word}");
    }
    assert!(words["soon"]["lead"].as_str().is_some_and(|text| text.contains("{time}")));
    assert!(words["other"]["lead"].as_str().is_some_and(|text| text.contains("{user}")));
}

#[test]
fn to_ask_for_the_time_left_takes_it_and_to_extend_it_gives_it_back() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    for _ in 0..2 {
        gateway.advance(MINUTE * 14);
        let left = alice.get(SESSION).json()["idle_seconds_left"].as_u64().expect("seconds");
        assert!(left == 16 * 60 || left == 2 * 60, "{left}");
    }
    let extended = alice.ask("POST", EXTEND).header("sec-fetch-site", "same-origin").send();
    assert_eq!((extended.status, &extended.json()["idle_seconds_left"]), (200, &(30 * 60).into()));
    let foreign = alice.ask("POST", EXTEND).header("sec-fetch-site", "cross-site").send();
    assert_eq!(foreign.status, 403);
    gateway.advance(MINUTE * 30);
    let over = alice.ask("POST", EXTEND).header("sec-fetch-site", "same-origin").send();
    assert_eq!((over.status, over.error()), (401, "not signed in".to_owned()));
}

#[test]
fn a_session_that_its_browser_keeps_is_extended_by_a_newer_cookie() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).store("cookie:"));
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(MINUTE * 29);
    let extended = alice.ask("POST", EXTEND).header("sec-fetch-site", "same-origin").send();
    assert!(extended.set_cookie(SESSION_COOKIE).is_some(), "{:?}", extended.headers);
    gateway.advance(MINUTE * 29);
    assert_eq!(alice.page("/").status, 200);
}

#[test]
fn a_login_in_a_small_window_ends_on_a_page_that_closes_it() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let asked = visitor.page(DONE);
    assert_eq!((asked.status, asked.location()), (303, "/.vestibule/login?next=/.vestibule/login/done"));
    let place = asked.location().to_owned();
    let form = visitor.page(&place).login_form().fill("text", "alice").fill("password", PASSWORD);
    let answer = visitor.submit(&form, &place);
    assert_eq!((answer.status, answer.location()), (303, DONE));
    let done = visitor.page(DONE);
    assert!(done.status == 200 && done.text().contains("data-close"), "{}", done.text());
    assert!(done.header("content-security-policy").contains("script-src 'self';"));
}

#[test]
fn who_is_signed_in_can_sign_in_again_before_the_end() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    assert!(alice.page(LOGIN).text().contains("signed in already"));
    gateway.advance(MINUTE);
    let place = format!("{LOGIN}?prompt=login&next={DONE}");
    let (before, page) = (alice.session_cookie(), alice.page(&place));
    assert!(page.text().contains("value=\"alice\""), "{}", page.text());
    let answer = alice.submit(&page.login_form().fill("password", PASSWORD), &place);
    assert_eq!((answer.status, answer.location()), (303, DONE));
    assert_ne!(alice.session_cookie(), before);
    let left = alice.get(SESSION).json()["absolute_seconds_left"].as_u64();
    assert_eq!(left, Some(12 * 3_600));
}

#[test]
fn the_pages_on_the_way_to_a_session_keep_fragments_by_a_script_of_ours() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let (place, page) = visitor.login_page("/wiki");
    let refused = visitor.submit(&page.login_form().fill("text", "alice").fill("password", "wrong"), &place);
    assert_eq!(refused.status, 401);
    for page in [page, refused] {
        assert!(page.text().contains("onward-"), "{}", page.text());
        let policy = page.header("content-security-policy");
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    }
}

fn house() -> (Backend, Gateway) {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    (backend, gateway)
}

const SCRIPT: &str = "/.vestibule/notice.js";
const SESSION: &str = "/.vestibule/session";
const EXTEND: &str = "/.vestibule/session/extend";
const DONE: &str = "/.vestibule/login/done";

const MINUTE: Duration = Duration::from_mins(1);
