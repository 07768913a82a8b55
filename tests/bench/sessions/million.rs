//! A store that holds a million live sessions: starting, resuming what is not in memory, listing.

use http::HeaderMap;
use tokio::task::JoinSet;
use vestibule::clock::Stopwatch;
use vestibule::session::Engine;

use crate::figures::{Durations, Table, mebibytes, millis, seconds};
use crate::stand::{SESSIONS_PER_USER, Stand, fill, resume, user};

pub async fn measure(stand: &Stand, sessions: usize, table: &mut Table) {
    let engine = stand.engine().await;
    let watch = Stopwatch::start();
    let headers = fill(&engine, sessions, 2 * LOADS).await;
    table.tell("filled by logins, 256 at once, in", seconds(watch.elapsed()));
    engine.stop().await;
    let size = stand.keeper.size();
    let each = size as f64 / sessions as f64;
    table.tell("size", format!("{}, {each:.0} bytes a session", mebibytes(size)));

    let watch = Stopwatch::start();
    let engine = stand.engine().await;
    let started = watch.elapsed();
    table.judge("start-up", "reads no sessions", millis(started), started.as_millis() < 100);
    cold(&engine, &headers, table).await;
    lists(&engine, sessions, table).await;
    engine.stop().await;
}

/// Sessions that are not in memory, one after another and then several at once.
async fn cold(engine: &Engine, headers: &[HeaderMap], table: &mut Table) {
    let (first, second) = headers.split_at(headers.len() / 2);
    let alone = resume_each(engine, first).await;
    judge(table, format!("{} cold resumes one after another", alone.len()), "p99 5 ms", &alone, 5.0);
    let mut lanes = JoinSet::new();
    for lane in second.chunks(second.len().div_ceil(LANES)) {
        let (engine, lane) = (engine.clone(), lane.to_vec());
        lanes.spawn(async move { resume_each(&engine, &lane).await });
    }
    let mut together = Durations::default();
    while let Some(lane) = lanes.join_next().await {
        together.append(lane.expect("every session is live"));
    }
    judge(table, format!("{} cold resumes, {LANES} at once", together.len()), "p99 5 ms", &together, 5.0);
}

async fn resume_each(engine: &Engine, headers: &[HeaderMap]) -> Durations {
    let mut each = Durations::default();
    for one in headers {
        let watch = Stopwatch::start();
        let _live = resume(engine, one).await;
        each.push(watch.elapsed());
    }
    each
}

async fn lists(engine: &Engine, sessions: usize, table: &mut Table) {
    let users = (sessions / SESSIONS_PER_USER).max(1);
    let mut each = Durations::default();
    for number in 0..LISTS {
        let somebody = user(number * 7_919 % users);
        let watch = Stopwatch::start();
        let found = engine.sessions_of(&somebody).await.expect("an answer");
        each.push(watch.elapsed());
        assert_eq!(found.len(), SESSIONS_PER_USER, "{somebody}");
    }
    judge(table, format!("{LISTS} lists of a user's sessions"), "p99 10 ms", &each, 10.0);
    let watch = Stopwatch::start();
    let page = engine.page(None, 100).await.expect("an answer");
    table.tell(format!("first {} of all sessions", page.sessions.len()), millis(watch.elapsed()));
    let watch = Stopwatch::start();
    let keys = engine.key_use().await;
    let answer = keys.map_or_else(|error| error.to_string(), |keys| format!("{} key", keys.len()));
    table.tell("keys that sessions depend on", format!("{} ({answer})", millis(watch.elapsed())));
    let watch = Stopwatch::start();
    let users = engine.users().await;
    let answer = users.map_or_else(|error| error.to_string(), |users| format!("{} users", users.len()));
    table.tell("users with sessions", format!("{} ({answer})", millis(watch.elapsed())));
}

fn judge(table: &mut Table, what: String, mark: &str, each: &Durations, millis: f64) {
    let met = each.permille(990).as_secs_f64() * 1e3 < millis;
    table.judge(what, mark, each, met);
}

/// Cold resumes in each of two ways.
const LOADS: usize = 5_000;
/// At once, the second time.
const LANES: usize = 16;
const LISTS: usize = 2_000;
