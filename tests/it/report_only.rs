//! Rules that are tried out: what they would refuse passes, and is logged, counted and told.

use serde_json::Value;

use crate::harness::people::Person;
use crate::harness::{Backend, Gateway, Setup};

#[test]
fn what_a_rule_would_refuse_passes_and_is_told_to_the_backend_as_who_it_is() {
    let backend = Backend::start();
    let gateway = Gateway::start(&trial(&backend, "report_only = true"));
    let (guest, alice) = (gateway.visitor(), gateway.visitor().signed_in_as("alice"));
    for (visitor, user) in [(&guest, ""), (&alice, "alice")] {
        for method in ["GET", "DELETE"] {
            let ask =
                visitor.ask(method, "/trial").header("x-user-id", "root").header("x-user-groups", "admin");
            assert_eq!(ask.send().status, 200);
            let received = backend.received();
            assert_eq!(received.header("x-user-id"), user, "{method}");
            assert_ne!(received.header("x-user-groups"), "admin");
            assert_eq!(received.header("cookie"), "", "our cookies stay here");
        }
    }
}

#[test]
fn only_the_parts_that_are_named_are_tried_out() {
    let backend = Backend::start();
    let gateway = Gateway::start(&trial(&backend, "report_only = ['groups']"));
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(alice.get("/trial").status, 200);
    assert_eq!(alice.ask("DELETE", "/trial").send().status, 405);
    assert_eq!(gateway.visitor().get("/trial").status, 401);
}

#[test]
fn what_is_no_part_of_the_rule_is_refused_all_the_same() {
    let backend = Backend::start();
    let gateway = Gateway::start(&trial(&backend, "report_only = true; maintenance = true"));
    assert_eq!(gateway.visitor().get("/trial").status, 503);
    let gateway = Gateway::start(&trial(&backend, "report_only = true"));
    let mut raw = gateway.raw();
    // A path with two readings, a method that echoes cookies, framing with two readings, no route.
    assert_eq!(gateway.visitor().get("/trial/..%2fadmin").status, 400);
    assert_eq!(gateway.visitor().ask("TRACE", "/trial").send().status, 405);
    let twofold =
        "POST /trial HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(raw.write(twofold).response().status, 400);
    let only_there = Setup::new()
        .upstream("app", &backend.url())
        .route("path = '/trial'; upstream = 'app'; access = 'login'; report_only = true");
    assert_eq!(Gateway::start(&only_there).visitor().get("/elsewhere").status, 404);
    assert!(backend.saw_nothing());
}

#[test]
fn a_forged_session_is_no_session_there_either() {
    let backend = Backend::start();
    let gateway = Gateway::start(&trial(&backend, "report_only = true"));
    let forged = format!("__Host-vestibule={}", "A".repeat(80));
    assert_eq!(gateway.visitor().ask("GET", "/trial").header("cookie", &forged).send().status, 200);
    let received = backend.received();
    assert_eq!((received.header("x-user-id"), received.header("cookie")), ("", ""));
}

#[test]
fn where_guests_pass_a_silent_session_store_makes_guests_of_callers() {
    let backend = Backend::start();
    let setup = trial(&backend, "report_only = true");
    let gateway = Gateway::start(&setup);
    let alice = gateway.visitor().signed_in_as("alice");
    let silent = gateway.twin(&trial(&backend, "report_only = true").store("redis://127.0.0.1:1"));
    let alice = alice.moved_to(silent.address());
    assert_eq!((alice.get("/trial").status, alice.get("/").status), (200, 503));
    assert_eq!(backend.received().header("x-user-id"), "");
    let silent = gateway.twin(&trial(&backend, "report_only = ['groups']").store("redis://127.0.0.1:1"));
    assert_eq!(alice.moved_to(silent.address()).get("/trial").status, 503);
}

#[test]
fn spared_requests_are_lines_counts_and_events() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(
        &trial(&backend, "report_only = true").set("log.access", "true").set("log.format", "'json'"),
    );
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(alice.get("/trial").status, 200);
    assert_eq!(alice.ask("DELETE", "/trial?token=5ecret").send().status, 200);
    assert_eq!(gateway.visitor().get("/trial").status, 200);
    for rule in ["groups", "methods", "access"] {
        let line = gateway.line_with(&[&format!("\"report_only\":\"{rule}\"")]);
        assert!(line.contains("\"outcome\":\"forwarded\"") && line.contains("\"path\":\"/trial\""), "{line}");
        let counted = gateway.metric(&format!("vestibule_report_only_total{{rule=\"{rule}\"}}"));
        assert!((counted - 1.0).abs() < 0.5, "{rule}: {counted}");
    }
    let event = gateway.audited("authz_report_only");
    assert_eq!(event["user"], "alice");
    assert!(gateway.audit_trail().iter().all(|event| event["event"] != "authz_fail"));
}

#[test]
fn the_report_sums_up_by_route_rule_and_user() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&trial(&backend, "report_only = true"));
    let alice = gateway.visitor().signed_in_as("alice");
    for _ in 0..3 {
        alice.get("/trial");
    }
    gateway.visitor().get("/trial");
    gateway.visitor().get("/trial");
    let told = gateway.folder.run(&["report", "--json"]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    let report: Value = serde_json::from_str(&told.stdout).expect("JSON");
    let rows: Vec<_> = report["rows"].as_array().expect("rows").iter().map(row).collect();
    assert_eq!(rows, ["*/trial groups alice 3", "*/trial access - 2"]);
    let told = gateway.folder.run(&["report", "--since", "2h"]).stdout;
    assert!(told.starts_with("ROUTE ") && told.contains("alice"), "{told}");
    assert_eq!(told.lines().count(), 3);
    // Ada passes, so there is nothing to tell of her.
    gateway.visitor().signed_in_as("ada").get("/trial");
    assert!(!gateway.folder.run(&["report"]).stdout.contains("ada"));
    let folder = gateway.stop();
    let told = folder.run(&["report"]);
    assert_eq!(told.code, 1);
    assert!(told.stderr.contains("no gateway is running here"), "{}", told.stderr);
}

#[test]
fn a_rule_that_is_put_into_force_bites_at_once() {
    let backend = Backend::start();
    let gateway = Gateway::start(&trial(&backend, "report_only = true"));
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(alice.get("/trial").status, 200);
    trial(&backend, "").write_to(&gateway.folder);
    gateway.reload().expect("a reload");
    assert_eq!((alice.get("/trial").status, gateway.visitor().get("/trial").status), (403, 401));
}

/// Something for everybody who is signed in at `/`; at `/trial` a rule for administrators.
fn trial(backend: &Backend, more: &str) -> Setup {
    let rule = "path = '/trial'; upstream = 'app'; access = 'login'; groups = ['admin']; methods = ['GET']";
    Setup::new()
        .upstream("app", &backend.url())
        .route("path = '/'; upstream = 'app'; access = 'login'")
        .route(&format!("{rule}; {more}"))
        .person(Person::named("alice").in_group("staff"))
        .person(Person::named("ada").in_group("admin"))
}

fn row(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
    format!("{} {} {} {}", text("route"), text("rule"), text("user"), row["count"])
}
