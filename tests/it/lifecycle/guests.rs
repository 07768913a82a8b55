//! Who is not signed in: unknown and never stored, or recognised under a name that tells nothing.

use super::{RENEW, counted, given, house};
use crate::harness::backend::Received;
use crate::harness::client::SESSION_COOKIE;
use crate::harness::{Backend, Client, Gateway, PASSWORD};

#[test]
fn of_who_is_unknown_nothing_is_kept_anywhere() {
    let (backend, gateway) = house(&[]);
    let visitor = gateway.visitor();
    for target in ["/public", "/optional", "/public/x", "/.vestibule/ping"] {
        let answer = visitor.page(target);
        assert_eq!((answer.status, answer.values("set-cookie").len()), (200, 0), "{target}");
    }
    assert_eq!((0..3).map(|_| pseudonym(&backend.received())).collect::<Vec<_>>(), [""; 3]);
    visitor.page("/");
    assert_eq!(counted(&gateway, "session_created"), 0);
    assert_eq!(stored(gateway), 0);
}

#[test]
fn a_guest_is_recognised_by_one_cookie_and_stored_nowhere() {
    let (backend, gateway) = recognising();
    let visitor = gateway.visitor();
    let first = visitor.page("/public");
    let line = first.set_cookie(SESSION_COOKIE).expect("a cookie");
    assert!(line.ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/"), "{line}");
    assert_eq!(first.header("cache-control"), "no-store");
    let name = pseudonym(&backend.received());
    assert_eq!(name.len(), 32, "{name}");
    assert!(!line.contains(&name));
    for target in ["/public", "/optional", "/public/picture"] {
        let answer = visitor.ask("GET", target).header("sec-fetch-dest", "image").send();
        assert_eq!((answer.status, given(&answer)), (200, None), "{target}");
        assert_eq!(pseudonym(&backend.received()), name, "{target}");
    }
    assert_eq!(visitor.over_h2().get("/optional").status, 200);
    assert_eq!(pseudonym(&backend.received()), name);
    gateway.visitor().page("/public");
    let other = pseudonym(&backend.received());
    assert!(other.len() == 32 && other != name, "{other}");
    assert_eq!(counted(&gateway, "session_created"), 0);
    assert_eq!(stored(gateway), 0);
}

#[test]
fn a_picture_makes_nobody_a_guest() {
    let (backend, gateway) = recognising();
    for kind in ["image", "style", "script"] {
        let answer = gateway.visitor().ask("GET", "/public").header("sec-fetch-dest", kind).send();
        assert_eq!((answer.status, given(&answer)), (200, None), "{kind}");
        assert_eq!(pseudonym(&backend.received()), "", "{kind}");
    }
}

#[test]
fn nobody_names_their_session_themselves() {
    for anonymous in ["true", "false"] {
        let (backend, gateway) = house(&[("anonymous", anonymous)]);
        let guest = gateway.visitor();
        let alice = gateway.visitor().signed_in_as("alice");
        for (visitor, target) in [
            (&guest, "/public"),
            (&guest, "/optional"),
            (&alice, "/public"),
            (&alice, "/optional"),
            (&alice, "/"),
        ] {
            for spelling in ["x-session-id", "X-Session-Id", "x_session_id", "X-SESSION_ID", "x_session-id"] {
                visitor.ask("GET", target).header(spelling, "forged").send();
                let names = backend
                    .received()
                    .folded("x-session-id")
                    .iter()
                    .map(|it| (*it).to_owned())
                    .collect::<Vec<_>>();
                assert!(
                    !names.iter().any(|name| name.contains("forged")),
                    "{spelling} on {target}: {names:?}"
                );
                assert_eq!(names.len(), usize::from(anonymous == "true"), "{spelling} on {target}");
            }
        }
    }
}

#[test]
fn a_login_makes_a_guest_somebody_else() {
    let (backend, gateway) = recognising();
    let visitor = gateway.visitor();
    visitor.page("/public");
    let guest = (visitor.session_cookie().expect("a cookie"), pseudonym(&backend.received()));
    assert!(visitor.page("/").asks_login(), "a guest is nobody");
    assert_eq!(visitor.get("/").status, 401);
    assert_eq!(visitor.get("/.vestibule/session").status, 401);
    assert_eq!(visitor.try_login("/", "alice", PASSWORD).status, 303);
    visitor.page("/");
    let request = backend.received();
    let alice = (visitor.session_cookie().expect("a cookie"), pseudonym(&request));
    assert_eq!((request.header("x-user-id"), alice.1.len()), ("alice", 32));
    assert!(alice.0 != guest.0 && alice.1 != guest.1);
    for target in ["/public", "/optional", "/"] {
        let answer = visitor.page(target);
        assert_eq!(given(&answer), None, "{target}");
        assert_eq!(pseudonym(&backend.received()), alice.1, "{target}");
    }
    let planted = holding(&gateway, &guest.0);
    assert!(planted.page("/").asks_login());
    planted.get("/optional");
    let request = backend.received();
    assert_eq!((request.header("x-user-id"), pseudonym(&request)), ("", guest.1));
}

#[test]
fn the_cookie_of_a_session_is_never_replaced_by_one_of_a_guest() {
    let (backend, gateway) = recognising();
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(RENEW);
    assert_eq!(given(&alice.page("/public")), None);
    let renewed = alice.page("/optional");
    assert!(given(&renewed).is_some());
    assert_eq!(alice.page("/").status, 200);
    assert_eq!(pseudonym(&backend.received()), pseudonym(&backend.received()));
    let second_tab = alice.second_tab();
    alice.sign_out();
    for target in ["/public", "/optional"] {
        assert_eq!(given(&second_tab.page(target)), None, "{target}");
    }
    assert!(given(&alice.page("/public")).is_some(), "who signed out is a new guest");
}

#[test]
fn a_guest_is_another_one_after_half_a_day() {
    let (backend, gateway) = recognising();
    let visitor = gateway.visitor();
    visitor.page("/public");
    let first = pseudonym(&backend.received());
    gateway.advance(std::time::Duration::from_hours(12));
    assert!(given(&visitor.page("/public")).is_some());
    assert_ne!(pseudonym(&backend.received()), first);
}

fn recognising() -> (Backend, Gateway) {
    house(&[("anonymous", "true")])
}

/// The name that the backend is told of the session.
fn pseudonym(request: &Received) -> String {
    assert!(!request.head.contains(SESSION_COOKIE), "{}", request.head);
    request.header("x-session-id").to_owned()
}

fn holding(gateway: &Gateway, cookie: &str) -> Client {
    let visitor = gateway.visitor();
    visitor.put_cookie(SESSION_COOKIE, cookie);
    visitor
}

/// How many sessions are in the store of a gateway that stops.
fn stored(gateway: Gateway) -> i64 {
    let folder = gateway.stop();
    let database = rusqlite::Connection::open(folder.path("sessions.db")).expect("the store");
    let count = database.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0));
    count.expect("a count")
}
