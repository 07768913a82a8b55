//! How many sessions a user may have, what another one does, and what users see of theirs.

use std::time::Duration;

use super::{SECOND, counted, house};
use crate::harness::form::Form;
use crate::harness::{Answer, Client, Gateway, PASSWORD};

#[test]
fn one_session_more_than_allowed_ends_the_oldest() {
    let (_backend, gateway) = house(&[("max_per_user", "2"), ("at_limit", "'evict-oldest'")]);
    let ada = gateway.visitor().signed_in_as("ada");
    let mut signed_in: Vec<Client> = Vec::new();
    for number in 0..4 {
        gateway.advance(SECOND);
        signed_in.push(gateway.visitor().signed_in_as("alice"));
        let live = signed_in.iter().map(|browser| browser.get("/").status == 200).collect::<Vec<_>>();
        let expected = (0..=number).map(|age| age + 2 > number).collect::<Vec<_>>();
        assert_eq!(live, expected);
    }
    assert!(signed_in[0].page("/").asks_login());
    assert_eq!(gateway.audited("session_revoked")["detail"], "too many sessions of the user");
    assert_eq!(counted(&gateway, "session_revoked"), 2);
    assert_eq!(ada.get("/").status, 200);
}

#[test]
fn where_it_is_refused_the_user_chooses_which_to_end_and_goes_on() {
    let (_backend, gateway) = refusing();
    let old = gateway.visitor().always("user-agent", FIREFOX).signed_in_as("alice");
    gateway.advance(Duration::from_mins(3));
    let young = gateway.visitor().signed_in_as("alice");
    let alice = gateway.visitor().over_h2();
    let page = alice.try_login("/wiki?a=%2F", "alice", PASSWORD);
    assert_eq!((page.status, page.header("cache-control")), (200, "no-store"));
    assert!(alice.session_cookie().is_none());
    for part in ["Firefox on Linux", "An unknown browser", "127.0.0.1", "Last seen 3 minutes ago"] {
        assert!(page.text().contains(part), "{part} in {}", page.text());
    }
    let form = page.form_to(CHOICE);
    let ids = form.choices("end");
    assert_eq!(ids.len(), 2);
    let answer = alice.submit(&form.choose("end", &ids[1]), CHOICE);
    assert_eq!((answer.status, answer.location()), (303, "/wiki?a=%2F"));
    assert_eq!([&alice, &young, &old].map(|browser| browser.get("/").status), [200, 200, 401]);
    assert_eq!(counted(&gateway, "authn_login_success"), 3);
    assert_eq!(counted(&gateway, "session_created"), 3);
    assert_eq!(gateway.audited("session_revoked")["user"], "alice");
}

#[test]
fn who_chooses_nothing_is_asked_again_and_may_end_them_all() {
    let (_backend, gateway) = refusing();
    let others = [(); 2].map(|()| gateway.visitor().signed_in_as("alice"));
    let alice = gateway.visitor();
    let page = alice.try_login("/", "alice", PASSWORD);
    let again = alice.submit(&page.form_to(CHOICE), CHOICE);
    assert_eq!(again.status, 409);
    assert!(again.text().contains("Choose at least one"), "{}", again.text());
    let answer = alice.submit(&again.form_to(CHOICE).choose("all", "yes"), CHOICE);
    assert_eq!((answer.status, answer.location()), (303, "/"));
    assert_eq!(alice.get("/").status, 200);
    assert!(others.iter().all(|other| other.get("/").status == 401));
}

#[test]
fn another_login_that_was_faster_is_told_of() {
    let (_backend, gateway) = refusing();
    let _others = [(); 2].map(|()| gateway.visitor().signed_in_as("alice"));
    let [slow, fast] = [(); 2].map(|()| gateway.visitor());
    let pages = [&slow, &fast].map(|browser| browser.try_login("/", "alice", PASSWORD).form_to(CHOICE));
    let [of_slow, of_fast] = pages.map(|form| {
        let first = form.choices("end")[0].clone();
        form.choose("end", &first)
    });
    assert_eq!(fast.submit(&of_fast, CHOICE).status, 303);
    assert_eq!(slow.submit(&of_slow, CHOICE).status, 409);
    assert_eq!(fast.get("/").status, 200);
}

#[test]
fn choosing_the_sessions_of_somebody_else_ends_none() {
    let (_backend, gateway) = refusing();
    let of_ada = [(); 2].map(|()| gateway.visitor().signed_in_as("ada"));
    let ids = gateway.visitor().try_login("/", "ada", PASSWORD).form_to(CHOICE).choices("end");
    let of_alice = [(); 2].map(|()| gateway.visitor().signed_in_as("alice"));
    let alice = gateway.visitor();
    let page = alice.try_login("/", "alice", PASSWORD);
    let form = page
        .form_to(CHOICE)
        .choices("end")
        .iter()
        .zip(&ids)
        .fold(page.form_to(CHOICE), |form, (own, foreign)| {
            form.choose("end", own).exchange("end", own, foreign)
        });
    assert_eq!(alice.submit(&form, CHOICE).status, 409);
    let account = of_alice[0].page(ACCOUNT);
    let form = account.form_to(OWN);
    let own = form.choices("end")[0].clone();
    let form = form.choose("end", &own).exchange("end", &own, &ids[0]);
    assert_eq!(of_alice[0].submit(&form, ACCOUNT).status, 303);
    assert!(of_ada.iter().chain(&of_alice).all(|browser| browser.get("/").status == 200));
    assert_eq!(counted(&gateway, "session_revoked"), 0);
}

#[test]
fn a_page_that_was_copied_signs_nobody_in_elsewhere_nor_twice_nor_late() {
    let (_backend, gateway) = refusing();
    let _others = [(); 2].map(|()| gateway.visitor().signed_in_as("alice"));
    let alice = gateway.visitor();
    let page = alice.try_login("/", "alice", PASSWORD);
    let everywhere = |page: &Answer| page.form_to(CHOICE).choose("all", "yes");
    let thief = gateway.visitor();
    let own_token = thief.login_page("/").1.login_form().hidden_value("token");
    let refused = thief.submit(&everywhere(&page).forge("token", &own_token), CHOICE);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("That took too long"), "{}", refused.text());
    gateway.advance(Duration::from_mins(5));
    let late = alice.submit(&everywhere(&page), CHOICE);
    assert_eq!((late.status, late.login_form().value("text")), (403, Some("alice")));
    let page = alice.try_login("/", "alice", PASSWORD);
    assert_eq!(alice.submit(&everywhere(&page), CHOICE).status, 303);
    alice.sign_out();
    assert_eq!(alice.submit(&everywhere(&page), CHOICE).status, 403);
    assert!(alice.page("/").asks_login());
}

#[test]
fn a_browser_that_signs_in_again_needs_no_further_place() {
    let (_backend, gateway) = refusing();
    let other = gateway.visitor().signed_in_as("alice");
    let alice = gateway.visitor();
    let (place, page) = alice.login_page("/");
    let form = page.login_form().fill("text", "alice").fill("password", PASSWORD);
    for _ in 0..3 {
        assert_eq!(alice.submit(&form, &place).status, 303);
    }
    assert_eq!([&alice, &other].map(|browser| browser.get("/").status), [200, 200]);
}

#[test]
fn users_see_their_sessions_and_end_others_of_them() {
    let (_backend, gateway) = house(&[]);
    let at_home = gateway.visitor().always("user-agent", FIREFOX).remembered_as("alice");
    gateway.advance(Duration::from_hours(2));
    let ada = gateway.visitor().signed_in_as("ada");
    let [here, there, elsewhere] = [(); 3].map(|()| gateway.visitor().signed_in_as("alice"));
    let page = here.page(ACCOUNT);
    for part in ["Firefox on Linux", "Last seen 2 hours ago", "This device", "Sign out everywhere else"] {
        assert!(page.text().contains(part), "{part} in {}", page.text());
    }
    let oldest = page.form_to(OWN).choices("end").pop().expect("a session");
    let answer = here.submit(&page.form_to(OWN).choose("end", &oldest), ACCOUNT);
    assert_eq!((answer.status, answer.location()), (303, "/.vestibule/account?reason=ended"));
    let page = here.page(answer.location());
    assert!(page.text().contains("You are signed out on the devices that you chose."), "{}", page.text());
    let live = || [&at_home, &here, &there, &elsewhere, &ada].map(|browser| browser.get("/").status == 200);
    assert_eq!(live(), [false, true, true, true, true]);
    let forged = here.page(ACCOUNT).form_to(OWN).without_hidden().choose("all", "yes");
    assert_eq!(here.submit(&forged, ACCOUNT).status, 403);
    let foreign = there.page(ACCOUNT).form_to(OWN).choose("all", "yes");
    assert_eq!(here.submit(&foreign, ACCOUNT).status, 403, "the form of another session");
    assert_eq!(live(), [false, true, true, true, true]);
    here.submit(&page.form_to(OWN).choose("all", "yes"), ACCOUNT);
    assert_eq!(live(), [false, true, false, false, true]);
    assert!(
        Form::sent_to(&here.page(ACCOUNT).text(), OWN).is_some_and(|form| form.choices("end").is_empty())
    );
}

fn refusing() -> (crate::harness::Backend, Gateway) {
    house(&[("max_per_user", "2"), ("at_limit", "'refuse'")])
}

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const CHOICE: &str = "/.vestibule/login/sessions";
const ACCOUNT: &str = "/.vestibule/account";
const OWN: &str = "/.vestibule/account/sessions";
