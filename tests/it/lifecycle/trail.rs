//! Every change in the life of a session is told: in the audit trail and as a counter.

use super::{IDLE, RENEW, counted, house};
use crate::harness::Gateway;

#[test]
fn each_transition_has_its_line_and_its_count() {
    let (_backend, gateway) = house(&[("max_per_user", "1")]);
    let told = |kind: &str, detail: &str| {
        let event = gateway.audited(kind);
        assert_eq!(event["detail"], detail, "{event}");
        assert_eq!(event["user"], "alice", "{event}");
        assert!(
            event["address"].is_string() && event["session"].as_str().is_some_and(|id| id.len() == 16),
            "{event}"
        );
        assert_eq!(counted(&gateway, kind), 1, "{kind}");
    };
    let alice = gateway.visitor().signed_in_as("alice");
    told("session_created", "password");
    gateway.advance(RENEW);
    assert_eq!([alice.get("/"), alice.get("/")].map(|answer| answer.status), [200, 200]);
    told("session_renewed", "new token");
    alice.sign_out();
    told("session_ended", "logout");
    let evicted = gateway.visitor().signed_in_as("alice");
    let idle = gateway.visitor().signed_in_as("alice");
    assert_eq!(evicted.get("/").status, 401);
    told("session_revoked", "too many sessions of the user");
    gateway.advance(IDLE);
    assert_eq!(idle.get("/").status, 401);
    told("session_expired", "idle");
    let stolen = gateway.visitor().signed_in_as("alice");
    assert_eq!(stolen.second_tab().always("user-agent", "curl/8.5.0").get("/").status, 401);
    told("session_destroyed", "the browser is another one");
    assert_eq!(counted(&gateway, "session_created"), 4);
}

#[test]
fn an_end_is_told_once_however_often_its_cookie_comes() {
    let (_backend, gateway) = house(&[]);
    let alice = gateway.visitor().signed_in_as("alice");
    gateway.advance(IDLE);
    for _ in 0..5 {
        assert_eq!(alice.get("/").status, 401);
    }
    assert_eq!(counted(&gateway, "session_expired"), 1);
    assert_eq!(ends(&gateway), 1);
}

fn ends(gateway: &Gateway) -> u32 {
    ["session_ended", "session_revoked", "session_expired", "session_destroyed"]
        .map(|kind| counted(gateway, kind))
        .iter()
        .sum()
}
