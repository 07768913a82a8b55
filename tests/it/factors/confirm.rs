//! Routes that demand more than a session, and the page in between.

use super::*;

#[test]
fn a_fresh_route_asks_whether_it_is_still_you_and_goes_on() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(alice.page("/fresh").status, 200, "the login is fresh");
    gateway.advance(5 * MINUTE);
    assert_eq!(alice.page("/").status, 200);
    let asked = alice.page("/fresh/a%20b?c=%2F");
    assert_eq!(asked.status, 303);
    assert_eq!(asked.location(), "/.vestibule/confirm?for=fresh&next=/fresh/a%2520b%3Fc%3D%252F");
    let page = alice.page(asked.location());
    let before = alice.session_cookie().expect("a session");
    let wrong = alice.submit(&page.form_to(CONFIRM).fill("password", "wrong"), CONFIRM);
    assert_eq!(wrong.status, 401);
    assert!(alice.page("/fresh").location().contains("/confirm"));
    let right = alice.submit(&wrong.form_to(CONFIRM).fill("password", PASSWORD), CONFIRM);
    assert_eq!((right.status, right.location()), (303, "/fresh/a%20b?c=%2F"));
    assert_eq!(alice.page("/fresh").status, 200);
    let thief = gateway.visitor();
    thief.put_cookie("__Host-vestibule", &before);
    assert!(thief.page("/").asks_login(), "the token of before is worth nothing");
    gateway.advance(5 * MINUTE);
    assert!(alice.page("/fresh").location().contains("/confirm"));
}

#[test]
fn a_script_is_told_what_to_do_and_never_redirected() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let answer = alice.get("/mfa");
    assert_eq!((answer.status, answer.error().as_str()), (401, "step_up_required"));
    assert_eq!(answer.json()["confirm_url"], "/.vestibule/confirm?for=factor");
    assert!(!answer.header("www-authenticate").is_empty());
    assert_eq!(alice.get("/").status, 200);
}

#[test]
fn who_has_no_factor_gets_one_on_the_way_to_a_route_that_demands_it() {
    let (backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(5 * MINUTE);
    let asked = alice.page("/mfa?x=1");
    let to_enrolment = alice.page(asked.location());
    assert_eq!(to_enrolment.status, 303);
    let place = to_enrolment.location().to_owned();
    assert!(place.starts_with(TOTP), "{place}");
    let to_confirm = alice.page(&place);
    assert!(to_confirm.location().starts_with(CONFIRM), "enrolment wants a fresh confirmation first");
    let page = alice.page(to_confirm.location());
    let confirmed = alice.submit(&page.form_to(CONFIRM).fill("password", PASSWORD), CONFIRM);
    assert_eq!((confirmed.status, confirmed.location()), (303, place.as_str()));
    let page = alice.page(&place);
    let phone = Phone::reading(&page, &gateway);
    let codes_page = alice.submit(&page.form_to(TOTP).fill_name("code", &phone.code_at(0)), TOTP);
    assert_eq!(codes(&codes_page).len(), 10, "{}", codes_page.text());
    assert!(codes_page.text().contains("href=\"&#x2f;mfa?x=1\""), "{}", codes_page.text());
    assert!(backend.saw_nothing(), "nothing passed before the factor was shown");
    assert_eq!(alice.page("/mfa?x=1").status, 200);
}

#[test]
fn a_password_is_no_second_factor_however_fresh_it_is() {
    let (_backend, gateway) = house();
    let (alice, phone, _) = with_factor(&gateway, "alice");
    assert_eq!(alice.page("/both").status, 200, "the enrolment showed it");
    gateway.advance(6 * MINUTE);
    assert_eq!(alice.page("/mfa").status, 200, "once in the session");
    let asked = alice.page("/both");
    assert!(asked.location().starts_with("/.vestibule/confirm?for=factor&"), "{}", asked.location());
    let page = alice.page(asked.location());
    assert!(!page.text().contains("type=\"password\""), "{}", page.text());
    let anything = alice.page("/.vestibule/confirm?for=fresh&next=/both");
    let by_password = anything.login_form().fill("password", PASSWORD);
    assert_eq!(alice.submit(&by_password, CONFIRM).status, 303);
    assert!(alice.page("/both").location().contains("for=factor"));
    let page = alice.page(asked.location());
    let right = alice.submit(&page.form_with("code").fill_name("code", &phone.next_code()), CONFIRM);
    assert_eq!((right.status, right.location()), (303, "/both"));
    assert_eq!(alice.page("/both").status, 200);
}

#[test]
fn a_remembered_session_is_never_fresh_by_itself() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().remembered_as("alice");
    gateway.advance(24 * 60 * MINUTE);
    let reopened = alice.reopened();
    assert_eq!(reopened.page("/").status, 200);
    assert!(reopened.page("/fresh").location().contains("/confirm"));
}

#[test]
fn a_confirmation_leads_to_no_other_host_and_to_no_page_of_ours_in_circles() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    for next in
        ["//evil.example", "https://evil.example", "/.vestibule/logout", "/.vestibule/confirm", "/%0d%0aX:y"]
    {
        let page = alice.page(&format!("{CONFIRM}?next={next}"));
        let answer = alice.submit(&page.login_form().fill("password", PASSWORD), CONFIRM);
        assert_eq!(answer.status, 303);
        assert!(answer.location().starts_with('/') && !answer.location().starts_with("//"), "{next}");
        assert!(!answer.location().contains("evil") || answer.location().starts_with("/%"), "{next}");
        assert!(!answer.location().contains(".vestibule"), "{next}");
    }
}

#[test]
fn a_forged_confirmation_changes_nothing() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(5 * MINUTE);
    let form = alice.page(CONFIRM).login_form().fill("password", PASSWORD);
    let answer = alice.submit(&form.without_hidden(), CONFIRM);
    assert_eq!(answer.status, 403);
    let abroad = alice.ask("POST", CONFIRM).as_page().header("sec-fetch-site", "cross-site").send();
    assert_eq!(abroad.status, 403);
    assert!(alice.page("/fresh").location().contains("/confirm"));
}

#[test]
fn explain_says_what_a_route_demands() {
    let (_backend, gateway) = house();
    let explain = |path: &str, more: &[&str]| {
        let url = format!("https://localhost{path}");
        let finished = gateway.folder.run(&[&["explain", "GET", &url, "--user", "alice"], more].concat());
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        finished.stdout
    };
    let both = explain("/both", &[]);
    assert!(both.contains("mfa = true, fresh = \"5m\""), "{both}");
    assert!(both.contains("asked to show a second factor: 303"), "{both}");
    assert!(explain("/both", &["--shown", "password"]).contains("asked to show a second factor"));
    assert!(explain("/both", &["--shown", "code"]).contains("forwarded as `alice`"));
    assert!(explain("/fresh", &[]).contains("asked to confirm that it is still them"));
    assert!(explain("/fresh", &["--shown", "password"]).contains("forwarded as `alice`"));
}
