//! Sessions in memory: what a request of one costs, and what one weighs.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::Runtime;
use vestibule::clock::Stopwatch;
use vestibule::session::{Engine, Resumed};

use crate::figures::{Durations, Table};
use crate::stand::{Keeper, Stand, VISIT, fill, present, resume};

/// Time and allocations of a request whose session is in memory.
pub fn resume_warm() -> Table {
    let mut table = Table::new("Resume from memory, bound to the browser".to_owned());
    let (runtime, stand) = (one_thread(), Stand::at_present(Keeper::Memory));
    let engine = runtime.block_on(stand.engine());
    let many = runtime.block_on(fill(&engine, IN_MEMORY, IN_MEMORY));
    let one = many.get(..1).expect("a session");
    // The first request of a session puts it on the list of those to store.
    request_each(&engine, &many);

    let cookie = rounds(one, |headers| drop(black_box(present(&engine, headers))));
    table.tell("cookie found, decoded and its HMAC checked", nanos(&cookie));
    let ticket = present(&engine, one.first().expect("a session"));
    let found = rounds(one, |_| now(&engine, &ticket));
    table.tell("session found, judged and touched", nanos(&found));
    let whole = rounds(one, |headers| request(&engine, headers));
    let below = whole.permille(500) < THOUSAND_MICROS;
    table.judge("both, one session again and again", "below 1,000 ns", nanos(&whole), below);
    let spread = rounds(&many, |headers| request(&engine, headers));
    let below = spread.permille(500) < THOUSAND_MICROS;
    table.judge(format!("both, {IN_MEMORY} sessions in turn"), "below 1,000 ns", nanos(&spread), below);

    let counted = allocation_counter::measure(|| request_each(&engine, &many));
    let each = counted.count_total as f64 / many.len() as f64;
    table.judge("allocations a request", "0", each, counted.count_total == 0);
    table
}

/// Bytes of a session in memory, everything that holds it included.
pub fn size() -> Table {
    let mut table = Table::new("A session in memory".to_owned());
    // The store of browsers keeps nothing itself, so that what is counted is the first level alone.
    let (runtime, stand) = (one_thread(), Stand::new(Keeper::Browser));
    let mut engine = None;
    let counted = allocation_counter::measure(|| {
        engine = Some(runtime.block_on(async {
            let engine = stand.engine().await;
            for headers in fill(&engine, FULL, FULL).await {
                // From now on each is on the list of sessions with news for the store, too.
                let live = resume(&engine, &headers).await;
                engine.note_activity(&live.session);
            }
            engine
        }));
    });
    let cached = engine.as_ref().map_or(0, Engine::cached);
    let each = counted.bytes_current as f64 / cached as f64;
    table.judge("bytes asked of the allocator for each", "1,024", format!("{each:.0}"), each <= 1024.0);
    table.tell("sessions counted", cached);
    table
}

fn request_each(engine: &Engine, sessions: &[HeaderMap]) {
    for headers in sessions {
        request(engine, headers);
    }
}

/// One request. Its session is in memory, so the answer is there at the first poll.
fn request(engine: &Engine, headers: &HeaderMap) {
    now(engine, &present(engine, headers));
}

fn now(engine: &Engine, ticket: &vestibule::session::cookie::Ticket) {
    let resuming = pin!(engine.resume(ticket, VISIT));
    match resuming.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(Resumed::Live(live))) => drop(black_box(live)),
        other => panic!("{other:?}"),
    }
}

/// The time of one call, in each of several rounds.
fn rounds(headers: &[HeaderMap], call: impl Fn(&HeaderMap)) -> Durations {
    let mut each = Durations::default();
    for _ in 0..ROUNDS {
        let watch = Stopwatch::start();
        headers.iter().cycle().take(CALLS as usize).for_each(&call);
        each.push(watch.elapsed() * 1000 / CALLS);
    }
    each
}

/// The durations are those of a thousand calls.
fn nanos(thousand: &Durations) -> String {
    let nanos = |duration: Duration| format!("{:.0}", duration.as_nanos() as f64 / 1000.0);
    let (lowest, median, highest) = (thousand.permille(0), thousand.permille(500), thousand.longest());
    format!("{} ns ({} to {})", nanos(median), nanos(lowest), nanos(highest))
}

fn one_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

const IN_MEMORY: usize = 50_000;
/// As many as the first level holds.
const FULL: usize = 100_000;
/// A thousand calls at the mark.
const THOUSAND_MICROS: Duration = Duration::from_millis(1);
const ROUNDS: usize = 15;
const CALLS: u32 = 200_000;
