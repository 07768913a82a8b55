//! How often activity is written: counted by Redis itself.

use vestibule::clock::Stopwatch;

use crate::figures::{Table, millis};
use crate::stand::{Keeper, Stand, fill, resume};

/// Requests of many sessions within one flush interval.
pub fn count() -> Table {
    let mut table = Table::new(format!("Activity: {SESSIONS} sessions, {REQUESTS} requests each, Redis"));
    let stand = Stand::new(Keeper::redis());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let engine = stand.engine().await;
        let sessions = fill(&engine, SESSIONS, SESSIONS).await;
        let before = scripts(&stand);
        let watch = Stopwatch::start();
        for _ in 0..REQUESTS {
            for headers in &sessions {
                let _live = resume(&engine, headers).await;
            }
        }
        table.tell("the requests took", millis(watch.elapsed()));
        let asked = scripts(&stand) - before;
        table.judge("scripts run by Redis for them", "0 before the flush", asked, asked == 0);
        let watch = Stopwatch::start();
        engine.stop().await;
        table.tell("the flush took", millis(watch.elapsed()));
        let written = scripts(&stand) - before;
        let told = format!("{written} for {SESSIONS} sessions");
        table.judge("scripts run by Redis until it is done", "1 a session", told, written <= SESSIONS as u64);
    });
    table
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
