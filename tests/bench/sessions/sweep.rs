//! A store whose million sessions are all dead: how long a live request waits while they are swept out.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::{MissedTickBehavior, interval};
use vestibule::clock::Stopwatch;
use vestibule::session::Engine;

use crate::figures::{Durations, Table, millis, seconds};
use crate::stand::{Stand, fill, log_in, resume};

pub async fn measure(stand: &Stand, dead: usize, table: &mut Table) {
    stand.advance(WEEKEND);
    let engine = stand.engine().await;
    let watch = Stopwatch::start();
    log_in(&engine, usize::MAX).await;
    let first = watch.elapsed();
    table.judge("first login after a weekend", "20 ms", millis(first), first < MARK);
    let live = fill(&engine, LIVE, LIVE).await;
    engine.stop().await;

    let engine = stand.engine().await;
    let (resumes, logins) =
        (tokio::spawn(cold(engine.clone(), live, dead)), tokio::spawn(login(engine.clone(), dead)));
    let took = swept(&engine, dead).await;
    let rate = engine.swept() as f64 / took.as_secs_f64();
    let told = format!("{} in {}, {rate:.0} a second", engine.swept(), seconds(took));
    table.tell("dead sessions swept out", told);
    for (what, waits) in [("cold resume", resumes.await), ("login", logins.await)] {
        let Waits { before, during } = waits.expect("every session is live");
        table.tell(format!("{} {what}s before the sweep", before.len()), &before);
        let met = during.longest() < MARK;
        table.judge(format!("{} {what}s during the sweep", during.len()), "longest 20 ms", &during, met);
    }
    engine.stop().await;
}

/// Waits for the sweep, which begins within a minute, and answers how long it took.
async fn swept(engine: &Engine, dead: usize) -> Duration {
    let mut ticks = interval(Duration::from_millis(5));
    while engine.swept() == 0 {
        ticks.tick().await;
    }
    let watch = Stopwatch::start();
    let mut told = 0;
    while engine.swept() < dead as u64 {
        ticks.tick().await;
        if watch.elapsed().as_secs() > told {
            told += 10;
            eprintln!("{} swept out after {}", engine.swept(), seconds(watch.elapsed()));
        }
        assert!(watch.elapsed() < PATIENCE, "{} of {dead} swept out", engine.swept());
    }
    watch.elapsed()
}

/// How long requests waited.
#[derive(Default)]
struct Waits {
    before: Durations,
    during: Durations,
}

impl Waits {
    fn push(&mut self, engine: &Engine, wait: Duration) {
        if engine.swept() == 0 { self.before.push(wait) } else { self.during.push(wait) }
    }
}

/// Resumes sessions that are not in memory until the sweep is done.
async fn cold(engine: Engine, live: Vec<HeaderMap>, dead: usize) -> Waits {
    let (mut waits, mut ticks) = (Waits::default(), every(RESUME_EVERY));
    for headers in live {
        ticks.tick().await;
        let watch = Stopwatch::start();
        let _live = resume(&engine, &headers).await;
        waits.push(&engine, watch.elapsed());
        if engine.swept() >= dead as u64 {
            break;
        }
    }
    waits
}

/// Logs in until the sweep is done.
async fn login(engine: Engine, dead: usize) -> Waits {
    let (mut waits, mut ticks) = (Waits::default(), every(LOGIN_EVERY));
    for number in 0.. {
        ticks.tick().await;
        let watch = Stopwatch::start();
        let _headers = log_in(&engine, number).await;
        waits.push(&engine, watch.elapsed());
        if engine.swept() >= dead as u64 {
            break;
        }
    }
    waits
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Longer than any session of the stand lives, and than a store keeps what it would rather forget.
const WEEKEND: Duration = Duration::from_hours(60);
/// How long a live request may wait at most.
const MARK: Duration = Duration::from_millis(20);
const LIVE: usize = 40_000;
const RESUME_EVERY: Duration = Duration::from_millis(5);
const LOGIN_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_mins(20);
