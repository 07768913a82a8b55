//! A login with a second factor.

use super::*;
use crate::harness::assumptions::event;

#[test]
fn a_factor_is_asked_for_after_the_password_and_before_any_session() {
    let (_backend, gateway) = house();
    let (_, phone, _) = with_factor(&gateway, "alice");
    let (visitor, page) = factor_page(&gateway, "alice");
    assert!(visitor.page("/").asks_login());
    let answer = show_code(&visitor, &page, &phone.next_code());
    assert_eq!((answer.status, answer.location()), (303, "/page?a=b"));
    assert_eq!(visitor.page("/page?a=b").status, 200);
    assert_eq!(visitor.page("/mfa").status, 200, "the factor of the login counts");
    assert_eq!(gateway.audited(event::FACTOR_SUCCESS)["address"], "127.0.0.1");
}

#[test]
fn who_has_no_factor_signs_in_as_before() {
    let (_backend, gateway) = house();
    with_factor(&gateway, "alice");
    assert_eq!(gateway.visitor().signed_in_as("ada").page("/").status, 200);
}

#[test]
fn a_wrong_password_never_reaches_the_factor() {
    let (_backend, gateway) = house();
    with_factor(&gateway, "alice");
    let [alice, nobody] = ["alice", "nobody"].map(|user| {
        let answer = gateway.visitor().try_login("/", user, "wrong password");
        (answer.status, answer.text().replace(user, "").len())
    });
    assert_eq!(alice.0, 401);
    assert_eq!(alice, nobody);
}

#[test]
fn a_code_serves_once_and_drifts_by_one_step() {
    let (_backend, gateway) = house();
    let (_, phone, _) = with_factor(&gateway, "alice");
    gateway.advance(10 * STEP);
    for (drift, status) in
        [(-60, 401), (60, 401), (-30, 303), (-30, 401), (0, 303), (0, 401), (-30, 401), (30, 303)]
    {
        let (visitor, page) = factor_page(&gateway, "alice");
        let answer = show_code(&visitor, &page, &phone.code_at(drift));
        assert_eq!(answer.status, status, "{drift} {}", answer.text());
        assert_eq!(visitor.session_cookie().is_some(), status == 303);
    }
}

#[test]
fn wrong_codes_are_answered_with_a_wait_that_the_right_one_has_to_bear_too() {
    let (_backend, gateway) = house();
    let (_, phone, _) = with_factor(&gateway, "alice");
    gateway.advance(STEP);
    let (visitor, mut page) = factor_page(&gateway, "alice");
    for _ in 0..5 {
        page = show_code(&visitor, &page, "000000");
        assert_eq!(page.status, 401);
    }
    let refused = show_code(&visitor, &page, &phone.code_at(0));
    assert_eq!(refused.status, 429);
    gateway.advance(STEP);
    assert_eq!(show_code(&visitor, &refused, &phone.code_at(0)).status, 303);
    gateway.audited(event::FACTOR_FAILURE);
}

#[test]
fn a_recovery_code_signs_in_once() {
    let (_backend, gateway) = house();
    let (_, _, codes) = with_factor(&gateway, "alice");
    assert_eq!(codes.len(), 10);
    let (visitor, page) = factor_page(&gateway, "alice");
    let typed = codes[3].to_uppercase().replace('-', " ");
    assert_eq!(show_recovery(&visitor, &page, &typed).status, 303);
    assert_eq!(visitor.page("/mfa").status, 200);
    let (visitor, page) = factor_page(&gateway, "alice");
    assert_eq!(show_recovery(&visitor, &page, &codes[3]).status, 401);
    assert_eq!(show_recovery(&visitor, &page, &codes[4]).status, 303);
}

#[test]
fn a_passkey_of_another_host_is_named_and_another_factor_offered_after_a_recovery_code() {
    let (_backend, gateway) = house();
    let (_, _, codes) = with_factor(&gateway, "alice");
    let database = rusqlite::Connection::open(gateway.folder.path("users.db")).expect("a database");
    let move_away = "UPDATE factors SET kind = 'passkey', credential = x'01', host = 'other.test'";
    assert_eq!(database.execute(move_away, []).expect("a passkey"), 1);
    let (visitor, page) = factor_page(&gateway, "alice");
    assert!(page.text().contains("only where it was made: other.test."), "{}", page.text());
    let answer = show_recovery(&visitor, &page, &codes[0]);
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(answer.location().starts_with(FACTORS), "{}", answer.location());
    let offer = visitor.page(answer.location()).text();
    assert!(offer.contains("Set up a second factor that works here"), "{offer}");
    assert!(offer.contains("href=\"&#x2f;page?a=b\"") && offer.contains("account/factors/totp"), "{offer}");
    let page = visitor.page("/.vestibule/confirm?for=factor&next=/");
    assert!(page.text().contains("other.test"), "{}", page.text());
}

#[test]
fn what_the_password_proved_opens_no_other_door() {
    let backend = Backend::start();
    let limited = setup(&backend).set("session.max_per_user", "1").set("session.at_limit", "'refuse'");
    let gateway = Gateway::start(&limited);
    let (owner, phone, _) = with_factor(&gateway, "alice");
    let (visitor, page) = factor_page(&gateway, "alice");
    let proof = page.form_with("code").hidden_value("proof");
    let at_limit = show_code(&visitor, &page, &phone.next_code());
    let form = at_limit.form_to("/.vestibule/login/sessions").choose("all", "yes");
    let forged = form.forge("proof", &proof);
    let answer = visitor.submit(&forged, "/");
    assert_eq!(answer.status, 200);
    assert!(
        visitor.session_cookie().is_none() && answer.text().contains("name=\"code\""),
        "{}",
        answer.text()
    );
    assert_eq!(owner.page("/").status, 200, "the password alone ends nobody's session");
}

#[test]
fn what_a_password_proved_is_worth_nothing_after_the_password_was_changed() {
    let (_backend, gateway) = house();
    let (_, phone, _) = with_factor(&gateway, "alice");
    let (visitor, page) = factor_page(&gateway, "alice");
    let changed = gateway.folder.run_with_input(&["users", "passwd", "alice"], "another horse battery");
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    let answer = show_code(&visitor, &page, &phone.next_code());
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(visitor.session_cookie().is_none());
    let asked = visitor.try_login("/", "alice", "another horse battery");
    assert_eq!(show_code(&visitor, &asked, &phone.code_at(0)).status, 303, "the code was not looked at");
}

#[test]
fn a_login_that_waits_for_its_factor_begins_with_what_the_account_is_then() {
    let (backend, gateway) = house();
    let (_, phone, _) = with_factor(&gateway, "alice");
    let (visitor, page) = factor_page(&gateway, "alice");
    let edited = gateway.folder.run(&["users", "edit", "alice", "--group", "guests"]);
    assert_eq!(edited.code, 0, "{}", edited.stderr);
    assert_eq!(show_code(&visitor, &page, &phone.next_code()).status, 303);
    assert_eq!(visitor.get("/").status, 200);
    assert_eq!(backend.received().header("x-user-groups"), "guests");
}

#[test]
fn the_page_of_a_login_serves_once_and_in_its_own_browser_only() {
    let (_backend, gateway) = house();
    let (_, phone, _) = with_factor(&gateway, "alice");
    let (visitor, page) = factor_page(&gateway, "alice");
    let (thief, theirs) = factor_page(&gateway, "alice");
    let stolen = theirs.form_with("code").forge("proof", &page.form_with("code").hidden_value("proof"));
    let answer = thief.submit(&stolen.fill_name("code", &phone.next_code()), FACTOR);
    assert_eq!(answer.status, 403);
    assert_eq!(show_code(&visitor, &page, &phone.code_at(0)).status, 303);
    visitor.sign_out();
    assert_eq!(show_code(&visitor, &page, &phone.next_code()).status, 403, "the page of before");
    let (late, page) = factor_page(&gateway, "alice");
    gateway.advance(5 * MINUTE);
    assert_eq!(show_code(&late, &page, &phone.next_code()).status, 403);
}

#[test]
fn nothing_at_rest_shows_a_secret() {
    let (_backend, gateway) = house();
    let (_, phone, codes) = with_factor(&gateway, "alice");
    let secret = Secret::try_from_base32(&phone.letters).expect("a key").as_bytes().to_vec();
    let folder = gateway.stop();
    for file in ["users.db", "sessions.db", "audit.log"] {
        let bytes = std::fs::read(folder.path(file)).expect("a file");
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(!holds(&secret) && !holds(phone.letters.as_bytes()), "{file}");
        assert!(codes.iter().all(|code| !holds(code.as_bytes()) && !holds(&code.as_bytes()[5..])), "{file}");
    }
}

#[test]
fn a_key_that_seals_a_factor_is_not_retired_before_another_has_sealed_it() {
    let (backend, gateway) = house();
    let (alice, phone, _) = with_factor(&gateway, "alice");
    alice.sign_out();
    let old = between(&gateway.folder.read("keys.toml"), "id = \"", "\"");
    let folder = gateway.stop();
    assert_eq!(folder.run(&["keys", "rotate"]).code, 0);
    let refused = folder.run(&["keys", "retire", &old]);
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(refused.stderr.contains("1 second factors are sealed by"), "{}", refused.stderr);
    let folder = Gateway::start_in(folder).stop();
    let retired = folder.run(&["keys", "retire", &old]);
    assert_eq!(retired.code, 0, "{}", retired.stderr);
    let gateway = Gateway::start_in(folder);
    gateway.advance(2 * MINUTE);
    let (visitor, page) = factor_page(&gateway, "alice");
    assert_eq!(
        show_code(&visitor, &page, &Phone { hand: gateway.clock_hand(), ..phone }.next_code()).status,
        303
    );
    drop(backend);
}

#[test]
fn a_factor_outlives_the_key_that_sealed_it() {
    let (_backend, gateway) = house();
    let (_, phone, _) = with_factor(&gateway, "alice");
    let old = between(&gateway.folder.read("keys.toml"), "id = \"", "\"");
    assert_eq!(gateway.folder.run(&["keys", "rotate"]).code, 0);
    gateway.reload().expect("a reload");
    let keys = gateway.folder.read("keys.toml");
    assert_ne!(between(&keys[keys.rfind("[[key]]").expect("a key")..], "id = \"", "\""), old);
    let retired = gateway.folder.run(&["keys", "retire", &old, "--force"]);
    assert_eq!(retired.code, 0, "{}", retired.stderr);
    gateway.reload().expect("a reload");
    let (visitor, page) = factor_page(&gateway, "alice");
    assert_eq!(show_code(&visitor, &page, &phone.next_code()).status, 303);
}
