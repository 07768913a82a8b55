//! Five hundred logins a second by strangers: those who are signed in notice little, and who has signed in
//! before still can.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use vestibule::clock::Stopwatch;

use crate::harness::client::LOGIN;
use crate::harness::{Answer, Backend, Client, Gateway, PASSWORD, PATIENCE, Setup, Upload};

#[test]
fn five_hundred_logins_a_second_leave_proxied_requests_and_a_real_login_alive() {
    let backend = Backend::start();
    let setup = Setup::in_front_of(&backend.url()).set("server.trusted_proxies", "['127.0.0.1']");
    let gateway = Gateway::start(&setup);
    let user = gateway.visitor().signed_in_as("alice");
    let quiet = worst_of_hundred(&requests(&user, || false));
    let flood = Flood::default();
    let (calm, logins) = thread::scope(|scope| {
        for flooder in 0..FLOODERS {
            let (gateway, flood) = (&gateway, &flood);
            scope.spawn(move || flood.of(&gateway.visitor(), flooder));
        }
        let logins = scope.spawn(|| logins(&gateway.visitor(), &flood));
        let calm = requests(&user, || flood.sent() < ATTEMPTS);
        let logins = logins.join().expect("the logins");
        flood.is_over.store(true, Ordering::Relaxed);
        (calm, logins)
    });
    let flooded = worst_of_hundred(&calm);
    println!("{} requests: {quiet:?} without, {flooded:?} in a flood; logins: {logins:?}", calm.len());
    assert!(flooded < quiet * 10 + Duration::from_millis(250), "{quiet:?} without, {flooded:?} in a flood");
    assert!(logins.iter().all(|login| *login < Duration::from_secs(2)), "{logins:?}");
    assert!(flood.turned_away.load(Ordering::Relaxed) > ATTEMPTS / 4, "it was no flood");
}

/// Attempts to log in that come evenly, as many as there are to be in a second, from everywhere.
#[derive(Default)]
struct Flood {
    next: AtomicU32,
    turned_away: AtomicU32,
    is_over: AtomicBool,
}

impl Flood {
    fn sent(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// Takes part in it until it is over.
    fn of(&self, visitor: &Client, flooder: u32) {
        let (_, page) = visitor.login_page("/");
        let watch = Stopwatch::start();
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            // Not before its time; who is late does not wait.
            let due = Duration::from_secs(1) * number / A_SECOND;
            thread::sleep(due.saturating_sub(watch.elapsed()));
            let answer = guess(visitor, &page, &format!("user-{number}"), flooder, number);
            assert!([401, 503].contains(&answer.status), "{} {}", answer.status, answer.text());
            self.turned_away.fetch_add(u32::from(answer.status == 503), Ordering::Relaxed);
        }
    }
}

/// A name that nobody has, from a network that nobody came from, so that nothing but hashing holds it up.
fn guess(visitor: &Client, page: &Answer, user: &str, flooder: u32, number: u32) -> Answer {
    let form = page.login_form().fill("text", user).fill("password", "guess");
    let address = format!("10.{}.{}.{}", flooder % 256, number / 256 % 256, number % 256);
    visitor
        .ask("POST", LOGIN)
        .as_page()
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", &visitor.origin())
        .header("sec-fetch-site", "same-origin")
        .header("x-forwarded-for", &address)
        .body(Upload::text(form.encoded()))
        .send()
}

/// How long each request of somebody who is signed in takes: at least two hundred, and for as long as this is so.
fn requests(user: &Client, goes_on: impl Fn() -> bool) -> Vec<Duration> {
    let (start, mut times) = (Stopwatch::start(), Vec::new());
    while times.len() < 200 || goes_on() {
        assert!(start.elapsed() < PATIENCE * 3, "the flood is stuck");
        let watch = Stopwatch::start();
        assert_eq!(user.get("/").status, 200);
        times.push(watch.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
    times
}

/// How long each login of somebody takes who has signed in on this device before.
fn logins(device: &Client, flood: &Flood) -> Vec<Duration> {
    // The first is a stranger's, who comes again when there is too much to do.
    while device.try_login("/", "ada", PASSWORD).status != 303 {
        assert!(!flood.is_over.load(Ordering::Relaxed), "in vain");
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        device.sign_out();
        let watch = Stopwatch::start();
        assert_eq!(device.try_login("/", "ada", PASSWORD).status, 303);
        times.push(watch.elapsed());
    }
    times
}

fn worst_of_hundred(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() * 99 / 100]
}

const A_SECOND: u32 = 500;

/// Three seconds of them.
const ATTEMPTS: u32 = 3 * A_SECOND;

/// More than can wait for a hash, so that there is always one more.
const FLOODERS: u32 = 96;
