//! A form that came at the wrong moment, and a browser that comes back to another gateway.

use super::continuing::{CONTINUE, FORM, send};
use super::*;
use crate::harness::Pair;
use crate::servers::mariadb::MariaDb;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

#[test]
fn over_redis_a_form_goes_on_at_whichever_gateway() {
    let server = Redis::start();
    a_form_goes_on_at_whichever_gateway(&server.url());
}

#[test]
fn over_postgresql_a_form_goes_on_at_whichever_gateway() {
    let server = Postgres::start();
    a_form_goes_on_at_whichever_gateway(&server.url());
}

#[test]
fn over_mariadb_a_form_goes_on_at_whichever_gateway() {
    let server = MariaDb::start();
    a_form_goes_on_at_whichever_gateway(&server.url());
}

#[test]
fn nothing_that_was_typed_can_be_read_where_gateways_meet() {
    let server = Postgres::start();
    let pair = pair_over(&server.url());
    let alice = pair.one.visitor().signed_in_as("alice");
    pair.advance(5 * MINUTE);
    send(&alice, "/fresh", FORM);
    assert_eq!(server.query("SELECT count(*), min(length(owner)) FROM vestibule_forms"), "1|16");
    let clear = "position('typed'::bytea IN sealed) + position('/fresh'::bytea IN sealed)";
    assert_eq!(server.query(&format!("SELECT {clear} FROM vestibule_forms")), "0");
}

#[track_caller]
fn a_form_goes_on_at_whichever_gateway(store: &str) {
    let pair = pair_over(store);
    a_form_of_an_expired_session_is_kept_by_the_gateway_that_never_saw_its_author(&pair);
    a_button_that_is_pressed_at_both_at_once_sends_once(&pair);
    a_form_outlives_the_gateway_that_kept_it(pair);
}

#[track_caller]
fn a_form_of_an_expired_session_is_kept_by_the_gateway_that_never_saw_its_author(pair: &Pair) {
    let alice = pair.one.visitor().signed_in_as("alice").moved_to(pair.two.address());
    pair.advance(2 * 60 * MINUTE);
    let asked = send(&alice, "/save", FORM);
    assert_eq!(asked.status, 303, "{}", asked.text());
    let login = alice.page(asked.location()).login_form().fill("text", "alice").fill("password", PASSWORD);
    let alice = alice.moved_to(pair.one.address());
    let back = alice.submit(&login, "/");
    assert!(back.location().starts_with(CONTINUE), "{} {}", back.status, back.location());
    assert_eq!(alice.page(back.location()).form().encoded(), FORM);
    alice.sign_out();
}

#[track_caller]
fn a_button_that_is_pressed_at_both_at_once_sends_once(pair: &Pair) {
    let alice = pair.one.visitor().signed_in_as("alice");
    pair.advance(5 * MINUTE);
    let asked = send(&alice, "/fresh", FORM);
    let alice = alice.moved_to(pair.two.address());
    let confirm = alice.page(asked.location()).login_form().fill("password", PASSWORD);
    let confirmed = alice.submit(&confirm, CONFIRM);
    let form = alice.page(confirmed.location()).form();
    let tabs = [&pair.one, &pair.two].map(|gateway| alice.moved_to(gateway.address()));
    let pressed = std::thread::scope(|scope| {
        let pressing = tabs.map(|tab| {
            let form = &form;
            scope.spawn(move || tab.submit(form, CONTINUE).status)
        });
        pressing.map(|one| one.join().expect("an answer"))
    });
    assert!([[307, 404], [404, 307]].contains(&pressed), "{pressed:?}");
}

#[track_caller]
fn a_form_outlives_the_gateway_that_kept_it(pair: Pair) {
    let alice = pair.one.visitor().signed_in_as("alice");
    pair.advance(5 * MINUTE);
    let asked = send(&alice, "/fresh/save?x=%2F", FORM);
    let Pair { one, two, backend } = pair;
    one.stop();
    let alice = alice.moved_to(two.address());
    let page = alice.page(asked.location());
    let confirmed = alice.submit(&page.login_form().fill("password", PASSWORD), CONFIRM);
    assert!(confirmed.location().starts_with(CONTINUE), "{}", confirmed.location());
    let form = alice.page(confirmed.location()).form();
    assert_eq!(form.encoded(), FORM, "as it was typed");
    let pressed = alice.submit(&form, CONTINUE);
    assert_eq!((pressed.status, pressed.location()), (307, "/fresh/save?x=%2F"));
    assert_eq!(send(&alice, pressed.location(), &form.encoded()).status, 200);
    assert_eq!(backend.received().target(), "/fresh/save?x=%2F");
    assert_eq!(alice.submit(&form, CONTINUE).status, 404, "once");
}

/// Two gateways over `store`, each with its own accounts.
#[track_caller]
fn pair_over(store: &str) -> Pair {
    let backend = Backend::start();
    Pair::start(&setup(&backend).store(store), backend)
}
