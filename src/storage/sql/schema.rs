//! Versions of tables, and the gate that lets nobody in before they are right.
//!
//! Invariants: one attempt at a time brings them up to date, whoever waits for it; one that failed is
//! made again by the next who comes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::dialect::{self, Dialect, Options};
use super::error::{Fault, SqlError};

/// The tables of one part of the program.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The name of the part in the table of versions, in words.
    pub part: &'static str,
    /// `steps[n]` leads from version `n` to `n + 1`; those that have shipped never change. For MySQL a
    /// step must bear to be done twice.
    pub steps: &'static [&'static str],
}

impl Schema {
    /// The steps still to go and the versions that they lead to.
    pub(super) fn steps_after(self, found: Option<i64>) -> impl Iterator<Item = (&'static str, i64)> {
        self.steps.iter().copied().zip(1..).filter(move |(_, version)| *version > found.unwrap_or(0))
    }
}

/// Opens once the tables are right.
pub(super) struct Gate<D: Dialect> {
    schema: Schema,
    options: Options<D>,
    /// The name of the database in errors.
    name: Arc<str>,
    stage: Mutex<Stage>,
}

impl<D: Dialect> Gate<D> {
    pub(super) fn new(schema: Schema, options: Options<D>, name: Arc<str>) -> Arc<Self> {
        Arc::new(Self { schema, options, name, stage: Mutex::new(Stage::Closed) })
    }

    /// Waits for the attempt under way, or for one that this begins. It goes on without the caller.
    pub(super) async fn pass(self: &Arc<Self>) -> Result<(), SqlError> {
        let Some(mut outcome) = self.attempt() else { return Ok(()) };
        let known = outcome.wait_for(Option::is_some).await.ok().and_then(|known| known.clone());
        known.unwrap_or_else(|| Err(self.unavailable("its tables are not ready")))
    }

    /// Looks at the tables again before the next one is let in: one was not there.
    pub(super) fn close(&self) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*stage, Stage::Open) {
            *stage = Stage::Closed;
        }
    }

    /// The outcome to wait for; none if the gate is open.
    fn attempt(self: &Arc<Self>) -> Option<watch::Receiver<Option<Outcome>>> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        match &*stage {
            Stage::Open => return None,
            Stage::Opening(outcome) if outcome.has_changed().is_ok() => return Some(outcome.clone()),
            Stage::Opening(_) | Stage::Closed => {}
        }
        let (sender, outcome) = watch::channel(None);
        *stage = Stage::Opening(outcome.clone());
        let gate = Arc::clone(self);
        Handle::current().spawn(async move {
            let outcome = gate.open().await;
            *gate.stage.lock().unwrap_or_else(PoisonError::into_inner) =
                if outcome.is_ok() { Stage::Open } else { Stage::Closed };
            sender.send_replace(Some(outcome));
        });
        Some(outcome)
    }

    async fn open(&self) -> Outcome {
        let connecting = timeout(LOOK, dialect::connect::<D>(&self.options));
        let mut connection = connecting.await.map_err(|_| self.too_slow())?.map_err(|e| self.failed(&e))?;
        // Looking first lets a user do who may not change tables.
        if self.is_current(&mut connection).await? {
            return Ok(());
        }
        let upgrade = timeout(UPGRADE, D::upgrade(&mut connection, self.schema));
        upgrade.await.map_err(|_| self.too_slow())?.map_err(|e| self.failed(&e))?;
        tracing::info!(database = %self.name, part = self.schema.part, "tables brought up to date");
        if self.is_current(&mut connection).await? {
            return Ok(());
        }
        Err(self.unavailable("another process changes its tables"))
    }

    async fn is_current(&self, connection: &mut D::Connection) -> Result<bool, SqlError> {
        let looking = timeout(LOOK, D::version(connection, self.schema.part));
        let found = match looking.await.map_err(|_| self.too_slow())? {
            Ok(found) => found.unwrap_or(0),
            Err(error) if Fault::of(&error) == Fault::Missing => 0,
            Err(error) => return Err(self.failed(&error)),
        };
        let known = self.schema.steps.len();
        match i64::try_from(known).unwrap_or(i64::MAX) {
            // SECURITY: what a later release wrote may mean something else there: hands off.
            newest if found > newest => {
                let database = self.name.as_ref().to_owned();
                Err(SqlError::Newer { database, part: self.schema.part, found, known })
            }
            newest => Ok(found == newest),
        }
    }

    fn failed(&self, error: &sqlx::Error) -> SqlError {
        SqlError::because(&self.name, error)
    }

    fn too_slow(&self) -> SqlError {
        self.unavailable("no answer in time")
    }

    fn unavailable(&self, reason: &str) -> SqlError {
        SqlError::unavailable(&self.name, reason)
    }
}

enum Stage {
    Closed,
    Opening(watch::Receiver<Option<Outcome>>),
    Open,
}

type Outcome = Result<(), SqlError>;

/// How long a look at the version may take, and a change of the tables: an index over millions of rows
/// needs its time.
const LOOK: Duration = Duration::from_secs(1);
const UPGRADE: Duration = Duration::from_mins(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_steps_that_are_missing_are_made() {
        let schema = Schema { part: "tests", steps: &["one", "two", "three"] };
        let steps = |found| schema.steps_after(found).collect::<Vec<_>>();
        assert_eq!(steps(None), [("one", 1), ("two", 2), ("three", 3)]);
        assert_eq!(steps(Some(2)), [("three", 3)]);
        assert_eq!(steps(Some(3)), []);
        assert_eq!(steps(Some(7)), []);
    }
}
