//! A database on a PostgreSQL or MySQL server that asynchronous code may use.
//!
//! Nothing is opened before it is needed, so that a program starts while its database is down, and goes
//! on when the database comes back. What the tables mean is left to others.
//! Invariant: every wait is bounded, and work that was begun goes on when its caller has gone.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

mod connections;
mod dialect;
mod error;
mod listen;
mod location;
mod mysql;
mod postgres;
mod schema;
mod words;

pub use dialect::{Dialect, Options};
pub use error::SqlError;
pub use listen::{Heard, listen};
pub use location::{Engine, Location, LocationError};
pub use schema::Schema;
pub(crate) use words::{statement, word};

use connections::{Connections, Lease, Origin, Trust};
use error::Fault;
use schema::Gate;

/// A database, reached through a few connections. Clones share them.
///
/// Its work runs on the runtime on which it was made; its futures may be awaited on any.
pub struct Database<D: Dialect> {
    name: Arc<str>,
    connections: Arc<Connections<D>>,
    gate: Arc<Gate<D>>,
    /// Who may wait.
    queue: Arc<Semaphore>,
    runtime: Handle,
}

impl<D: Dialect> Database<D> {
    /// A database that is not looked at before it is first used; then its tables are brought up to
    /// date. To be called on the runtime that does its work.
    #[must_use]
    pub fn new(location: &Location, schema: Schema) -> Self {
        let name: Arc<str> = location.to_string().into();
        Self {
            connections: Connections::new(D::options(location), Arc::clone(&name)),
            gate: Gate::new(schema, D::options(location), Arc::clone(&name)),
            queue: Arc::new(Semaphore::new(QUEUE)),
            runtime: Handle::current(),
            name,
        }
    }

    /// Runs `work` on a connection of its own; an error undoes its transaction.
    ///
    /// Once begun, the work goes on even if the caller goes away: nobody cancels a logout by hanging up.
    /// After a timeout it may therefore still be done. `work` is run again where that is right: after
    /// a deadlock, and, if it is [`Repeat::Harmless`], after a connection turned out to be broken.
    pub async fn run<T, F>(&self, repeat: Repeat, work: F) -> Result<T, SqlError>
    where
        F: for<'c> Fn(&'c mut D::Connection) -> Work<'c, T> + Send + Sync + 'static,
        T: Send + 'static,
    {
        let Ok(place) = Arc::clone(&self.queue).try_acquire_owned() else {
            return Err(self.unavailable("too much waits for it"));
        };
        let database = self.clone();
        let task = self.runtime.spawn(async move {
            let outcome = timeout(DEADLINE, database.attempts(repeat, work)).await;
            drop(place);
            outcome.unwrap_or_else(|_| {
                database.connections.forget();
                Err(database.unavailable("no answer in time"))
            })
        });
        task.await.unwrap_or_else(|_| Err(self.unavailable("its work was given up")))
    }

    /// Finishes what was begun and closes all connections, for all clones. Closing twice is no error.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// The runtime that does the work.
    #[must_use]
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    async fn attempts<T, F>(&self, repeat: Repeat, work: F) -> Result<T, SqlError>
    where
        F: for<'c> Fn(&'c mut D::Connection) -> Work<'c, T>,
    {
        if !self.connections.are_closed() {
            self.gate.pass().await?;
        }
        let mut trust = if repeat == Repeat::Harmless { Trust::Old } else { Trust::Proven };
        let mut attempt = 1;
        loop {
            let lease = self.connections.lease(trust).await?;
            match self.attempt(lease, &work).await {
                Ok(done) => return Ok(done),
                Err(failed) if attempt < ATTEMPTS && failed.may_be_repeated(repeat) => {
                    attempt += 1;
                    trust = Trust::Proven;
                }
                Err(failed) => return Err(SqlError::new(&self.name, &failed.error)),
            }
        }
    }

    async fn attempt<T, F>(&self, mut lease: Lease<D>, work: &F) -> Result<T, Failed>
    where
        F: for<'c> Fn(&'c mut D::Connection) -> Work<'c, T>,
    {
        match work(&mut lease.connection).await {
            Ok(done) => {
                lease.give_back();
                Ok(done)
            }
            Err(error) => {
                // Not given back: its transaction ends with it.
                let failed = Failed { fault: Fault::of(&error), origin: lease.origin, error };
                self.learn(failed.fault);
                Err(failed)
            }
        }
    }

    fn learn(&self, fault: Fault) {
        match fault {
            // A server that fell over or was demoted took all of its connections with it.
            Fault::Connection | Fault::Refused => self.connections.forget(),
            // Somebody restored the database of an earlier day.
            Fault::Missing => self.gate.close(),
            Fault::Conflict | Fault::Taken | Fault::Value => {}
        }
    }

    fn unavailable(&self, reason: &str) -> SqlError {
        SqlError::unavailable(&self.name, reason)
    }
}

impl<D: Dialect> Clone for Database<D> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            connections: Arc::clone(&self.connections),
            gate: Arc::clone(&self.gate),
            queue: Arc::clone(&self.queue),
            runtime: self.runtime.clone(),
        }
    }
}

impl<D: Dialect> fmt::Debug for Database<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.name).finish()
    }
}

/// What work does on a connection, later.
pub type Work<'c, T> = Pin<Box<dyn Future<Output = sqlx::Result<T>> + Send + 'c>>;

/// Whether work may be done twice when nobody knows whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The second time changes nothing, and its answer is as good as the first.
    Harmless,
    /// The second time would answer otherwise.
    Never,
}

struct Failed {
    fault: Fault,
    origin: Origin,
    error: sqlx::Error,
}

impl Failed {
    fn may_be_repeated(&self, repeat: Repeat) -> bool {
        match self.fault {
            Fault::Conflict => true,
            // A new connection that breaks says that the server is down.
            Fault::Connection => repeat == Repeat::Harmless && self.origin == Origin::Waited,
            Fault::Taken | Fault::Missing | Fault::Value | Fault::Refused => false,
        }
    }
}

/// How long a caller waits, all in all.
const DEADLINE: Duration = Duration::from_secs(2);
/// How many callers may wait.
const QUEUE: usize = 1024;
/// How often work is tried.
const ATTEMPTS: usize = 4;
