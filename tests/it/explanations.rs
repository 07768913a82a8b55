//! Why a request was refused: told to administrators by its id, and to nobody else.

use crate::harness::people::Person;
use crate::harness::{Answer, Backend, Gateway, Setup};

#[test]
fn an_administrator_reads_why_somebody_was_refused() {
    let gateway = Gateway::start(&setup());
    let alice = gateway.visitor().signed_in_as("alice");
    let refused = alice.page("/admin/books?token=5ecret");
    assert_eq!(refused.status, 403);
    assert!(!refused.text().contains("/explain/"), "alice is no administrator");
    let ada = gateway.visitor().signed_in_as("ada");
    let told = ada.page(&explanation(&refused));
    assert_eq!(told.status, 200);
    for part in [
        "refused with 403: the route names neither this user nor one of their groups",
        "GET localhost&#x2f;admin&#x2f;books",
        "alice (staff)",
        "127.0.0.1",
        "*&#x2f;admin",
        "groups = [&quot;office&quot;]",
    ] {
        assert!(told.text().contains(part), "{part} in {}", told.text());
    }
    assert!(!told.text().contains("5ecret") && !told.text().contains("<script"), "{}", told.text());
    assert_eq!(told.header("cache-control"), "no-store");
}

#[test]
fn the_refusal_itself_leads_an_administrator_to_its_explanation() {
    let gateway = Gateway::start(&setup());
    let ada = gateway.visitor().signed_in_as("ada");
    let refused = ada.page("/admin");
    assert_eq!(refused.status, 403);
    let link = format!(".vestibule/explain/{}\"", refused.header("x-request-id"));
    assert!(refused.text().contains(&link), "{}", refused.text());
    assert!(ada.page(&explanation(&refused)).text().contains("ada (admin)"));
    let refused = ada.ask("PUT", "/admin").as_page().send();
    assert_eq!(refused.status, 405);
    assert!(ada.page(&explanation(&refused)).text().contains("refused with 405"));
    // What no rule refused has no explanation.
    assert!(!ada.page("/.vestibule/nowhere").text().contains("/explain/"));
}

#[test]
fn nobody_but_administrators_sees_an_explanation() {
    let gateway = Gateway::start(&setup());
    let alice = gateway.visitor().signed_in_as("alice");
    let refused = alice.page("/admin");
    let place = explanation(&refused);
    let answer = gateway.visitor().page(&place);
    assert!(answer.asks_login() && answer.location().contains("explain"), "{}", answer.location());
    assert_eq!(gateway.visitor().get(&place).status, 401);
    assert_eq!(alice.page(&place).status, 403);
    assert_eq!(alice.post(&place, "").status, 405);
    let gateway = Gateway::start(&Setup::in_front_of("http://127.0.0.1:1"));
    let ada = gateway.visitor().signed_in_as("ada");
    let refused = ada.page("/closed");
    assert_eq!((refused.status, ada.page(&explanation(&refused)).status), (403, 404));
}

#[test]
fn an_id_that_is_not_known_is_said_to_be_so() {
    let gateway = Gateway::start(&setup());
    let ada = gateway.visitor().signed_in_as("ada");
    for id in ["0011223344556677", "%3Cscript%3E", ""] {
        let told = ada.page(&format!("/.vestibule/explain/{id}"));
        assert_eq!(told.status, 404, "{id}");
        assert!(told.text().contains("Nothing is known of this request"), "{}", told.text());
        assert!(!told.text().contains("<script"));
    }
}

#[test]
fn what_a_rule_that_only_reports_would_have_refused_can_be_looked_up_too() {
    let backend = Backend::start();
    let rule = "path = '/trial'; upstream = 'app'; access = 'login'; groups = ['office']; report_only = true";
    let gateway = Gateway::start(&setup_with(&backend).route(rule));
    let ada = gateway.visitor().signed_in_as("ada");
    let passed = ada.page("/trial");
    assert_eq!(passed.status, 200);
    let told = ada.page(&explanation(&passed)).text();
    assert!(told.contains("forwarded as `ada`") && told.contains("refused with 403"), "{told}");
}

#[test]
fn a_reload_says_who_the_administrators_are() {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup_with(&backend));
    let alice = gateway.visitor().signed_in_as("alice");
    let refused = alice.page("/admin");
    assert_eq!(alice.page(&explanation(&refused)).status, 403);
    setup_with(&backend).set("admin.groups", "['staff']").write_to(&gateway.folder);
    gateway.reload().expect("a reload");
    assert_eq!(alice.page(&explanation(&refused)).status, 200);
}

/// Somewhere only the office may go, and administrators who are not of the office.
fn setup() -> Setup {
    setup_with(&Backend::start())
}

fn setup_with(backend: &Backend) -> Setup {
    Setup::new()
        .set("admin.groups", "['admin']")
        .upstream("app", &backend.url())
        .route("path = '/'; upstream = 'app'; access = 'login'")
        .route("path = '/admin'; upstream = 'app'; access = 'login'; groups = ['office']; methods = ['GET']")
        .person(Person::named("alice").in_group("staff"))
        .person(Person::named("ada").in_group("admin"))
}

/// Where the explanation of this answer stands.
fn explanation(answer: &Answer) -> String {
    format!("/.vestibule/explain/{}", answer.header("x-request-id"))
}
