//! Staying signed in: longer than the browser is open, and no proof that somebody is there again.

use std::time::Duration;

use super::{IDLE, RENEW, given, house};
use crate::harness::client::SESSION_COOKIE;
use crate::harness::{Client, Gateway};

#[test]
fn a_remembered_session_survives_the_browser_and_another_does_not() {
    let (_backend, gateway) = house(&[]);
    let alice = gateway.visitor().remembered_as("alice");
    let ada = gateway.visitor().signed_in_as("ada");
    gateway.advance(DAY);
    assert!(ada.reopened().page("/").asks_login());
    let reopened = alice.reopened();
    assert_eq!(reopened.page("/").status, 200);
    let again = reopened.reopened();
    assert_ne!(again.session_cookie(), alice.session_cookie(), "the token was renewed meanwhile");
    assert_eq!(again.page("/").status, 200);
}

#[test]
fn a_renewed_cookie_lasts_for_what_is_left_and_no_longer() {
    let (_backend, gateway) = house(&[("renew_id", "'15m'")]);
    let alice = gateway.visitor().remembered_as("alice");
    for (wait, days_left) in [(10 * DAY, 20), (10 * DAY, 10), (9 * DAY, 1)] {
        gateway.advance(wait);
        let answer = alice.page("/");
        let line = answer.set_cookie(SESSION_COOKIE).expect("a new token");
        assert!(line.ends_with(&format!("; Max-Age={}", days_left * DAY.as_secs())), "{line}");
        assert_eq!(alice.page("/").status, 200);
    }
    gateway.advance(DAY - RENEW);
    let answer = alice.page("/");
    assert!(answer.set_cookie(SESSION_COOKIE).expect("a new token").ends_with("; Max-Age=900"));
    gateway.advance(RENEW);
    assert!(alice.page("/").asks_login());
}

#[test]
fn a_cookie_that_comes_back_is_no_new_proof_of_who_somebody_is() {
    let (_backend, gateway) = house(&[]);
    let mut alice = gateway.visitor().remembered_as("alice");
    let proved = signed_in_since(&alice);
    for _ in 0..5 {
        gateway.advance(3 * DAY);
        alice = alice.reopened();
        assert_eq!(alice.page("/").status, 200);
        assert_eq!(alice.post("/.vestibule/session/extend", "").status, 200);
        assert_eq!(signed_in_since(&alice), proved);
    }
}

#[test]
fn an_offer_that_is_withdrawn_makes_remembered_sessions_ordinary() {
    let (_backend, gateway) = house(&[]);
    let alice = gateway.visitor().remembered_as("alice");
    gateway.advance(DAY);
    assert_eq!(alice.page("/").status, 200);
    withdraw(&gateway);
    assert!(alice.page("/").asks_login(), "an ordinary session of a day ago is over");
    let ada = gateway.visitor().signed_in_as("ada");
    gateway.advance(RENEW);
    let answer = ada.page("/");
    assert!(given(&answer).is_some());
    assert!(!answer.set_cookie(SESSION_COOKIE).expect("a line").contains("Max-Age"));
    gateway.advance(IDLE);
    assert!(ada.page("/").asks_login());
}

fn withdraw(gateway: &Gateway) {
    let config = gateway.folder.read("vestibule.toml").replace("[session]\n", "[session]\nremember = '0s'\n");
    gateway.folder.write("vestibule.toml", &config);
    gateway.reload().expect("a reload");
}

/// What the account page says of the login.
#[track_caller]
fn signed_in_since(visitor: &Client) -> String {
    let text = visitor.page("/.vestibule/account").text();
    let (_, rest) = text.split_once("<dt>Signed in since</dt><dd>").expect("the time of the login");
    rest.split('<').next().expect("a time").to_owned()
}

const DAY: Duration = Duration::from_hours(24);
