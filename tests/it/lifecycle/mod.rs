//! Sessions from their beginning to their end, as browsers, backends and administrators see it.

mod activity;
mod binding;
mod guests;
mod limit;
mod remembered;
mod renewal;
mod trail;

use std::time::Duration;

use crate::harness::client::SESSION_COOKIE;
use crate::harness::{Answer, Backend, Client, Gateway, Setup};

/// A gateway with these settings in front of a backend that says hello.
fn house(settings: &[(&str, &str)]) -> (Backend, Gateway) {
    let backend = Backend::start();
    let gateway = Gateway::start(&setup(&backend, settings));
    (backend, gateway)
}

fn setup(backend: &Backend, settings: &[(&str, &str)]) -> Setup {
    settings.iter().fold(Setup::in_front_of(&backend.url()), |setup, (key, value)| {
        setup.set(&format!("session.{key}"), value)
    })
}

/// The value of the session cookie that an answer sets.
fn given(answer: &Answer) -> Option<String> {
    answer.set_cookie(SESSION_COOKIE).map(|_| answer.cookies()[SESSION_COOKIE].clone())
}

/// The same browser with another session cookie.
fn with_cookie(browser: &Client, cookie: &str) -> Client {
    let other = browser.second_tab();
    other.put_cookie(SESSION_COOKIE, cookie);
    other
}

/// How often an event of that kind happened, by its counter.
#[track_caller]
fn counted(gateway: &Gateway, kind: &str) -> u32 {
    let count = gateway.metric(&format!("vestibule_events_total{{event=\"{kind}\"}}"));
    (0..1000).find(|number| (count - f64::from(*number)).abs() < 0.5).expect("a small count")
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const IDLE: Duration = Duration::from_mins(30);
const RENEW: Duration = Duration::from_mins(15);
/// How long a replaced token still works.
const GRACE: Duration = Duration::from_secs(30);
