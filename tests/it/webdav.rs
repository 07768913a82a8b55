//! Files on an nginx behind the gateway: what is copied and moved comes to where its owner may put it, and nowhere else.

use crate::harness::people::Person;
use crate::harness::{Backend, Client, Gateway, Setup, Upload};
use crate::servers::nginx::Nginx;

#[test]
fn files_are_copied_and_moved_to_the_path_that_the_backend_knows() {
    let (gateway, _nginx) = gateway();
    let alice = gateway.visitor().signed_in_as("alice");
    let host = alice.authority();
    put(&alice, "/files/a");
    for (method, from, destination, to) in [
        ("COPY", "/files/a", format!("https://{host}/files/b"), "/files/b"),
        ("MOVE", "/files/b", format!("HTTP://{}/files/c%20d", host.to_uppercase()), "/files/c%20d"),
        ("COPY", "/files/a", "/files/sub/../%65".to_owned(), "/files/e"),
        ("COPY", "/files/a", "/f".to_owned(), "/f"),
        ("MOVE", "/f", "/files//g".to_owned(), "/files/g"),
    ] {
        for visitor in [alice.second_tab(), alice.second_tab().over_h2()] {
            put(&alice, from);
            let answer = visitor.ask(method, from).header("destination", &destination).send();
            assert!([201, 204].contains(&answer.status), "{destination}: {}", answer.status);
            assert_eq!(alice.get(to).text(), from, "{destination}");
            assert_eq!(alice.get(from).status, if method == "COPY" { 200 } else { 404 }, "{destination}");
        }
    }
}

#[test]
fn nothing_comes_to_where_its_owner_may_not_pass() {
    let (gateway, _nginx) = gateway();
    let (alice, ada) = (gateway.visitor().signed_in_as("alice"), gateway.visitor().signed_in_as("ada"));
    let host = alice.authority();
    put(&ada, "/files/closed/a");
    for (destination, status) in [
        ("/files/closed/a".to_owned(), 403),
        (format!("https://{host}/files/closed/a"), 403),
        (format!("https://{host}/files//x/../%63losed/a"), 403),
        ("/files/nobody/a".to_owned(), 403),
        ("/elsewhere/a".to_owned(), 403),
        ("/repaired/a".to_owned(), 503),
        ("https://other.test/files/a".to_owned(), 403),
        (format!("https://{host}@other.test/files/a"), 403),
        (format!("https://{host}:1/files/a"), 403),
        ("/files/closed%2Fa".to_owned(), 400),
        ("/files/..;/closed/a".to_owned(), 400),
        ("/files/a#b".to_owned(), 400),
        ("/../a".to_owned(), 400),
        ("//other.test/files/a".to_owned(), 403),
        ("ftp://other.test/a".to_owned(), 400),
        ("files/a".to_owned(), 400),
        (format!("https://{host}"), 400),
        (String::new(), 400),
    ] {
        put(&alice, "/files/mine");
        for method in ["COPY", "MOVE"] {
            let answer = alice.ask(method, "/files/mine").header("destination", &destination).send();
            assert_eq!(answer.status, status, "{destination}");
        }
        assert_eq!(alice.get("/files/mine").status, 200, "{destination}");
    }
    let event = gateway.audited("authz_fail");
    assert_eq!((&event["user"], &event["detail"]), (&"alice".into(), &CLOSED.into()));
    let twice =
        alice.ask("MOVE", "/files/mine").header("destination", "/files/x").header("destination", "/files/x");
    assert_eq!(twice.send().status, 400);
    assert_eq!(ada.get("/files/closed/a").text(), "/files/closed/a");
    let moved = ada.ask("MOVE", "/files/closed/a").header("destination", "/files/opened").send();
    assert_eq!(moved.status, 204);
    assert_eq!(alice.get("/files/opened").text(), "/files/closed/a");
}

#[test]
fn a_destination_of_another_method_is_a_header_like_any_other() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()));
    let answer = gateway.visitor().ask("GET", "/public").header("destination", "Berlin").send();
    assert_eq!(answer.status, 200);
    assert_eq!(backend.received().header("destination"), "Berlin");
}

/// `/files` of an nginx is for everybody who is signed in, `/files/closed` for Ada, `/files/nobody` for nobody.
fn gateway() -> (Gateway, Nginx) {
    let nginx = Nginx::keeping_files();
    let (files, below) =
        ("upstream = 'files'; access = 'login'", "strip_prefix = '/files'; add_prefix = '/store'");
    let setup = Setup::new()
        .upstream("files", &nginx.url())
        .upstream("other", &nginx.url())
        .route(&format!("path = '/'; {files}; add_prefix = '/store'"))
        .route(&format!("path = '/files'; {files}; {below}"))
        .route(&format!("path = '/files/closed'; {files}; {below}; groups = ['admin']"))
        .route("path = '/files/nobody'; access = 'deny'")
        .route(&format!("path = '/repaired'; {files}; maintenance = true"))
        .route("path = '/elsewhere'; upstream = 'other'; access = 'login'")
        .person(Person::named("alice"))
        .person(Person::named("ada").in_group("admin"));
    (Gateway::start(&setup), nginx)
}

/// Keeps a file that holds its own path.
fn put(who: &Client, path: &str) {
    let answer = who.ask("PUT", path).body(Upload::text(path.as_bytes().to_vec())).send();
    assert!([201, 204].contains(&answer.status), "{path}: {}", answer.status);
}

/// What the trail says of a destination that was refused.
const CLOSED: &str = "the destination is not open to this caller, or not of the same backend";
