//! A form that came at the wrong moment: kept, offered once, sent by nobody but its author.

use super::*;
use crate::harness::Upload;
use crate::harness::client::LOGOUT;

#[test]
fn a_form_that_needs_a_confirmation_goes_on_after_it() {
    let (backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(5 * MINUTE);
    let asked = send(&alice, "/fresh/save?x=%2F", FORM);
    assert_eq!(asked.status, 303, "{}", asked.text());
    assert!(asked.location().starts_with("/.vestibule/confirm?for=fresh&next="), "{}", asked.location());
    let page = alice.page(asked.location());
    let confirmed = alice.submit(&page.login_form().fill("password", PASSWORD), CONFIRM);
    assert!(confirmed.location().starts_with(CONTINUE), "{}", confirmed.location());
    let offered = alice.page(confirmed.location());
    assert!(offered.text().contains("<code>&#x2f;fresh&#x2f;save</code>"), "{}", offered.text());
    assert!(backend.saw_nothing(), "nothing is sent before somebody presses the button");
    let form = offered.form();
    assert_eq!(form.encoded(), FORM, "as it was typed");
    let pressed = alice.submit(&form, CONTINUE);
    assert_eq!((pressed.status, pressed.location()), (307, "/fresh/save?x=%2F"));
    assert_eq!(
        pressed.header("referrer-policy"),
        "same-origin",
        "old applications check the referrer of a form"
    );
    assert_eq!(send(&alice, pressed.location(), &form.encoded()).status, 200);
    let received = backend.received();
    assert_eq!((received.method(), received.target()), ("POST", "/fresh/save?x=%2F"));
    assert_eq!(alice.submit(&form, CONTINUE).status, 404, "once");
    assert_eq!(alice.page(confirmed.location()).status, 404);
}

#[test]
fn a_form_of_an_expired_session_is_offered_after_the_login_of_the_same_user() {
    let (backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(2 * 60 * MINUTE);
    let asked = send(&alice, "/save", FORM);
    assert!(asked.asks_login(), "{} {}", asked.status, asked.text());
    assert!(asked.location().contains("reason=expired"));
    let page = alice.page(asked.location());
    let login = page.login_form().fill("text", "alice").fill("password", PASSWORD);
    let back = alice.submit(&login, "/");
    assert!(back.location().starts_with(CONTINUE), "{}", back.location());
    assert_eq!(alice.page(back.location()).form().encoded(), FORM);
    assert!(backend.saw_nothing());
}

#[test]
fn a_form_is_offered_to_no_other_user_and_in_no_other_browser() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(2 * 60 * MINUTE);
    let asked = send(&alice, "/save", FORM);
    let page = alice.page(asked.location());
    let login = page.login_form().fill("text", "ada").fill("password", PASSWORD);
    let back = alice.submit(&login, "/");
    let offered = alice.page(back.location());
    assert_eq!(offered.status, 404);
    assert!(!offered.text().contains("typed"), "{}", offered.text());
    let elsewhere = gateway.visitor().signed_in_as("alice");
    assert_eq!(elsewhere.page(back.location()).status, 404);
}

#[test]
fn a_form_is_offered_after_a_login_that_had_to_end_another_session() {
    let backend = Backend::start();
    let limited = setup(&backend).set("session.max_per_user", "1").set("session.at_limit", "'refuse'");
    let gateway = Gateway::start(&limited);
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(2 * 60 * MINUTE);
    let elsewhere = gateway.visitor().signed_in_as("alice");
    let asked = send(&alice, "/save", FORM);
    let login = alice.page(asked.location()).login_form().fill("text", "alice").fill("password", PASSWORD);
    let at_limit = alice.submit(&login, "/");
    let back = alice.submit(&at_limit.form_to("/.vestibule/login/sessions").choose("all", "yes"), "/");
    assert!(back.location().starts_with(CONTINUE), "{} {}", back.status, back.location());
    assert_eq!(alice.page(back.location()).form().encoded(), FORM);
    assert!(elsewhere.page("/").asks_login());
}

#[test]
fn files_of_a_form_are_named_and_chosen_again() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(5 * MINUTE);
    let body = "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\ntyped\r\n--b\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"<plan>.pdf\"\r\n\r\n%PDF\r\n--b--\r\n";
    let asked =
        alice.ask("POST", "/fresh").as_page().header("content-type", "multipart/form-data; boundary=b");
    let asked = asked.body(Upload::text(body)).send();
    let page = alice.page(asked.location());
    let confirmed = alice.submit(&page.login_form().fill("password", PASSWORD), CONFIRM);
    let text = alice.page(confirmed.location()).text();
    assert!(text.contains("enctype=\"multipart&#x2f;form-data\""), "{text}");
    assert!(text.contains("name=\"note\" value=\"typed\""), "{text}");
    assert!(text.contains("Choose the file again: &lt;plan&gt;.pdf</label>"), "{text}");
    assert!(!text.contains("%PDF"), "{text}");
}

#[test]
fn what_no_page_sent_or_is_too_large_is_not_kept() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(5 * MINUTE);
    let script =
        alice.ask("POST", "/fresh").header("content-type", URL_ENCODED).body(Upload::text(FORM)).send();
    assert_eq!((script.status, script.error().as_str()), (401, "step_up_required"));
    let json = alice.ask("POST", "/fresh").as_page().header("content-type", "application/json");
    assert_eq!(json.body(Upload::text("{}")).send().status, 401);
    let large = format!("text={}", "x".repeat(257 * 1024));
    assert_eq!(send(&alice, "/fresh", &large).status, 401);
    let large = format!("text={}", "x".repeat(200 * 1024));
    assert_eq!(send(&alice, "/fresh", &large).status, 303);
    let abroad = alice.ask("POST", "/fresh").as_page().header("sec-fetch-site", "cross-site");
    let abroad = abroad.header("content-type", URL_ENCODED).body(Upload::text(FORM)).send();
    assert_eq!(abroad.status, 401, "the form of another site would come back as one of ours");
    let long = format!("/fresh?{}", "x".repeat(5000));
    assert_eq!(send(&alice, &long, FORM).status, 401, "nor what would come back to another address");
    let stranger = gateway.visitor();
    assert_eq!(send(&stranger, "/save", FORM).status, 401, "nobody keeps what a stranger sends");
}

#[test]
fn a_forged_press_of_the_button_sends_nothing() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(5 * MINUTE);
    let asked = send(&alice, "/fresh", FORM);
    let page = alice.page(asked.location());
    let confirmed = alice.submit(&page.login_form().fill("password", PASSWORD), CONFIRM);
    let form = alice.page(confirmed.location()).form();
    let without_token = form.action.split("&token").next().expect("a token").to_owned();
    assert_eq!(send(&alice, &without_token, FORM).status, 403);
    let abroad = alice.ask("POST", &form.action).as_page().header("sec-fetch-site", "cross-site");
    assert_eq!(abroad.body(Upload::text(FORM)).send().status, 403);
    assert_eq!(alice.submit(&form, CONTINUE).status, 307);
}

#[test]
fn a_form_that_passes_by_is_refused_by_its_head_and_not_kept_in_memory() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().over_h2().signed_in_as("alice");
    let token = alice.page(LOGOUT).form().hidden_value("token");
    let good = format!("{CONTINUE}?id=00&token={token}");
    let stranger = gateway.visitor().over_h2();
    let forged = format!("{CONTINUE}?id=00&token=AAAA");
    for (sender, target, status) in [(&stranger, &good, 303), (&alice, &forged, 403)] {
        let (body, pieces) = Upload::in_pieces();
        pieces.send("text=typed");
        let answer = sender.ask("POST", target).as_page().body(body).try_send();
        assert_eq!(answer.map(|answer| answer.status), Ok(status), "before the body has ended");
        drop(pieces);
    }
    for (size, status) in [(4 << 20, 404), ((4 << 20) + 1, 413)] {
        let sent = alice.ask("POST", &good).as_page().body(Upload::Pattern(size)).send();
        assert_eq!(sent.status, status, "{size}");
    }
}

/// Sends a form as the page of an application does.
#[track_caller]
pub(super) fn send(client: &Client, target: &str, body: &str) -> Answer {
    client
        .ask("POST", target)
        .as_page()
        .header("origin", &client.origin())
        .header("sec-fetch-site", "same-origin")
        .header("content-type", URL_ENCODED)
        .body(Upload::text(body.to_owned()))
        .send()
}

pub(super) const CONTINUE: &str = "/.vestibule/continue";
const URL_ENCODED: &str = "application/x-www-form-urlencoded";
pub(super) const FORM: &str = "text=typed+%26+kept&many=1&many=2";
