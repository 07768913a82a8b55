//! Routes that are open at certain hours: who comes too early, who stays too long.

use std::time::Duration;

use vestibule::clock::{Clock, Timestamp};

use crate::harness::people::Person;
use crate::harness::websocket::{Message, WebSocket};
use crate::harness::{After, Backend, Gateway, Setup, eventually};

#[test]
fn a_route_is_closed_outside_its_hours_and_says_when_it_opens() {
    let backend = Backend::start();
    let opens = now() + Duration::from_mins(10);
    let hours = span(opens, opens + Duration::from_hours(1));
    let gateway = Gateway::start(&shop(&backend, &format!("access = 'public'; {hours}")));
    let visitor = gateway.visitor();
    let page = visitor.page("/shop");
    assert_eq!(page.status, 403);
    assert!(page.text().contains(&format!("{} (UTC)", day_and_minute(opens))), "{}", page.text());
    let script = visitor.get("/shop");
    assert_eq!((script.status, script.error().as_str()), (403, "closed"));
    let wait: u64 = script.header("retry-after").parse().expect("seconds");
    assert!((540..=600).contains(&wait), "{wait}");
    assert_eq!(visitor.get("/").status, 200);
    gateway.advance(Duration::from_mins(10));
    assert_eq!(visitor.get("/shop").status, 200);
}

#[test]
fn nobody_is_asked_to_sign_in_at_a_closed_door() {
    let backend = Backend::start();
    let hours = span(now() + Duration::from_mins(10), now() + Duration::from_mins(20));
    let gateway = Gateway::start(&shop(&backend, &format!("access = 'login'; {hours}")));
    assert_eq!(gateway.visitor().page("/shop").status, 403);
    gateway.advance(Duration::from_mins(11));
    assert!(gateway.visitor().page("/shop").asks_login());
    assert!(backend.saw_nothing());
}

#[test]
fn hours_go_over_midnight_and_follow_the_clocks_of_their_zone() {
    let backend = Backend::start();
    // Twelve hours from a minute ago are open, wherever midnight is: in Kathmandu it is 5:45 hours further.
    let from = now() + Duration::from_mins(5 * 60 + 44);
    let hours = span(from, from + Duration::from_hours(12)).replace("UTC", "Asia/Kathmandu");
    let gateway = Gateway::start(&shop(&backend, &format!("access = 'public'; {hours}")));
    let visitor = gateway.visitor();
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(visitor.get("/shop").status);
        gateway.advance(Duration::from_hours(5));
    }
    assert_eq!(seen, [200, 200, 200, 403, 403]);
}

#[test]
fn a_websocket_and_a_stream_end_with_the_hours() {
    let (sockets, events) = (talkative(), endless());
    let until = now() + Duration::from_mins(5);
    let hours = span(now() - Duration::from_hours(1), until);
    let setup = Setup::new()
        .upstream("sockets", &sockets.url())
        .upstream("events", &events.url())
        .route(&format!("path = '/ws'; upstream = 'sockets'; access = 'login'; {hours}"))
        .route(&format!("path = '/events'; upstream = 'events'; access = 'public'; {hours}"))
        .route("path = '/'; upstream = 'events'; access = 'login'")
        .person(Person::named("alice"));
    let gateway = Gateway::start(&setup);
    let alice = gateway.visitor().signed_in_as("alice");
    let mut socket = WebSocket::open(&gateway, &alice, "/ws");
    let mut stream = gateway.visitor().ask("GET", "/events").stream();
    assert!(stream.piece().is_some());
    let mut unbounded = alice.second_tab().ask("GET", "/").stream();
    assert!(unbounded.piece().is_some());
    gateway.advance(Duration::from_mins(6));
    assert_eq!(socket.heard(), Message::Close(4401));
    assert!(stream.try_piece().is_err());
    let ended = "vestibule_streams_ended_total{reason=\"hours_over\"}";
    eventually(ended, || (gateway.metric(ended) > 1.5).then_some(()));
    // What has no hours goes on.
    assert!((gateway.metric("vestibule_streams") - 1.0).abs() < 0.5);
}

#[test]
fn a_reload_brings_other_hours_to_what_is_open() {
    let backend = endless();
    let open = span(now() - Duration::from_hours(1), now() + Duration::from_hours(1));
    let closed = span(now() + Duration::from_hours(1), now() + Duration::from_hours(2));
    let with = |hours: &str| {
        Setup::new()
            .upstream("app", &backend.url())
            .route(&format!("path = '/'; upstream = 'app'; access = 'public'; {hours}"))
    };
    let gateway = Gateway::start(&with(""));
    let mut stream = gateway.visitor().ask("GET", "/").stream();
    assert!(stream.piece().is_some());
    with(&open).write_to(&gateway.folder);
    gateway.reload().expect("a reload");
    backend.release();
    assert!(stream.piece().is_some());
    with(&closed).write_to(&gateway.folder);
    gateway.reload().expect("a reload");
    assert!(stream.try_piece().is_err());
}

/// Something public at `/`, and a shop with a rule of its own.
fn shop(backend: &Backend, rule: &str) -> Setup {
    Setup::new()
        .upstream("app", &backend.url())
        .route("path = '/'; upstream = 'app'; access = 'public'")
        .route(&format!("path = '/shop'; upstream = 'app'; {rule}"))
        .person(Person::named("alice"))
}

/// A WebSocket server.
fn talkative() -> Backend {
    Backend::with_head(|peer| {
        peer.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
        while peer.read_some().is_some() {}
        After::Close
    })
}

/// Sends a piece at once, another when it is released, and never ends.
fn endless() -> Backend {
    Backend::with_head(|peer| {
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        peer.wait();
        peer.write("5\r\nagain\r\n");
        peer.read_some();
        After::Close
    })
}

/// The keys of a route that is open every day between these points, by the minute.
fn span(from: Timestamp, until: Timestamp) -> String {
    format!("hours = ['{}-{}']; time_zone = 'UTC'", minute(from), minute(until))
}

fn day_and_minute(time: Timestamp) -> String {
    let text = time.to_string();
    text[..16].replace('T', " ")
}

fn minute(time: Timestamp) -> String {
    day_and_minute(time)[11..].to_owned()
}

fn now() -> Timestamp {
    Clock::system().now()
}
