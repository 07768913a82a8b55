//! Passkeys without an authenticator: what is told and written when there is none that fits.

use super::*;
use crate::harness::assumptions::event;

#[test]
fn an_answer_of_nobody_writes_nothing_and_is_in_the_trail() {
    let (_backend, gateway) = house();
    let visitor = gateway.visitor();
    let (place, page) = visitor.login_page("/");
    for answer in ["", "{}", UNKNOWN] {
        let form = page.form_to("/.vestibule/login/passkey").forge("answer", answer);
        assert_eq!(visitor.submit(&form, &place).status, 403, "{answer}");
    }
    assert_eq!(spent(&gateway), 0);
    let line = gateway.audited(event::LOGIN_FAILURE);
    assert_eq!((&line["detail"], &line["address"]), (&"no passkey of anybody".into(), &"127.0.0.1".into()));
}

/// How many questions the store holds as answered.
fn spent(gateway: &Gateway) -> i64 {
    let database = rusqlite::Connection::open(gateway.folder.path("users.db")).expect("a database");
    database.query_row("SELECT count(*) FROM spent", [], |row| row.get(0)).expect("a count")
}

/// A credential that nobody has.
const UNKNOWN: &str = r#"{"id": "AAAA", "rawId": "AAAA", "type": "public-key", "extensions": {},
    "response": {"authenticatorData": "AAAA", "clientDataJSON": "AAAA", "signature": "AAAA", "userHandle": "AAAA"}}"#;
