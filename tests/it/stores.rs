//! Every session store behind a real gateway: what is promised of sessions, whatever keeps them.

use std::time::Duration;

use crate::harness::assumptions::event;
use crate::harness::client::is_of_session;
use crate::harness::people::Person;
use crate::harness::{Answer, Backend, Client, Gateway, PASSWORD, Setup, eventually, time_until};
use crate::servers::mariadb::MariaDb;
use crate::servers::memcached::Memcached;
use crate::servers::postgres::Postgres;
use crate::servers::redis::{Cluster, Redis, Watched};

#[test]
fn redis_with_a_password_and_a_prefix_keeps_sessions_as_promised() {
    let redis = Redis::start_with(ACL);
    let url = format!("redis://vestibule:let-me-in@127.0.0.1:{}/0?prefix=wiki", redis.port());
    keeps_what_is_promised(&url);
    let keys = redis.command(["KEYS", "*"]);
    assert!(!keys.is_empty() && keys.lines().all(|key| key.starts_with("wiki:")), "{keys}");
}

#[test]
fn redis_behind_sentinels_keeps_sessions_as_promised() {
    keeps_what_is_promised(&Watched::start().url());
}

#[test]
fn a_cluster_of_redis_keeps_sessions_as_promised() {
    keeps_what_is_promised(&Cluster::start().url());
}

#[test]
fn postgresql_keeps_sessions_as_promised() {
    keeps_what_is_promised(&Postgres::start().url());
}

#[test]
fn mariadb_keeps_sessions_as_promised() {
    keeps_what_is_promised(&MariaDb::start().url());
}

#[test]
fn memcached_keeps_sessions_as_promised() {
    let memcached = Memcached::start();
    keeps_what_is_promised(&format!("memcached://{}", memcached.address()));
}

#[test]
fn a_file_keeps_sessions_as_promised() {
    keeps_what_is_promised("");
}

#[test]
fn memory_keeps_sessions_as_promised_until_the_gateway_stops() {
    let backend = Backend::start();
    let gateway = Gateway::start(&Setup::in_front_of(&backend.url()).store("memory:"));
    serves_two_tabs_until_a_logout(&backend, &gateway);
    knows_nobody_of_an_unknown_session(&gateway);
    ends_with_the_account(&gateway);
    ends_by_the_clock(&gateway);
}

#[test]
fn cookies_keep_sessions_as_promised() {
    keeps_what_is_promised("cookie:");
}

#[test]
fn cookies_with_a_deny_list_in_redis_keep_sessions_as_promised() {
    let redis = Redis::start();
    let backend = Backend::start();
    keeps_what_the_setup_promises(&backend, &denying(&backend, &redis));
}

#[test]
fn a_cookie_from_before_a_logout_is_refused_by_every_gateway_of_the_deny_list() {
    let redis = Redis::start();
    let backend = Backend::start();
    let setup = denying(&backend, &redis);
    let one = Gateway::start(&setup);
    let two = one.twin(&setup);
    let mut delays = Vec::new();
    for _ in 0..5 {
        let alice = one.visitor().signed_in_as("alice");
        let elsewhere = alice.moved_to(two.address());
        assert_eq!(elsewhere.get("/").status, 200);
        assert_eq!(alice.sign_out().status, 303);
        delays.push(time_until("the logout is known", || is_refused(&elsewhere)));
        assert_eq!(elsewhere.second_tab().get("/").status, 401);
    }
    delays.sort();
    // The machine may be busy for a moment, but not most of the time.
    assert!(delays[2] < AT_ONCE, "{delays:?}");
}

#[test]
fn an_account_that_is_disabled_at_one_gateway_is_out_at_every_gateway_of_the_deny_list() {
    let redis = Redis::start();
    let backend = Backend::start();
    let setup = denying(&backend, &redis);
    let one = Gateway::start(&setup);
    let two = one.twin(&setup);
    let alice = two.visitor().signed_in_as("alice");
    // What a user began before this moment ends: it comes after the login by both clocks.
    one.advance(Duration::from_mins(1));
    disable(&one, "alice");
    eventually("the end at the other gateway", || is_refused(&alice).then_some(()));
}

#[test]
fn a_user_of_many_groups_is_kept_in_several_cookies_that_no_backend_sees() {
    let backend = Backend::start();
    let gateway = Gateway::start(&crowded(&backend, 300));
    let visitor = gateway.visitor();
    let answer = visitor.try_login("/", "clara", PASSWORD);
    let lines = session_lines(&answer);
    assert!((2..=4).contains(&lines.len()), "{} cookies", lines.len());
    assert!(lines.iter().all(|line| line.len() < 4_000 && line.contains("; HttpOnly; ")), "{lines:?}");
    let tab = visitor.second_tab();
    tab.put_cookie("theme", "dark");
    assert_eq!(tab.page("/").status, 200);
    let received = backend.received();
    assert_eq!(received.header("cookie"), "theme=dark");
    assert_eq!(received.header("x-user-groups").split(',').count(), 300);
    assert_eq!(tab.over_h2().page("/").status, 200);
}

#[test]
fn a_logout_clears_every_one_of_several_cookies_and_none_of_them_comes_back() {
    let backend = Backend::start();
    let gateway = Gateway::start(&crowded(&backend, 300));
    let clara = gateway.visitor().signed_in_as("clara");
    let before = clara.session_line();
    assert!(before.contains("; "), "{before}");
    assert_eq!(clara.sign_out().status, 303);
    assert_eq!(clara.session_line(), "");
    let replayed = |gateway: &Gateway| gateway.visitor().ask("GET", "/").header("cookie", &before).send();
    assert_eq!(replayed(&gateway).status, 401);
    let gateway = Gateway::start_in(gateway.stop());
    assert_eq!(replayed(&gateway).status, 401);
}

#[test]
fn a_session_that_no_cookie_can_hold_is_an_error_that_says_so() {
    let backend = Backend::start();
    let gateway = Gateway::start(&crowded(&backend, 900));
    let visitor = gateway.visitor();
    let answer = visitor.try_login("/", "clara", PASSWORD);
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("more groups than a browser can keep"), "{}", answer.text());
    assert_eq!(session_lines(&answer), [""; 0]);
    assert!(visitor.page("/").asks_login());
}

/// Each server is started once, and what is promised is looked at one after the other.
fn keeps_what_is_promised(url: &str) {
    let backend = Backend::start();
    keeps_what_the_setup_promises(&backend, &Setup::in_front_of(&backend.url()).store(url));
}

fn keeps_what_the_setup_promises(backend: &Backend, setup: &Setup) {
    let gateway = Gateway::start(setup);
    serves_two_tabs_until_a_logout(backend, &gateway);
    knows_nobody_of_an_unknown_session(&gateway);
    let gateway = is_the_same_after_a_restart(gateway);
    ends_with_the_account(&gateway);
    ends_by_the_clock(&gateway);
}

fn serves_two_tabs_until_a_logout(backend: &Backend, gateway: &Gateway) {
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(alice.page("/").status, 200);
    assert_eq!(backend.received().header("x-user-id"), "alice");
    let tab = alice.second_tab();
    assert_eq!(tab.page("/").status, 200);
    assert_eq!(backend.received().header("x-user-id"), "alice");
    let before = tab.session_line();
    assert_eq!(alice.sign_out().status, 303);
    assert!(tab.page("/").asks_login());
    let replayed = gateway.visitor();
    assert_eq!(replayed.ask("GET", "/").header("cookie", &before).send().status, 401);
    assert!(backend.saw_nothing());
}

/// The cookie of a session that this store never had, signed by its own key.
fn knows_nobody_of_an_unknown_session(gateway: &Gateway) {
    let elsewhere = gateway.twin(&Setup::in_front_of("http://127.0.0.1:1").store("memory:"));
    let stranger = elsewhere.visitor().signed_in_as("ada").moved_to(gateway.address());
    assert_eq!(stranger.get("/").status, 401);
    assert!(stranger.page("/").asks_login());
    assert_eq!(stranger.page("/public").status, 200);
}

fn is_the_same_after_a_restart(gateway: Gateway) -> Gateway {
    let (alice, ada) = (gateway.visitor().signed_in_as("alice"), gateway.visitor().signed_in_as("ada"));
    let before = ada.session_line();
    assert_eq!(ada.sign_out().status, 303);
    let gateway = Gateway::start_in(gateway.stop());
    assert_eq!(alice.moved_to(gateway.address()).page("/").status, 200);
    assert_eq!(gateway.visitor().ask("GET", "/").header("cookie", &before).send().status, 401);
    gateway
}

fn ends_with_the_account(gateway: &Gateway) {
    let (alice, ada) = (gateway.visitor().signed_in_as("alice"), gateway.visitor().signed_in_as("ada"));
    assert_eq!((alice.get("/").status, ada.get("/").status), (200, 200));
    // What ends the sessions of a user ends those that began before.
    gateway.advance(SECOND);
    disable(gateway, "alice");
    assert_eq!(alice.get("/").status, 401);
    assert!(alice.page("/").asks_login());
    assert_eq!(ada.get("/").status, 200);
}

fn ends_by_the_clock(gateway: &Gateway) {
    let ada = gateway.visitor().signed_in_as("ada");
    for _ in 0..3 {
        gateway.advance(IDLE - SECOND);
        assert_eq!(ada.page("/").status, 200);
    }
    gateway.advance(IDLE);
    assert!(ada.page("/").asks_login());
    assert_eq!(gateway.audited(event::SESSION_EXPIRED)["detail"], "idle");
    let ada = gateway.visitor().signed_in_as("ada");
    for _ in 1..ABSOLUTE.as_secs() / STEP.as_secs() {
        gateway.advance(STEP);
        assert_eq!(ada.get("/").status, 200);
    }
    gateway.advance(STEP);
    assert!(ada.page("/").asks_login());
    eventually("the end in the audit trail", || {
        let trail = gateway.audit_trail();
        let mut expired = trail.iter().filter(|line| line["event"] == event::SESSION_EXPIRED);
        expired.any(|line| line["detail"] == "absolute").then_some(())
    });
}

#[track_caller]
fn disable(gateway: &Gateway, user: &str) {
    let finished = gateway.folder.run(&["users", "disable", user]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}

fn is_refused(visitor: &Client) -> bool {
    visitor.get("/").status == 401
}

/// Sessions in cookies, and what was ended in this Redis.
fn denying(backend: &Backend, redis: &Redis) -> Setup {
    let deny_list = format!("'{}'", redis.url());
    Setup::in_front_of(&backend.url()).store("cookie:").set("session.deny_list", &deny_list)
}

/// Sessions in cookies, and Clara, who is in so many groups.
fn crowded(backend: &Backend, groups: usize) -> Setup {
    let clara = (0..groups).fold(Person::named("clara"), |clara, number| {
        clara.in_group(&format!("project-{number:03}-readers"))
    });
    Setup::in_front_of(&backend.url()).store("cookie:").person(clara)
}

/// The lines of an answer that set a cookie of the session, unless they clear it.
fn session_lines(answer: &Answer) -> Vec<&str> {
    let sets = |line: &&str| line.split('=').next().is_some_and(is_of_session) && !line.contains("Max-Age=0");
    answer.values("set-cookie").into_iter().filter(sets).collect()
}

/// What the documentation of the store asks for, and nothing beside it.
const ACL: &str = "user vestibule on >let-me-in resetkeys ~wiki:* resetchannels -@all +ping +select +role \
                   +client|tracking +cluster|slots +eval +evalsha +exists +get +set +del +pttl +pexpire \
                   +zadd +zrem +zrange +zcount +zremrangebyscore +sadd +smembers\n";
/// What an end of a session elsewhere may take to be known.
const AT_ONCE: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_mins(30);
const ABSOLUTE: Duration = Duration::from_hours(12);
const STEP: Duration = Duration::from_mins(20);
