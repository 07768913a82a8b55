//! Signing in and out: forms, failures, throttling, return targets.

use std::time::Duration;

use crate::harness::client::{LOGIN, LOGOUT, SESSION_COOKIE};
use crate::harness::form::Form;
use crate::harness::{Answer, Backend, Client, Gateway, PASSWORD, Setup, Upload};

#[test]
fn the_login_form_works_without_scripts_and_for_password_managers() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let (place, page) = visitor.login_page("/");
    let text = page.text();
    // What scripts do here they do from files.
    assert!(!text.replace("<script src=", "").contains("<script") && !text.contains("javascript:"), "{text}");
    for needed in
        ["<html lang=\"en\"", "<label for=\"user\">", "<label for=\"password\">", "autocomplete=\"username\""]
    {
        assert!(text.contains(needed), "{needed} in {text}");
    }
    assert!(text.contains("autocomplete=\"current-password\""), "{text}");
    let answer = visitor.submit(&right(&page), &place);
    assert_eq!((answer.status, answer.location()), (303, "/"));
}

#[test]
fn signing_in_and_out_works_over_http_2() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().over_h2().signed_in_as("alice");
    assert_eq!(alice.page("/").status, 200);
    assert_eq!(alice.sign_out().status, 303);
    assert!(alice.page("/").asks_login());
}

#[test]
fn a_form_without_a_valid_token_signs_nobody_in() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let other = gateway.visitor();
    let (_, others_page) = other.login_page("/");
    let others_token = others_page.login_form().hidden_value("token");
    let (place, page) = visitor.login_page("/");
    let own_token = page.login_form().hidden_value("token");
    let half = own_token[..own_token.len() / 2].to_owned();
    let forms = [
        right(&page).without_hidden(),
        right(&page).forge("token", ""),
        right(&page).forge("token", "x"),
        right(&page).forge("token", &half),
        right(&page).forge("token", &"A".repeat(own_token.len())),
        right(&page).forge("token", &others_token),
    ];
    for form in forms {
        let answer = visitor.submit(&form, &place);
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.set_cookie(SESSION_COOKIE).is_none());
    }
    assert_eq!(gateway.audited("malicious_csrf")["detail"], "token not valid");
    let fresh = visitor.submit(&right(&page).forge("token", ""), &place);
    assert_eq!(visitor.submit(&right(&fresh), &place).status, 303);
}

#[test]
fn a_form_whose_browser_keeps_no_cookies_is_told_so() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let (place, page) = visitor.login_page("/");
    visitor.forget_cookies();
    let answer = visitor.submit(&right(&page), &place);
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("Allow cookies for this site"), "{}", answer.text());
}

#[test]
fn a_form_that_lay_open_for_half_a_day_is_shown_again() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let (place, page) = visitor.login_page("/x?y");
    gateway.advance(Duration::from_hours(12) + Duration::from_secs(1));
    let answer = visitor.submit(&right(&page), &place);
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("lay open for too long"), "{}", answer.text());
    let answer = visitor.submit(&right(&answer), &place);
    assert_eq!((answer.status, answer.location()), (303, "/x?y"));
}

#[test]
fn a_form_that_another_site_sent_signs_nobody_in() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let (_, page) = visitor.login_page("/");
    let own = visitor.origin();
    let no_tls = own.replace("https:", "http:");
    let other_port = "https://localhost:1".to_owned();
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", &no_tls),
        ("origin", &other_port),
    ] {
        let answer = send(&visitor, LOGIN, &right(&page), &[(name, value)]);
        assert_eq!(answer.status, 403, "{name}: {value}");
        assert!(answer.set_cookie(SESSION_COOKIE).is_none());
    }
    assert_eq!(gateway.audited("malicious_csrf")["detail"], "sent by another site");
    for headers in [&[("origin", own.as_str())][..], &[("sec-fetch-site", "none")], &[]] {
        assert_eq!(send(&visitor, LOGIN, &right(&page), headers).status, 303, "{headers:?}");
    }
}

#[test]
fn every_failed_login_looks_the_same() {
    let (_backend, gateway) = house();
    gateway.folder.run(&["users", "disable", "ada"]);
    let visitor = gateway.visitor();
    let mut seen = Vec::new();
    for (name, password) in [
        ("alice", "wrong password"),
        ("nobody", PASSWORD),
        ("ada", PASSWORD),
        ("ada", "wrong password"),
        ("<b>'\"&", PASSWORD),
        ("\u{fc}n\u{ef}", ""),
    ] {
        let answer = visitor.try_login("/", name, password);
        assert_eq!(answer.status, 401);
        assert!(answer.set_cookie(SESSION_COOKIE).is_none());
        assert!(answer.header("www-authenticate").starts_with("Cookie "), "{:?}", answer.headers);
        assert_eq!(answer.login_form().value("text"), Some(name));
        assert_eq!(answer.login_form().value("password"), Some(""));
        assert!(!answer.text().contains("<b>"), "{}", answer.text());
        seen.push(without_name(&answer.text()));
    }
    assert!(seen[0].contains("User name or password is not right."), "{}", seen[0]);
    assert!(seen.iter().all(|text| *text == seen[0]), "{seen:#?}");
}

#[test]
fn too_many_failures_make_an_account_wait_in_their_network() {
    let (_backend, gateway) = throttled("3 in 3m", "100 in 10m");
    for _ in 0..3 {
        assert_eq!(gateway.visitor().try_login("/", "alice", "wrong").status, 401);
    }
    let elsewhere = gateway.visitor().from("127.0.0.9");
    for visitor in [gateway.visitor(), elsewhere] {
        let answer = visitor.try_login("/", " ALICE", PASSWORD);
        assert_eq!((answer.status, answer.header("retry-after")), (429, "1"));
        assert!(answer.text().contains("Please try again"), "{}", answer.text());
        assert!(answer.set_cookie(SESSION_COOKIE).is_none());
    }
    assert_eq!(gateway.audited("authn_login_fail_max")["user"], " ALICE");
    assert_eq!(gateway.visitor().try_login("/", "ada", PASSWORD).status, 303);
    gateway.advance(Duration::from_secs(1));
    assert_eq!(gateway.visitor().try_login("/", "alice", "wrong").status, 401);
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).header("retry-after"), "2");
    gateway.advance(Duration::from_secs(2));
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 303);
}

#[test]
fn too_many_failures_make_an_address_wait_whatever_the_names() {
    let (_backend, gateway) = throttled("100 in 10m", "4 in 4m");
    for name in ["a", "b", "c", "alice"] {
        assert_eq!(gateway.visitor().try_login("/", name, "wrong").status, 401);
    }
    let answer = gateway.visitor().try_login("/", "ada", PASSWORD);
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"));
    let elsewhere = gateway.visitor().from("127.0.0.9");
    assert_eq!(elsewhere.try_login("/", "ada", PASSWORD).status, 303);
    gateway.advance(Duration::from_mins(1));
    assert_eq!(gateway.visitor().try_login("/", "ada", PASSWORD).status, 303);
}

#[test]
fn successful_logins_use_up_nothing() {
    let (_backend, gateway) = throttled("2 in 10m", "2 in 10m");
    for _ in 0..5 {
        assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 303);
    }
}

#[test]
fn path_and_query_come_back_byte_for_byte() {
    let (_backend, gateway) = house();
    for target in [
        "/",
        "/?",
        "/wiki/A%20page?action=edit&x=%2F%20+&empty=&novalue",
        "/%C3%BC%c3%bc?q=%22%27&r=a=b",
        "/a:b=c/d,e?f=%00%0d%0a%25;g",
        "/x?next=//evil.example&rd=https://evil.example/&reason=expired",
        "/a?b='quoted'&c={}|^`",
        "/a?x=&amp;y=&lt;&quot;",
    ] {
        let answer = gateway.visitor().try_login(target, "alice", PASSWORD);
        assert_eq!((answer.status, answer.location()), (303, target));
    }
}

#[test]
fn a_target_that_leaves_the_host_falls_back_to_the_root() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let (place, page) = visitor.login_page("/");
    let outsider = gateway.visitor();
    for target in [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "\t//evil.example",
        "/\r\n/evil.example",
        "/x\r\nSet-Cookie: a=b",
        " //evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "https:evil.example",
        "@evil.example",
        ".evil.example",
        "evil.example",
        "?x=1",
        "#x",
        "",
        "/.vestibule/logout",
    ] {
        let query: String =
            form_urlencoded::byte_serialize(target.as_bytes()).collect::<String>().replace('+', "%20");
        for name in ["next", "rd"] {
            let page = outsider.page(&format!("{LOGIN}?{name}={query}"));
            assert_eq!(page.login_form().hidden_value("next"), "/", "{target:?}");
        }
        let answer = visitor.submit(&right(&page).forge("next", target), &place);
        assert_eq!((answer.status, answer.location()), (303, "/"), "{target:?}");
        assert_eq!(answer.values("location").len(), 1);
    }
    for raw in [
        "next=//evil.example",
        "next=https://evil.example",
        "next=/%5Cevil.example",
        "next=%2f%2fevil.example",
    ] {
        let page = outsider.page(&format!("{LOGIN}?{raw}"));
        assert_eq!(page.login_form().hidden_value("next"), "/", "{raw}");
    }
}

#[test]
fn rd_is_read_where_there_is_no_next() {
    let (_backend, gateway) = house();
    for (query, target) in [("rd=/a%3Fb=1", "/a?b=1"), ("rd=/a&next=/b", "/b"), ("next=/b&rd=/a", "/b")] {
        let visitor = gateway.visitor();
        let place = format!("{LOGIN}?{query}");
        let page = visitor.page(&place);
        assert_eq!(visitor.submit(&right(&page), &place).location(), target);
    }
}

#[test]
fn somebody_who_is_signed_in_is_asked_whether_to_switch() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let page = alice.page(&format!("{LOGIN}?next=/admin"));
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<strong>alice</strong>"), "{}", page.text());
    let answer = alice.submit(&page.form(), LOGIN);
    assert_eq!(answer.location(), "/.vestibule/login?reason=signed-out&next=/admin");
    let place = answer.location().to_owned();
    let page = alice.page(&place);
    let form = page.login_form().fill("text", "ada").fill("password", PASSWORD);
    assert_eq!(alice.submit(&form, &place).location(), "/admin");
    assert_eq!(alice.page("/admin").status, 200);
}

#[test]
fn a_logout_by_get_asks_and_ends_nothing() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let page = alice.page(LOGOUT);
    assert_eq!(page.status, 200);
    assert!(page.set_cookie(SESSION_COOKIE).is_none());
    assert_eq!(alice.ask("HEAD", LOGOUT).send().status, 200);
    assert_eq!(alice.ask("DELETE", LOGOUT).send().status, 405);
    assert_eq!(alice.page("/").status, 200);
}

#[test]
fn a_logout_clears_the_cookie_as_it_was_set_and_the_browser_behind_it() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    for name in ["PHPSESSID", "__Secure-app"] {
        alice.put_cookie(name, "old");
    }
    let answer = alice.sign_out();
    assert_eq!((answer.status, answer.location()), (303, "/.vestibule/login?reason=signed-out"));
    assert_eq!(answer.header("clear-site-data"), "\"cache\",\"storage\"");
    assert_eq!(
        answer.set_cookie(SESSION_COOKIE),
        Some("__Host-vestibule=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0")
    );
    assert_eq!(
        answer.set_cookie("PHPSESSID"),
        Some("PHPSESSID=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0")
    );
    assert_eq!(alice.cookie_names(), ["__Host-vestibule-device"], "the device stays known");
    assert!(alice.page(answer.location()).text().contains("You are signed out."));
    let again = alice.page(LOGOUT);
    assert_eq!((again.status, again.location()), (303, LOGIN));
}

#[test]
fn another_site_cannot_sign_anybody_out() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    let others_token = gateway.visitor().signed_in_as("alice").page(LOGOUT).form().hidden_value("token");
    let form = || alice.page(LOGOUT).form();
    for headers in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("origin", "null")]
    {
        assert_eq!(send(&alice, LOGOUT, &form(), &[headers]).status, 403, "{headers:?}");
    }
    for forged in [form().without_hidden(), form().forge("token", &others_token)] {
        assert_eq!(alice.submit(&forged, LOGOUT).status, 403);
    }
    assert_eq!(alice.page("/").status, 200);
    assert_eq!(alice.sign_out().status, 303);
}

#[test]
fn disabling_an_account_ends_its_open_sessions_at_once_and_keeps_it_out() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let at_work = gateway.visitor().signed_in_as("alice");
    let at_home = gateway.visitor().over_h2().remembered_as("alice");
    let ada = gateway.visitor().signed_in_as("ada");
    let finished = gateway.folder.run(&["users", "disable", "alice"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (0, "`alice` is disabled; 2 sessions ended\n"));
    assert!(at_work.page("/").asks_login());
    assert_eq!(at_home.get("/").status, 401);
    assert_eq!(ada.page("/").status, 200);
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 401);
    assert_eq!(gateway.audited("session_revoked")["detail"], "account disabled");
    assert_eq!(gateway.folder.run(&["users", "enable", "alice"]).stdout, "`alice` may sign in again\n");
    assert!(at_work.page("/").asks_login());
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 303);
}

#[test]
fn a_form_larger_than_any_of_ours_is_refused() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let answer = visitor
        .ask("POST", LOGIN)
        .header("content-type", FORM)
        .body(Upload::text("x".repeat(17 * 1024)))
        .send();
    assert_eq!((answer.status, answer.error().as_str()), (413, "body_too_large"));
    let answer = visitor.ask("PUT", LOGIN).send();
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, POST"));
}

fn house() -> (Backend, Gateway) {
    throttled("10 in 10m", "100 in 10m")
}

fn throttled(per_account: &str, per_address: &str) -> (Backend, Gateway) {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url())
        .set("login.throttle.per_account", &format!("'{per_account}'"))
        .set("login.throttle.per_address", &format!("'{per_address}'"));
    let gateway = Gateway::start(&setup);
    (backend, gateway)
}

/// The page's form, filled in by Alice.
fn right(page: &Answer) -> Form {
    page.login_form().fill("text", "alice").fill("password", PASSWORD)
}

/// Sends a form with these headers and nothing else that tells where it comes from.
fn send(visitor: &Client, place: &str, form: &Form, headers: &[(&str, &str)]) -> Answer {
    let ask = visitor.ask("POST", place).header("content-type", FORM).body(Upload::text(form.encoded()));
    headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value)).send()
}

/// The page without what was typed as the user's name.
fn without_name(html: &str) -> String {
    let (before, rest) = html.split_once("name=\"user\" value=\"").expect("a user field");
    let (_, after) = rest.split_once('"').expect("the end of the field");
    // Where passkeys are built in, their form stands last, with a new challenge each time.
    let after = after.split_once("data-passkey").map_or(after, |(before, _)| before);
    format!("{before}{after}")
}

const FORM: &str = "application/x-www-form-urlencoded";
