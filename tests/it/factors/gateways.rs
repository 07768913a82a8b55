//! Two gateways that know the same people: what somebody has at one, they have at the other.

use super::*;
use crate::harness::gateway::prepared;
use crate::harness::{Folder, Pair};
use crate::servers::mariadb::MariaDb;
use crate::servers::postgres::Postgres;

#[test]
fn over_postgresql_gateways_know_the_same_factors() {
    let server = Postgres::start();
    factors_are_shared_by(&pair_over(&server.url()));
}

#[test]
fn over_mariadb_gateways_know_the_same_factors() {
    let server = MariaDb::start();
    factors_are_shared_by(&pair_over(&server.url()));
}

#[test]
fn people_who_are_declared_in_a_file_have_their_factors_in_the_database_that_is_named() {
    let server = Postgres::start();
    let backend = Backend::start();
    let setup = setup(&backend)
        .set("login.password.users", "'file:users.toml'")
        .set("login.factors", &format!("'{}'", server.url()));
    let folder = prepared(Folder::new(), &setup);
    let people =
        ["alice", "ada"].map(|name| folder.run_with_input(&["users", "hash", name], PASSWORD).stdout);
    let twin = prepared(folder.twin(), &setup);
    for folder in [&folder, &twin] {
        folder.write("users.toml", &people.concat());
    }
    let pair = Pair { one: Gateway::start_in(folder), two: Gateway::start_in(twin), backend };
    codes_are_shared_by(&pair);
    assert!(!pair.one.folder.path("factors.db").exists());
    assert_eq!(server.query("SELECT part, version FROM vestibule_schema"), "second factors|1");
}

#[test]
fn nobody_is_let_in_by_the_password_alone_while_factors_cannot_be_read() {
    let mut server = Postgres::start();
    let backend = Backend::start();
    let setup = setup(&backend)
        .set("login.password.users", "'file:users.toml'")
        .set("login.factors", &format!("'{}'", server.url()));
    let folder = prepared(Folder::new(), &setup);
    folder.write("users.toml", &folder.run_with_input(&["users", "hash", "alice"], PASSWORD).stdout);
    let gateway = Gateway::start_in(folder);
    let (alice, phone, _) = with_factor(&gateway, "alice");
    server.stop();
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 503);
    assert_eq!(alice.get("/mfa").status, 200, "who has shown it already goes on");
    let ready = gateway.admin("/ready");
    assert_eq!(ready.status, 503, "{}", ready.text());
    server.start_again();
    let (visitor, page) = factor_page(&gateway, "alice");
    assert_eq!(show_code(&visitor, &page, &phone.next_code()).status, 303);
}

#[test]
fn a_gateway_starts_while_the_database_of_its_factors_is_down() {
    let mut server = Postgres::start();
    server.stop();
    let pair = pair_of_nobody(&server.url());
    assert_eq!(pair.one.visitor().try_login("/", "alice", PASSWORD).status, 503);
    server.start_again();
    add(&pair.one.folder, "alice");
    with_factor(&pair.one, "alice");
    factor_page(&pair.two, "alice");
}

#[track_caller]
fn factors_are_shared_by(pair: &Pair) {
    let (phone, codes) = codes_are_shared_by(pair);
    a_code_that_is_typed_at_both_at_once_signs_in_once(pair, &phone);
    a_link_from_one_serves_at_the_other(pair, &phone, &codes);
    nothing_outlives_an_account(pair);
}

/// Alice gets her codes at the first gateway.
#[track_caller]
fn codes_are_shared_by(pair: &Pair) -> (Phone, Vec<String>) {
    let (_, phone, codes) = with_factor(&pair.one, "alice");
    let (visitor, page) = factor_page(&pair.two, "alice");
    let code = next_code(pair, &phone);
    assert_eq!(show_code(&visitor, &page, &code).status, 303);
    assert_eq!(visitor.page("/mfa").status, 200, "the factor counts at the gateway that saw it");
    let (visitor, page) = factor_page(&pair.one, "alice");
    assert_eq!(show_code(&visitor, &page, &code).status, 401, "it was used at the other");
    assert_eq!(show_recovery(&visitor, &page, &codes[0]).status, 303);
    let (visitor, page) = factor_page(&pair.two, "alice");
    assert_eq!(show_recovery(&visitor, &page, &codes[0]).status, 401, "it was used at the other");
    assert_eq!(show_recovery(&visitor, &page, &codes[1]).status, 303);
    let ada = pair.two.visitor().signed_in_as("ada");
    assert!(ada.page("/mfa").location().starts_with(CONFIRM), "what is Alice's is not Ada's");
    (phone, codes)
}

#[track_caller]
fn a_code_that_is_typed_at_both_at_once_signs_in_once(pair: &Pair, phone: &Phone) {
    for _ in 0..3 {
        let pages = [&pair.one, &pair.two].map(|gateway| factor_page(gateway, "alice"));
        let code = next_code(pair, phone);
        let shown = std::thread::scope(|scope| {
            let showing = pages.map(|(visitor, page)| {
                let code = &code;
                scope.spawn(move || show_code(&visitor, &page, code).status)
            });
            showing.map(|one| one.join().expect("an answer"))
        });
        let signed_in = shown.iter().filter(|status| **status == 303).count();
        assert_eq!(signed_in, 1, "{shown:?}");
    }
}

#[track_caller]
fn a_link_from_one_serves_at_the_other(pair: &Pair, phone: &Phone, codes: &[String]) {
    let printed = pair.one.folder.run(&["users", "reset", "alice", "--remove-factors"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let url = printed.stdout.lines().next().expect("a link").to_owned();
    let link = &url[url.find(RESET).expect("the page of the link")..];
    let (waiting, page) = factor_page(&pair.one, "alice");
    let visitor = pair.two.visitor();
    let form = visitor.page(link).form_to(RESET).fill_name("password", NEW).fill_name("again", NEW);
    assert_eq!(visitor.submit(&form, link).status, 303);
    assert_eq!(pair.one.visitor().page(link).status, 404, "once");
    assert_ne!(show_code(&waiting, &page, &next_code(pair, phone)).status, 303);
    assert_ne!(show_recovery(&waiting, &page, &codes[2]).status, 303);
    assert_eq!(pair.one.visitor().try_login("/", "alice", NEW).status, 303, "without a factor");
}

#[track_caller]
fn nothing_outlives_an_account(pair: &Pair) {
    with_factor(&pair.two, "ada");
    assert_eq!(pair.one.folder.run(&["users", "remove", "ada"]).code, 0);
    add(&pair.two.folder, "ada");
    assert_eq!(pair.one.visitor().try_login("/", "ada", PASSWORD).status, 303, "she has no factor");
}

/// Two gateways with the accounts in the database at `url`: Alice's and Ada's.
#[track_caller]
fn pair_over(url: &str) -> Pair {
    let pair = pair_of_nobody(url);
    for name in ["alice", "ada"] {
        add(&pair.one.folder, name);
    }
    pair
}

#[track_caller]
fn pair_of_nobody(url: &str) -> Pair {
    let backend = Backend::start();
    let setup = setup(&backend).set("login.password.users", &format!("'{url}'"));
    Pair::start(&setup, backend)
}

/// A code that was used at neither.
fn next_code(pair: &Pair, phone: &Phone) -> String {
    pair.two.advance(STEP);
    phone.next_code()
}

#[track_caller]
fn add(folder: &Folder, user: &str) {
    let added = folder.run_with_input(&["users", "add", user], PASSWORD);
    assert_eq!(added.code, 0, "{}", added.stderr);
}

const RESET: &str = "/.vestibule/reset";
const NEW: &str = "another horse battery";
