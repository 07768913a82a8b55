//! A Redis that asynchronous code may use: one server, one behind Sentinels, or a Cluster.
//!
//! Commands share one connection, which a task of its own keeps up. While there is none, callers are
//! refused at once instead of queueing; every wait is bounded. What the keys mean is left to others.
//! Invariant: an answer is never a guess: what was not answered is a [`RedisFault`].

use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::sync::watch;
use tokio::time::timeout;

mod connection;
mod fault;
mod keeper;
mod location;
mod script;
mod tracking;

pub use fault::RedisFault;
pub use location::{Location, LocationError};
pub use script::{Call, Script};
pub use tracking::{Tracking, Watcher};

use connection::{ANSWER_DEADLINE, CONNECT_DEADLINE, Connection};
use keeper::{Keeper, State};

/// What one command was answered; the fault is always [`RedisFault::Value`].
pub type Answer = Result<Value, RedisFault>;

/// A handle to a Redis. Clones share its connection, which ends with the last clone or by
/// [`Self::close`].
///
/// It belongs to the tokio runtime in which it was opened.
#[derive(Clone, Debug)]
pub struct Redis {
    keeper: Arc<Keeper>,
}

impl Redis {
    /// Begins to connect and waits a moment for it. A Redis that is down is no error: it may come.
    pub async fn open(location: Location) -> Self {
        let keeper = Arc::new(Keeper::start(location));
        let _late = timeout(CONNECT_DEADLINE, keeper.settled()).await;
        Self { keeper }
    }

    /// Sends all commands at once and gives the answers in their order.
    ///
    /// One fault that is about the server makes the whole an error; some commands may have been done.
    pub async fn run(&self, commands: Vec<Cmd>) -> Result<Vec<Answer>, RedisFault> {
        let mut answers = Vec::with_capacity(commands.len());
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let batch: Vec<Cmd> = commands.by_ref().take(BATCH).collect();
            for value in self.send(batch).await? {
                answers.push(self.judge(value)?);
            }
        }
        Ok(answers)
    }

    /// Runs `script` once for each of `calls`, all at once.
    pub async fn call(&self, script: &Script, calls: &[Call]) -> Result<Vec<Answer>, RedisFault> {
        let mut answers = Vec::with_capacity(calls.len());
        for batch in calls.chunks(BATCH) {
            let mut values = self.send(batch.iter().map(|call| script.by_digest(call)).collect()).await?;
            self.fill_in(script, batch, &mut values).await?;
            for value in values {
                answers.push(self.judge(value)?);
            }
        }
        Ok(answers)
    }

    /// Counts the connections made. A new one may lead to a server that misses the last writes to the
    /// one before.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.keeper.connections()
    }

    /// Which Redis, without secrets.
    #[must_use]
    pub fn name(&self) -> &str {
        self.keeper.name()
    }

    /// What every key of ours begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.keeper.location().prefix()
    }

    /// Ends the connection; afterwards every answer is [`RedisFault::Closed`].
    pub fn close(&self) {
        self.keeper.close();
    }

    /// Servers forget scripts when they restart: those that are unknown are sent in full.
    async fn fill_in(&self, script: &Script, calls: &[Call], values: &mut [Value]) -> Result<(), RedisFault> {
        let unknown = |(_, value): &(&Call, &mut Value)| script::is_unknown(value);
        let (missing, places): (Vec<&Call>, Vec<&mut Value>) =
            calls.iter().zip(values.iter_mut()).filter(unknown).unzip();
        if missing.is_empty() {
            return Ok(());
        }
        let sent = self.send(missing.into_iter().map(|call| script.in_full(call)).collect()).await?;
        for (place, value) in places.into_iter().zip(sent) {
            *place = value;
        }
        Ok(())
    }

    async fn send(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, RedisFault> {
        let (connection, generation) = self.connection().await?;
        let expected = commands.len();
        let fault = match timeout(ANSWER_DEADLINE, connection.send(commands)).await {
            Ok(Ok(values)) if values.len() == expected => return Ok(values),
            Ok(Ok(_)) => self.unreachable("it sent too few answers"),
            Ok(Err(error)) => RedisFault::new(self.name(), &error),
            Err(_) => RedisFault::TimedOut { location: self.name().to_owned(), after: ANSWER_DEADLINE },
        };
        if fault.needs_new_connection() {
            self.keeper.suspect(generation, &fault);
        }
        Err(fault)
    }

    fn judge(&self, value: Value) -> Result<Answer, RedisFault> {
        let Value::ServerError(error) = value else { return Ok(Ok(value)) };
        let fault = RedisFault::answered(self.name(), &error);
        if fault.needs_new_connection() {
            self.keeper.suspect_current(&fault);
        }
        if matches!(fault, RedisFault::Value { .. }) { Ok(Err(fault)) } else { Err(fault) }
    }

    /// Waits only for a connect of which nothing bad is known yet.
    async fn connection(&self) -> Result<(Connection, u64), RedisFault> {
        match timeout(ANSWER_DEADLINE, self.keeper.settled()).await {
            Ok(State::Ready(connection, generation)) => Ok((connection, generation)),
            Ok(State::Down(fault)) => Err(fault),
            Ok(State::Closed) => Err(RedisFault::Closed { location: self.name().to_owned() }),
            Ok(State::Connecting) | Err(_) => Err(self.unreachable("it does not answer")),
        }
    }

    fn unreachable(&self, reason: &str) -> RedisFault {
        RedisFault::Unreachable { location: self.name().to_owned(), reason: reason.to_owned() }
    }
}

/// Commands in one flight.
const BATCH: usize = 512;
