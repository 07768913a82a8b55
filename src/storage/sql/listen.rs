//! Notices of a PostgreSQL server (`LISTEN`), on a connection of their own.
//!
//! PgBouncer in transaction mode drops notices without a word: `LISTEN` needs a connection that stays,
//! so whoever listens must be given the server itself or a pooler in session mode.
//! Invariant: between [`Heard::Began`] and [`Heard::Lost`] every notice is heard, and all that were
//! given before a [`Heard::Confirmed`] were heard before it.

use std::time::Duration;

use sqlx::Postgres;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{sleep, timeout};

use super::dialect::{Dialect as _, Options};
use super::location::Location;
use crate::clock::Stopwatch;

/// What a listener hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// From now on every notice is heard.
    Began,
    /// A notice.
    Notice(&'a str),
    /// The connection lives; about once a second.
    Confirmed,
    /// The connection is gone: notices may be missed until the next beginning.
    Lost,
}

/// Tells `hear` what comes in on `channel`, for ever. Never ends by itself: abort it.
pub async fn listen(location: Location, channel: &str, mut hear: impl FnMut(Heard<'_>) + Send) {
    let options = Postgres::options(&location);
    let mut pause = FIRST_PAUSE;
    loop {
        match begin(&options, channel).await {
            Ok(mut listener) => {
                hear(Heard::Began);
                tracing::info!(database = %location, "listening for notices");
                pause = FIRST_PAUSE;
                let error = follow(&mut listener, &mut hear).await;
                hear(Heard::Lost);
                tracing::warn!(database = %location, %error, "no longer listening for notices");
            }
            Err(error) => tracing::debug!(database = %location, %error, "cannot listen for notices"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

async fn begin(options: &Options<Postgres>, channel: &str) -> sqlx::Result<PgListener> {
    // The driver's listener wants one of its pools; this one holds its connection and no other.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    timeout(PROOF, listener.listen(channel)).await.map_err(|_| silence())??;
    Ok(listener)
}

/// Hears until the connection is lost, and answers why.
async fn follow(listener: &mut PgListener, hear: &mut (impl FnMut(Heard<'_>) + Send)) -> sqlx::Error {
    loop {
        if let Err(error) = wait(listener, hear).await {
            return error;
        }
        match timeout(PROOF, sqlx::query("SELECT 1").execute(&mut *listener)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error,
            Err(_) => return silence(),
        }
        // What came in before the answer is older than it.
        while let Some(notice) = listener.next_buffered() {
            hear(Heard::Notice(notice.payload()));
        }
        hear(Heard::Confirmed);
    }
}

/// Hears for one interval.
async fn wait(
    listener: &mut PgListener,
    hear: &mut (impl FnMut(Heard<'_>) + Send),
) -> Result<(), sqlx::Error> {
    let begun = Stopwatch::start();
    while let Some(left) = INTERVAL.checked_sub(begun.elapsed()) {
        match timeout(left, listener.try_recv()).await {
            Ok(Ok(Some(notice))) => hear(Heard::Notice(notice.payload())),
            Ok(Ok(None)) => return Err(sqlx::Error::Protocol("the server ended the connection".to_owned())),
            Ok(Err(error)) => return Err(error),
            Err(_) => break,
        }
    }
    Ok(())
}

fn silence() -> sqlx::Error {
    sqlx::Error::Protocol("no answer in time".to_owned())
}

/// Between two confirmations.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer may take, and a connection.
const PROOF: Duration = Duration::from_millis(500);
const CONNECT: Duration = Duration::from_secs(1);
/// Between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);
