//! How often activity is written: counted by Redis itself.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::sleep;
use vestibule::clock::Stopwatch;
use vestibule::session::Engine;

use crate::figures::{Table, millis, seconds};
use crate::stand::{Keeper, Stand, fill, resume};

/// The first request of many sessions at a gateway, then many more within one flush interval.
pub fn count() -> Table {
    let mut table = Table::new(format!("What Redis is asked about {SESSIONS} sessions"));
    let stand = Stand::new(Keeper::redis());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(measure(&stand, &mut table));
    table
}

async fn measure(stand: &Stand, table: &mut Table) {
    let first = stand.engine().await;
    let sessions = fill(&first, SESSIONS, SESSIONS).await;
    // It teaches Redis all that is asked below.
    resume_each(&stand.engine().await, &sessions[..1]).await;
    first.stop().await;

    let engine = stand.engine().await;
    let start = scripts(stand);
    resume_each(&engine, &sessions).await;
    let (cold, mark) = (scripts(stand) - start, SESSIONS as u64);
    table.judge("scripts for the first request of each", "1 a session", cold, cold == mark);
    // The flush of that activity; the next one is five seconds away.
    let flushed = wait_until(|| scripts(stand) - start - cold >= mark).await;
    table.tell("until that activity was written", seconds(flushed));
    let before = scripts(stand);
    let watch = Stopwatch::start();
    for _ in 0..REQUESTS {
        resume_each(&engine, &sessions).await;
    }
    let took = millis(watch.elapsed());
    let asked = scripts(stand) - before;
    table.judge(format!("scripts for {REQUESTS} more of each, in {took}"), "0", asked, asked == 0);
    engine.stop().await;
    let written = scripts(stand) - before;
    table.judge("scripts to write that activity", "1 a session", written, written <= mark);
}

async fn resume_each(engine: &Engine, sessions: &[HeaderMap]) {
    for headers in sessions {
        let _live = resume(engine, headers).await;
    }
}

async fn wait_until(is_done: impl Fn() -> bool) -> Duration {
    let watch = Stopwatch::start();
    while !is_done() {
        assert!(watch.elapsed() < PATIENCE, "the activity is not written");
        sleep(Duration::from_millis(20)).await;
    }
    watch.elapsed()
}

/// Scripts that Redis ran: one for each load, insert, removal or touch of a session.
fn scripts(stand: &Stand) -> u64 {
    match &stand.keeper {
        Keeper::Redis(server) => server.figure("commandstats", "cmdstat_evalsha:", "calls"),
        _ => 0,
    }
}

const SESSIONS: usize = 10_000;
const REQUESTS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);
