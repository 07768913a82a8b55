//! The one-time link of an administrator.

use super::*;
use crate::harness::Folder;
use crate::harness::assumptions::event;
use crate::harness::eventually;
use crate::harness::gateway::prepared;
use crate::servers::redis::Redis;

#[test]
fn a_link_sets_a_password_once_and_takes_what_was_lost() {
    let (_backend, gateway) = house();
    let (lost, _, _) = with_factor(&gateway, "alice");
    let link = link(&gateway, &["--remove-factors"]);
    let visitor = gateway.visitor();
    let page = visitor.page(&link);
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(visitor.page(&link).status, 200, "looking uses nothing up");
    let short = page.form_to(RESET).fill_name("password", "short").fill_name("again", "short");
    assert_eq!(visitor.submit(&short, &link).status, 422, "nor does a password that is none");
    let form = page.form_to(RESET).fill_name("password", NEW).fill_name("again", NEW);
    let done = visitor.submit(&form, &link);
    assert_eq!(done.status, 303, "{}", done.text());
    assert!(visitor.page(done.location()).text().contains("Your password is changed."));
    assert!(lost.page("/").asks_login(), "every session is over");
    assert_eq!(visitor.submit(&form, &link).status, 404);
    assert_eq!(visitor.page(&link).status, 404);
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 401);
    assert_eq!(gateway.visitor().try_login("/", "alice", NEW).status, 303, "without a factor");
    gateway.audited(event::ACCOUNT_RESET);
}

#[test]
fn a_link_stays_good_while_the_sessions_of_its_user_cannot_be_ended() {
    let mut redis = Redis::start();
    let backend = Backend::start();
    let gateway = Gateway::start(&setup(&backend).store(&redis.url()));
    let (_, _, codes) = with_factor(&gateway, "alice");
    let link = link(&gateway, &["--remove-factors"]);
    let visitor = gateway.visitor();
    let form = visitor.page(&link).form_to(RESET).fill_name("password", NEW).fill_name("again", NEW);
    redis.kill();
    assert_eq!(visitor.submit(&form, &link).status, 503);
    redis.start_again();
    gateway.advance(MINUTE);
    eventually("a store that answers", || (gateway.admin("/ready").status == 200).then_some(()));
    let (asked, page) = factor_page(&gateway, "alice");
    assert_eq!(show_recovery(&asked, &page, &codes[0]).status, 303, "nothing was changed");
    assert_eq!(visitor.submit(&form, &link).status, 303);
    assert!(asked.page("/").asks_login());
    assert_eq!(gateway.visitor().try_login("/", "alice", NEW).status, 303);
}

#[test]
fn factors_stay_unless_they_are_said_to_be_lost() {
    let (_backend, gateway) = house();
    let (_, phone, _) = with_factor(&gateway, "alice");
    let link = link(&gateway, &[]);
    let visitor = gateway.visitor();
    let form = visitor.page(&link).form_to(RESET).fill_name("password", NEW).fill_name("again", NEW);
    assert_eq!(visitor.submit(&form, &link).status, 303);
    let page = gateway.visitor();
    let asked = page.try_login("/", "alice", NEW);
    assert_eq!(show_code(&page, &asked, &phone.next_code()).status, 303);
}

#[test]
fn a_link_ends_with_its_time_and_with_the_next_one() {
    let (_backend, gateway) = house();
    let first = link(&gateway, &[]);
    let second = link(&gateway, &["--expires", "10m"]);
    assert_eq!(gateway.visitor().page(&first).status, 404);
    assert_eq!(gateway.visitor().page(&second).status, 200);
    gateway.advance(11 * MINUTE);
    assert_eq!(gateway.visitor().page(&second).status, 404);
    for token in ["", "x", "AAAA"] {
        assert_eq!(gateway.visitor().page(&format!("{RESET}?token={token}")).status, 404);
    }
    let unknown = gateway.folder.run(&["users", "reset", "nobody"]);
    assert_eq!(unknown.code, 1);
}

#[test]
fn factors_of_an_account_in_a_file_are_removed_at_once() {
    let backend = Backend::start();
    let setup = setup(&backend).set("login.password.users", "'file:users.toml'");
    let folder = prepared(Folder::new(), &setup);
    folder.write("users.toml", &folder.run_with_input(&["users", "hash", "alice"], PASSWORD).stdout);
    let gateway = Gateway::start_in(folder);
    let (alice, _, _) = with_factor(&gateway, "alice");
    let refused = gateway.folder.run(&["users", "reset", "alice"]);
    assert!(refused.code == 1 && refused.stderr.contains("edited by hand"), "{}", refused.stderr);
    let removed = gateway.folder.run(&["users", "reset", "Alice", "--remove-factors"]);
    assert!(removed.code == 0 && removed.stdout.contains("no second factors any more"), "{}", removed.stderr);
    assert!(alice.page("/").asks_login(), "every session is over");
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 303, "without a factor");
    let again = gateway.folder.run(&["users", "reset", "alice", "--remove-factors"]);
    assert_eq!((again.code, again.stdout.as_str()), (0, "`alice` has no second factors\n"));
}

/// Path and query of the link that `vestibule users reset` prints.
#[track_caller]
fn link(gateway: &Gateway, more: &[&str]) -> String {
    let finished = gateway.folder.run(&[&["users", "reset", "alice"], more].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let url = finished.stdout.lines().next().expect("a link").to_owned();
    let at = url.find(RESET).expect("the page of the link");
    url[at..].to_owned()
}

const RESET: &str = "/.vestibule/reset";
const NEW: &str = "another horse battery";
