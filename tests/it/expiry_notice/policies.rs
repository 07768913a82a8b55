//! How the script gets past the content security policy of a page, and where it does not.

use super::pages::{HTML, House, PAGE, answer, load, policies, script, with_script};
use crate::harness::{After, Backend, Gateway, Setup};

#[test]
fn a_policy_is_loosened_for_the_script_and_no_further() {
    for (policy, expected) in [
        ("default-src 'self'", "default-src 'self'"),
        ("script-src 'none'; img-src *", "script-src SCRIPT; img-src *"),
        (
            "default-src 'none'; style-src 'self'",
            "default-src 'none'; style-src 'self'; script-src SCRIPT; connect-src ASKED",
        ),
        ("script-src 'sha256-AA='", "script-src 'sha256-AA=' SCRIPT"),
    ] {
        let house = House::answering(&format!("Content-Security-Policy: {policy}"), PAGE);
        let alice = house.alice();
        let page = load(&alice, "/noted").send();
        assert_eq!(page.text(), with_script(PAGE, &alice), "{policy}");
        let portal = format!("{}/.vestibule", alice.origin());
        let asked = format!("{portal}/session {portal}/session/");
        let expected = expected.replace("SCRIPT", &format!("{portal}/notice.js")).replace("ASKED", &asked);
        assert_eq!(policies(&page), [expected]);
    }
}

#[test]
fn a_page_with_a_nonce_gets_the_script_with_it() {
    let policy = "script-src 'strict-dynamic' 'nonce-r4nd0m'; object-src 'none'";
    let house = House::answering(&format!("Content-Security-Policy: {policy}"), PAGE);
    let alice = house.alice();
    let page = load(&alice, "/noted").send();
    assert!(page.text().contains(&script(&alice, " nonce=\"r4nd0m\"")), "{}", page.text());
    assert_eq!(policies(&page), [policy]);
}

#[test]
fn what_a_policy_only_reports_is_spared_the_report_and_keeps_nothing_out() {
    let only = "Content-Security-Policy-Report-Only";
    for (policy, expected) in
        [("script-src 'none'", "/notice.js"), ("script-src 'strict-dynamic'", "script-src 'strict-dynamic'")]
    {
        let house = House::answering(&format!("{only}: {policy}"), PAGE);
        let alice = house.alice();
        let page = load(&alice, "/noted").send();
        assert_eq!(page.text(), with_script(PAGE, &alice));
        assert!(page.header(only).ends_with(expected), "{}", page.header(only));
    }
}

#[test]
fn a_policy_that_cannot_let_it_in_keeps_it_out_whole_and_is_told_of_once() {
    let policy = "default-src 'self'; script-src 'strict-dynamic' 'sha256-AA='";
    let backend = Backend::with(move |peer| {
        let headers = format!("{HTML}\r\nETag: \"v1\"\r\nContent-Security-Policy: {policy}");
        peer.write(answer("200 OK", &headers, PAGE));
        After::KeepAlive
    });
    let setup =
        Setup::in_front_of(&backend.url()).route("path = '/noted'; upstream = 'app'; expiry_notice = true");
    let gateway = Gateway::spawn(&setup);
    let alice = gateway.visitor().signed_in_as("alice");
    for _ in 0..3 {
        let page = load(&alice, "/noted").send();
        assert_eq!((page.text(), policies(&page)), (PAGE.to_owned(), vec![policy]));
        assert_eq!(
            (page.header("etag"), page.header("content-length")),
            ("\"v1\"", PAGE.len().to_string().as_str())
        );
    }
    gateway.line_with(&["goes without the expiry notice", "/noted", "strict-dynamic"]);
    let (_, printed, _) = {
        gateway.terminate();
        gateway.ended()
    };
    assert_eq!(printed.matches("goes without the expiry notice").count(), 1, "{printed}");
}

#[test]
fn the_policy_of_the_strict_profile_lets_it_in() {
    let backend = Backend::with(|peer| {
        peer.write(answer("200 OK", &format!("{HTML}\r\nContent-Security-Policy: script-src 'none'"), PAGE));
        After::KeepAlive
    });
    let setup = Setup::in_front_of(&backend.url())
        .set("headers.profile", "'strict'")
        .route("path = '/noted'; upstream = 'app'; expiry_notice = true");
    let gateway = Gateway::start(&setup);
    let alice = gateway.visitor().signed_in_as("alice");
    let page = load(&alice, "/noted").send();
    assert_eq!(page.text(), with_script(PAGE, &alice));
    assert!(page.header("content-security-policy").starts_with("default-src 'self'; form-action"));
}

#[test]
fn a_policy_in_the_page_itself_lets_it_in() {
    let body = "<html><head><meta http-equiv=\"Content-Security-Policy\" content=\"script-src 'none'; img-src *\"></head><body>";
    let house = House::answering("X-A: b", body);
    let alice = house.alice();
    let url = format!("{}/.vestibule/notice.js", alice.origin());
    let expected = with_script(&body.replace("'none'", &url), &alice);
    assert_eq!(load(&alice, "/noted").send().text(), expected);
}
