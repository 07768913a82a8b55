//! What somebody changes of their own: factors, codes, the password, other sessions.

use super::*;

#[test]
fn factors_are_shown_replaced_and_removed() {
    let (_backend, gateway) = house();
    let (alice, _, _) = with_factor(&gateway, "alice");
    let page = alice.page(FACTORS);
    assert!(page.text().contains("You have 10 recovery codes left."), "{}", page.text());
    let before = alice.session_cookie();
    let new = alice.submit(&page.form_to("/.vestibule/account/factors/codes"), FACTORS);
    assert_eq!(codes(&new).len(), 10);
    assert_ne!(alice.session_cookie(), before, "a new token for a change");
    let form = alice.page(FACTORS).form_to("/.vestibule/account/factors/remove");
    let id = form.choices("factor").first().expect("a factor").clone();
    assert_eq!(alice.submit(&form.choose("factor", &id), FACTORS).status, 303);
    assert!(alice.page(FACTORS).text().contains("You have none yet."));
    gateway.visitor().signed_in_as("alice");
}

#[test]
fn a_factor_of_somebody_else_stays() {
    let (_backend, gateway) = house();
    let (alice, _, _) = with_factor(&gateway, "alice");
    let (ada, _, _) = with_factor(&gateway, "ada");
    let theirs = alice.page(FACTORS).form_to("/.vestibule/account/factors/remove");
    let id = theirs.choices("factor").first().expect("a factor").clone();
    let mine = ada.page(FACTORS).form_to("/.vestibule/account/factors/remove");
    let own = mine.choices("factor").first().expect("a factor").clone();
    ada.submit(&mine.exchange("factor", &own, &id).choose("factor", &id), FACTORS);
    assert!(alice.page(FACTORS).text().contains(&id));
}

#[test]
fn a_first_code_that_is_wrong_enrols_nothing_and_the_secret_stays() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let page = alice.page(TOTP);
    let phone = Phone::reading(&page, &gateway);
    let again = alice.submit(&page.form_to(TOTP).fill_name("code", "000000"), TOTP);
    assert_eq!(again.status, 422);
    assert_eq!(Phone::reading(&again, &gateway).letters, phone.letters);
    gateway.visitor().signed_in_as("alice");
    let done = alice.submit(&again.form_to(TOTP).fill_name("code", &phone.code_at(0)), TOTP);
    assert_eq!(done.status, 200, "{}", done.text());
    factor_page(&gateway, "alice");
}

#[test]
fn the_secret_of_one_session_is_worth_nothing_in_another() {
    let (_backend, gateway) = house();
    let [alice, other] = [(), ()].map(|()| gateway.visitor().signed_in_as("alice"));
    let page = alice.page(TOTP);
    let phone = Phone::reading(&page, &gateway);
    let theirs = page.form_to(TOTP).hidden_value("secret");
    let form = other.page(TOTP).form_to(TOTP).forge("secret", &theirs);
    assert_eq!(other.submit(&form.fill_name("code", &phone.code_at(0)), TOTP).status, 403);
}

#[test]
fn a_session_of_before_the_factor_changes_nothing_without_it() {
    let (_backend, gateway) = house();
    let older = gateway.visitor().signed_in_as("alice");
    with_factor(&gateway, "alice");
    for page in [FACTORS, TOTP, PASSWORD_PAGE] {
        assert!(older.page(page).location().contains("/confirm?for=factor"), "{page}");
    }
}

#[test]
fn a_password_is_changed_by_who_is_fresh_and_the_others_may_be_ended() {
    let (_backend, gateway) = house();
    let other = gateway.visitor().signed_in_as("alice");
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(5 * MINUTE);
    let asked = alice.page(PASSWORD_PAGE);
    assert!(asked.location().starts_with("/.vestibule/confirm?for=fresh"), "{}", asked.location());
    let form = alice.page(asked.location()).login_form().fill("password", PASSWORD);
    assert_eq!(alice.submit(&form, CONFIRM).location(), PASSWORD_PAGE);
    let before = alice.session_cookie();
    for (one, two, status) in
        [(NEW, "another one", 422), ("short", "short", 422), ("password1", "password1", 422), (NEW, NEW, 303)]
    {
        let form = alice.page(PASSWORD_PAGE).form_to(PASSWORD_PAGE);
        let form = form.fill_name("password", one).fill_name("again", two);
        assert_eq!(alice.submit(&form, PASSWORD_PAGE).status, status, "{one}");
    }
    assert_ne!(alice.session_cookie(), before);
    assert_eq!(other.page("/").status, 200);
    let page = alice.page("/.vestibule/account?reason=password");
    assert!(page.text().contains("Your password is changed."), "{}", page.text());
    let form = page.form_to("/.vestibule/account/sessions").choose("all", "yes");
    assert_eq!(alice.submit(&form, "/").status, 303);
    assert!(other.page("/").asks_login());
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 401);
    assert_eq!(gateway.visitor().try_login("/", "alice", NEW).status, 303);
}

#[test]
fn other_sessions_are_ended_by_who_is_fresh() {
    let (_backend, gateway) = house();
    let other = gateway.visitor().signed_in_as("alice");
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(5 * MINUTE);
    let account = "/.vestibule/account";
    let form = alice.page(account).form_to("/.vestibule/account/sessions").choose("all", "yes");
    let asked = alice.submit(&form, account);
    assert!(asked.location().starts_with("/.vestibule/confirm?for=fresh&next="), "{}", asked.location());
    assert_eq!(other.page("/").status, 200);
    let page = alice.page(asked.location());
    let confirmed = alice.submit(&page.login_form().fill("password", PASSWORD), CONFIRM);
    assert_eq!(confirmed.location(), account);
    let form = alice.page(account).form_to("/.vestibule/account/sessions").choose("all", "yes");
    alice.submit(&form, account);
    assert!(other.page("/").asks_login());
}

#[test]
fn each_page_is_small_and_holds_no_script() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    for page in [TOTP, FACTORS, PASSWORD_PAGE, CONFIRM, "/.vestibule/reset?token=x"] {
        let answer = alice.page(page);
        assert!(answer.body.len() < 20 * 1024, "{page} has {} bytes", answer.body.len());
        for inline in ["<script>", "<style", "style=\"", "onclick"] {
            assert!(!answer.text().contains(inline), "{page}: {inline}");
        }
        assert_eq!(answer.header("cache-control"), "no-store", "{page}");
    }
}

const PASSWORD_PAGE: &str = "/.vestibule/account/password";
const NEW: &str = "another horse battery";
