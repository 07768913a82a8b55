//! What a request with a session in memory takes from the allocator: nothing.
//!
//! A program of its own, because what counts takes the allocator's place.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test may fail wherever it stands, also in the functions that it is written with"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use vestibule::clock::Clock;
use vestibule::identity::{AuthMethod, Identity, UserId};
use vestibule::session::{
    Activity, Binding, Config, CookieConfig, Device, Engine, Guests, KeyRing, Lifetimes, Login, Policy,
    Presented, Proofs, Remember, Resumed, SameSite, StoreDown, StoreKind, Visit,
};
use vestibule::telemetry::audit::Audit;

#[tokio::test]
async fn resuming_a_session_in_memory_allocates_nothing() {
    let (engine, headers) = signed_in().await;
    resume(&engine, &headers, FIREFOX);
    let counted = allocation_counter::measure(|| resume(&engine, &headers, FIREFOX));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[tokio::test]
async fn a_browser_that_updated_itself_allocates_nothing_either() {
    let (engine, headers) = signed_in().await;
    resume(&engine, &headers, FIREFOX);
    let newer = FIREFOX.replace("145.0", "146.0.1");
    let counted = allocation_counter::measure(|| resume(&engine, &headers, &newer));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[tokio::test]
async fn a_forged_cookie_allocates_nothing() {
    let (engine, mut headers) = signed_in().await;
    let cookie = headers[COOKIE].to_str().expect("a text");
    let (begin, end) = cookie.split_at(cookie.len() - 10);
    let forged = format!("{begin}{}{}", if end.starts_with('A') { 'B' } else { 'A' }, &end[1..]);
    headers.insert(COOKIE, HeaderValue::from_str(&forged).expect("a header"));
    let counted = allocation_counter::measure(|| {
        assert!(!matches!(engine.present(&headers), Presented::Valid(_) | Presented::Absent));
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// What a request does; the answer is there at the first poll.
fn resume(engine: &Engine, headers: &HeaderMap, user_agent: &str) {
    let Presented::Valid(ticket) = engine.present(headers) else { panic!("no ticket") };
    let device = Device { user_agent, ..DEVICE };
    let visit = Visit { device, activity: Activity::Counts, request_id: "one" };
    let resuming = pin!(engine.resume(&ticket, visit));
    let answer = resuming.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Ok(Resumed::Live(_)))));
}

/// An engine, and the headers of a browser that has a session of it.
async fn signed_in() -> (Engine, HeaderMap) {
    let clock = Clock::system();
    let ring = Arc::new(KeyRing::generate(clock.now()));
    let config = Config { store: StoreKind::Memory, policy: policy() };
    let engine = Engine::start(config, ring, clock, Audit::discard()).await.expect("an engine");
    let identity = Identity {
        user: UserId::try_from("alice").expect("a name"),
        groups: Vec::new(),
        name: Some("Alice".to_owned()),
        email: None,
    };
    let login = Login {
        identity,
        method: AuthMethod::Password,
        proofs: Proofs::default(),
        remember: Remember::No,
        device: DEVICE,
    };
    let opened = engine.open(login).await.expect("a session");
    let cookie = opened.cookies[0].to_str().expect("a text");
    let pair = cookie.split(';').next().expect("a pair");
    (engine, HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(pair).expect("a header"))]))
}

fn policy() -> Policy {
    Policy {
        lifetimes: Lifetimes {
            idle: Duration::from_mins(30),
            absolute: Duration::from_hours(12),
            remember: Duration::ZERO,
            renew_id: Duration::from_mins(15),
        },
        cookie: CookieConfig { name: "__Host-vestibule".to_owned(), same_site: SameSite::Lax },
        limit: None,
        binding: Binding { user_agent: true, address: true },
        guests: Guests::Unknown,
        store_down: StoreDown::Refuse,
        recheck: Duration::from_secs(5),
    }
}

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const DEVICE: Device<'static> =
    Device { user_agent: FIREFOX, address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)) };
