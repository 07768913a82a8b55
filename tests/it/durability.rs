//! What survives the sudden death of the gateway.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::client::{LOGIN, LOGOUT, SESSION_COOKIE};
use crate::harness::{Backend, Client, Gateway, PASSWORD, Setup, Upload, eventually};

#[test]
fn a_logout_that_was_answered_is_a_logout_after_kill_9() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let cookie = alice.session_cookie().expect("a session cookie");
    assert_eq!(alice.sign_out().status, 303);
    let gateway = Gateway::spawn_in(gateway.kill());
    let replayed = gateway.visitor();
    replayed.put_cookie(SESSION_COOKIE, &cookie);
    assert!(replayed.page("/").asks_login());
}

#[test]
fn a_login_that_was_answered_is_a_login_after_kill_9() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let gateway = Gateway::spawn_in(gateway.kill());
    let alice = alice.moved_to(gateway.address());
    assert_eq!(alice.page("/").status, 200);
    assert_eq!(backend.received().header("x-user-id"), "alice");
}

#[test]
fn a_disabled_account_is_out_after_kill_9() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    assert_eq!(gateway.folder.run(&["users", "disable", "alice"]).code, 0);
    let gateway = Gateway::spawn_in(gateway.kill());
    assert!(alice.moved_to(gateway.address()).page("/").asks_login());
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 401);
}

#[test]
fn a_dead_gateways_sessions_can_be_ended_before_the_next_one_starts() {
    let backend = Backend::start();
    let gateway = Gateway::spawn(&Setup::in_front_of(&backend.url()));
    let alice = gateway.visitor().signed_in_as("alice");
    let folder = gateway.kill();
    let finished = folder.run(&["users", "disable", "alice"]);
    assert_eq!(finished.stdout, "`alice` is disabled; one session ended\n", "{}", finished.stderr);
    let finished = folder.run(&["users", "enable", "alice"]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let gateway = Gateway::spawn_in(folder);
    assert!(alice.moved_to(gateway.address()).page("/").asks_login());
}

#[test]
fn two_hundred_deaths_under_load_leave_every_answered_login_and_logout_as_it_was_answered() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url()).set("session.max_per_user", "0");
    let mut gateway = Gateway::spawn(&setup);
    let mut all = Seen::default();
    for _ in 0..DEATHS {
        let seen = load_until_death(&gateway);
        gateway = Gateway::spawn_in(gateway.kill());
        seen.is_as_it_was_answered(&gateway);
        all.extend(seen);
    }
    assert_eq!(gateway.admin("/ready").status, 200);
    all.is_as_it_was_answered(&gateway);
    assert!(all.signed_in.len() >= DEATHS && all.signed_out.len() >= DEATHS);
}

/// Session cookies, as they stand in a request, by what the gateway last answered.
#[derive(Default)]
struct Seen {
    signed_in: Vec<String>,
    signed_out: Vec<String>,
}

impl Seen {
    fn extend(&mut self, other: Self) {
        self.signed_in.extend(other.signed_in);
        self.signed_out.extend(other.signed_out);
    }

    #[track_caller]
    fn is_as_it_was_answered(&self, gateway: &Gateway) {
        let visitor = gateway.visitor();
        let ask = |cookie: &String| visitor.ask("GET", "/").header("cookie", cookie).send().status;
        assert!(self.signed_in.iter().all(|cookie| ask(cookie) == 200), "a login is lost");
        assert!(self.signed_out.iter().all(|cookie| ask(cookie) == 401), "a logout is lost");
    }
}

/// Three visitors sign in and out until the gateway is killed in the midst of it.
fn load_until_death(gateway: &Gateway) -> Seen {
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let visitors: Vec<_> =
            (0..3).map(|_| scope.spawn(|| visit_until_death(gateway, &answered))).collect();
        eventually("some logins and logouts", || (answered.load(Ordering::SeqCst) >= 9).then_some(()));
        gateway.strike_dead();
        let mut seen = Seen::default();
        for visitor in visitors {
            seen.extend(visitor.join().expect("a visitor"));
        }
        seen
    })
}

/// Signs in again and again, and out every other time; what was not answered is not counted.
fn visit_until_death(gateway: &Gateway, answered: &AtomicUsize) -> Seen {
    let mut seen = Seen::default();
    let visitor = gateway.visitor();
    while let Some(()) = sign_in(&visitor) {
        let cookie = format!("{SESSION_COOKIE}={}", visitor.session_cookie().expect("a session cookie"));
        answered.fetch_add(1, Ordering::SeqCst);
        if seen.signed_in.len() <= seen.signed_out.len() {
            seen.signed_in.push(cookie);
            continue;
        }
        let Some(()) = sign_out(&visitor) else { break };
        answered.fetch_add(1, Ordering::SeqCst);
        seen.signed_out.push(cookie);
    }
    seen
}

/// None when the gateway dies on the way.
fn sign_in(visitor: &Client) -> Option<()> {
    visitor.forget_cookies();
    let page = visitor.ask("GET", LOGIN).as_page().try_send().ok()?;
    let form = page.login_form().fill("text", "alice").fill("password", PASSWORD);
    let answer = visitor.ask("POST", LOGIN).body(Upload::text(form.encoded())).try_send().ok()?;
    assert_eq!(answer.status, 303, "{}", answer.text());
    Some(())
}

fn sign_out(visitor: &Client) -> Option<()> {
    let page = visitor.ask("GET", LOGOUT).as_page().try_send().ok()?;
    let form = page.form().encoded();
    let answer = visitor.ask("POST", LOGOUT).body(Upload::text(form)).try_send().ok()?;
    assert_eq!(answer.status, 303, "{}", answer.text());
    Some(())
}

/// How often the gateway is killed.
const DEATHS: usize = 200;
