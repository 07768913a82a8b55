//! Floods of guesses, and the people who want to go on working meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use vestibule::clock::Stopwatch;

use crate::harness::client::{LOGIN, SESSION_COOKIE};
use crate::harness::{Backend, Client, Gateway, PASSWORD, Setup, Upload};
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

#[test]
fn whoever_guesses_slows_down_their_own_network_and_nobody_elsewhere() {
    let (_backend, gateway) = house();
    let alice = gateway.visitor().signed_in_as("alice");
    for _ in 0..3 {
        assert_eq!(gateway.visitor().try_login("/", "alice", "wrong").status, 401);
    }
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 429);
    let at_home = gateway.visitor().always("x-forwarded-for", "198.51.100.7");
    assert_eq!(at_home.try_login("/", "alice", PASSWORD).status, 303, "from another network");
    assert_eq!(alice.get("/").status, 200, "sessions do not care");
}

#[test]
fn a_device_that_signed_in_before_is_let_in_during_an_attack_and_is_known_by_a_cookie_of_its_own() {
    let (backend, gateway) = house();
    let device = gateway.visitor().signed_in_as("alice");
    let mark = device.cookie(DEVICE).expect("a cookie for the device");
    device.sign_out();
    for _ in 0..10 {
        gateway.visitor().try_login("/", "alice", "wrong");
    }
    assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 429);
    assert_eq!(device.try_login("/", "alice", "wrong").status, 401);
    assert_eq!(device.try_login("/", "alice", PASSWORD).status, 303);
    assert_ne!(device.cookie(DEVICE).expect("a cookie"), mark, "each login makes another");

    device.get("/");
    assert!(!backend.received().header("cookie").contains(DEVICE), "the backend does not see it");
    let other = gateway.visitor();
    other.put_cookie(DEVICE, &mark);
    assert_eq!(other.try_login("/", "ada", PASSWORD).status, 303, "it is no obstacle to others");
    let forged = gateway.visitor();
    forged.put_cookie(DEVICE, &"A".repeat(mark.len()));
    assert_eq!(forged.try_login("/", "alice", PASSWORD).status, 429);
}

#[test]
fn over_redis_gateways_slow_guesses_down_together() {
    let redis = Redis::start();
    gateways_slow_guesses_down_together(&redis.url());
}

#[test]
fn over_postgresql_gateways_slow_guesses_down_together() {
    let postgres = Postgres::start();
    gateways_slow_guesses_down_together(&postgres.url());
}

#[track_caller]
fn gateways_slow_guesses_down_together(store: &str) {
    let backend = Backend::start();
    let setup = setup(&backend).store(store);
    let one = Gateway::start(&setup);
    let two = one.twin(&setup);
    let device = one.visitor().signed_in_as("alice");
    device.sign_out();
    for gateway in [&one, &two, &one] {
        assert_eq!(gateway.visitor().try_login("/", "alice", "wrong").status, 401);
    }
    for gateway in [&one, &two] {
        assert_eq!(gateway.visitor().try_login("/", "alice", PASSWORD).status, 429);
        let at_home = gateway.visitor().always("x-forwarded-for", "198.51.100.7");
        assert_eq!(at_home.try_login("/", "alice", PASSWORD).status, 303, "from another network");
    }
    let elsewhere = device.moved_to(two.address());
    assert_eq!(
        elsewhere.try_login("/", "alice", PASSWORD).status,
        303,
        "a device of one is known at the other"
    );
    assert_eq!(two.visitor().try_login("/", "alice", PASSWORD).status, 429, "which helps nobody else");
    two.advance(Duration::from_secs(1));
    assert_eq!(two.visitor().try_login("/", "alice", "wrong").status, 401, "one more after the wait");
    one.advance(Duration::from_secs(1));
    assert_eq!(one.visitor().try_login("/", "alice", PASSWORD).status, 429, "which doubles for both");
}

#[test]
fn a_flood_of_guesses_from_everywhere_leaves_the_application_and_a_known_device_alone() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url()).set("server.trusted_proxies", "['127.0.0.1']");
    let gateway = Gateway::spawn(&setup);
    let device = gateway.visitor().signed_in_as("alice");
    let session = device.second_tab();
    device.forget_session();
    let (is_over, guesses) = (AtomicBool::new(false), AtomicU32::new(0));
    let watch = Stopwatch::start();
    std::thread::scope(|scope| {
        for flooder in 0..4_u32 {
            let (gateway, is_over, guesses) = (&gateway, &is_over, &guesses);
            scope.spawn(move || flood(&gateway.visitor(), flooder, is_over, guesses));
        }
        while guesses.load(Ordering::Relaxed) < 100 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| go_on(&session, &device)));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    let rate = f64::from(guesses.load(Ordering::Relaxed)) / watch.elapsed().as_secs_f64();
    println!("{rate:.0} guesses a second");
}

/// Guesses at names that nobody has, each from a network of its own, so that nothing but hashing holds it up.
fn flood(visitor: &Client, flooder: u32, is_over: &AtomicBool, guesses: &AtomicU32) {
    let (_, page) = visitor.login_page("/");
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let form =
            page.login_form().fill("text", &format!("user-{flooder}-{number}")).fill("password", "guess");
        let [_, high, low, _] = u32::to_be_bytes(number << 8);
        let answer = visitor
            .ask("POST", LOGIN)
            .as_page()
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", &visitor.origin())
            .header("sec-fetch-site", "same-origin")
            .header("x-forwarded-for", &format!("10.{}.{low}.1", flooder * 64 + u32::from(high)))
            .body(Upload::text(form.encoded()))
            .send();
        assert!([401, 503].contains(&answer.status), "{} {}", answer.status, answer.text());
        guesses.fetch_add(1, Ordering::Relaxed);
    }
}

fn go_on(session: &Client, device: &Client) {
    for _ in 0..50 {
        let watch = Stopwatch::start();
        assert_eq!(session.get("/").status, 200);
        assert!(watch.elapsed() < Duration::from_secs(2), "{:?}", watch.elapsed());
    }
    for _ in 0..3 {
        let watch = Stopwatch::start();
        assert_eq!(device.try_login("/", "alice", PASSWORD).status, 303);
        assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
        device.forget_session();
    }
}

impl Client {
    /// As when the session cookie is gone but that of the device stays.
    fn forget_session(&self) {
        let device = self.cookie(DEVICE).expect("a cookie");
        self.forget_cookies();
        self.put_cookie(DEVICE, &device);
        assert!(self.cookie(SESSION_COOKIE).is_none());
    }
}

fn house() -> (Backend, Gateway) {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup(&backend));
    (backend, gateway)
}

fn setup(backend: &Backend) -> Setup {
    Setup::in_front_of(&backend.url())
        .set("login.throttle.per_account", "'3 in 30m'")
        .set("server.trusted_proxies", "['127.0.0.1']")
}

const DEVICE: &str = "__Host-vestibule-device";
