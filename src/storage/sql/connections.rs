//! A few connections to a server, opened when they are needed.
//!
//! Not the pool of the driver: that one asks the server once more after every use, hides why a server
//! cannot be reached behind a wait, and keeps a connection whose answer nobody waited for.
//! Invariant: a connection is used again only if it did all that was asked of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Connection as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::dialect::{self, Dialect, Options};
use super::error::SqlError;
use crate::clock::Stopwatch;

/// The connections to one server.
pub(super) struct Connections<D: Dialect> {
    options: Options<D>,
    /// The name of the database in errors.
    name: Arc<str>,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle<D>>>,
}

impl<D: Dialect> Connections<D> {
    pub(super) fn new(options: Options<D>, name: Arc<str>) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(LIMIT));
        Arc::new(Self { options, name, permits, idle: Mutex::default() })
    }

    /// A connection of one's own, from those that wait or a new one; soon, or not at all.
    pub(super) async fn lease(self: &Arc<Self>, trust: Trust) -> Result<Lease<D>, SqlError> {
        let permit = match timeout(WAIT, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(self.unavailable("its connections are closed")),
            Err(_) => return Err(self.unavailable("all connections are in use")),
        };
        if let Some(idle) = self.waiting(trust).await {
            return Ok(self.lend(permit, idle.connection, idle.born, Origin::Waited));
        }
        match timeout(CONNECT, dialect::connect::<D>(&self.options)).await {
            Ok(Ok(connection)) => Ok(self.lend(permit, connection, Stopwatch::start(), Origin::New)),
            Ok(Err(error)) => Err(SqlError::because(&self.name, &error)),
            Err(_) => Err(self.unavailable("no connection in time")),
        }
    }

    /// Closes what waits: when one connection broke, the others are likely to be broken too.
    pub(super) fn forget(&self) {
        self.idle().clear();
    }

    /// Waits for those who use a connection, then closes all and gives no more.
    pub(super) async fn close(&self) {
        let everyone = u32::try_from(LIMIT).unwrap_or(u32::MAX);
        let finished = timeout(FINISH, self.permits.acquire_many(everyone)).await;
        self.permits.close();
        drop(finished);
        let idle = std::mem::take(&mut *self.idle());
        for idle in idle {
            let _politeness = timeout(FAREWELL, idle.connection.close()).await;
        }
    }

    pub(super) fn are_closed(&self) -> bool {
        self.permits.is_closed()
    }

    async fn waiting(&self, trust: Trust) -> Option<Idle<D>> {
        let mut idle = self.newest()?;
        if trust == Trust::Old || idle.since.elapsed() < PROVEN {
            return Some(idle);
        }
        if matches!(timeout(PROOF, idle.connection.ping()).await, Ok(Ok(()))) {
            return Some(idle);
        }
        self.forget();
        None
    }

    fn newest(&self) -> Option<Idle<D>> {
        let mut idle = self.idle();
        idle.retain(|idle| idle.since.elapsed() < IDLE && idle.born.elapsed() < LIFE);
        idle.pop()
    }

    fn lend(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        connection: D::Connection,
        born: Stopwatch,
        origin: Origin,
    ) -> Lease<D> {
        Lease { connection, origin, born, home: Arc::clone(self), permit }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle<D>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unavailable(&self, reason: &str) -> SqlError {
        SqlError::unavailable(&self.name, reason)
    }
}

/// A connection for one use. Dropped, it is closed at once: what was asked of it and not answered can
/// never be taken for the answer to something else.
pub(super) struct Lease<D: Dialect> {
    pub(super) connection: D::Connection,
    pub(super) origin: Origin,
    born: Stopwatch,
    home: Arc<Connections<D>>,
    permit: OwnedSemaphorePermit,
}

impl<D: Dialect> Lease<D> {
    /// For the next user; only after success.
    pub(super) fn give_back(self) {
        let idle = Idle { connection: self.connection, born: self.born, since: Stopwatch::start() };
        if !self.home.permits.is_closed() {
            self.home.idle().push(idle);
        }
        drop(self.permit);
    }
}

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Any: if it turns out to be broken, another can be tried.
    Old,
    /// One that answered just now: there is one try only.
    Proven,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    New,
    Waited,
}

struct Idle<D: Dialect> {
    connection: D::Connection,
    born: Stopwatch,
    since: Stopwatch,
}

/// Connections at most.
const LIMIT: usize = 8;
/// How long to wait for one of them, and for a new one.
const WAIT: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(1);
/// How fresh an answer proves a connection, and how long another may take.
const PROVEN: Duration = Duration::from_secs(1);
const PROOF: Duration = Duration::from_millis(500);
/// Firewalls and proxies drop what is silent for long; and a name may come to mean another server.
const IDLE: Duration = Duration::from_mins(1);
const LIFE: Duration = Duration::from_mins(30);
/// How long to wait at the end for those at work, and for each connection.
const FINISH: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_millis(200);
