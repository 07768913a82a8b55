//! The task that keeps the connection up: it connects, waits until somebody has reason to doubt the
//! connection, and connects again.
//!
//! Invariant: at most one connect is under way, and nobody waits for one after another has failed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::PushKind;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::RedisFault;
use super::connection::{Connection, PushSink};
use super::location::{Location, Topology};

/// What callers find.
#[derive(Clone)]
pub(super) enum State {
    /// A connect is under way and nothing bad is known: worth a short wait.
    Connecting,
    /// Connected, for the nth time.
    Ready(Connection, u64),
    /// The last connect failed; the next one is under way or soon will be.
    Down(RedisFault),
    Closed,
}

/// The connection and its task.
pub(super) struct Keeper {
    line: Arc<Line>,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(location: Location) -> Self {
        let line = Arc::new(Line {
            name: location.to_string(),
            location,
            state: watch::Sender::new(State::Connecting),
            suspected: watch::Sender::new(0),
            connections: watch::Sender::new(0),
        });
        let task = tokio::spawn(keep(Arc::clone(&line)));
        Self { line, task }
    }

    /// The state, once it is more than a first connect under way.
    pub(super) async fn settled(&self) -> State {
        let mut state = self.line.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        settled.map_or(State::Closed, |state| state.clone())
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(&*self.line.state.borrow(), State::Ready(..))
    }

    /// Says that the connection of this generation is not what it should be.
    pub(super) fn suspect(&self, generation: u64, fault: &RedisFault) {
        tracing::debug!(redis = self.name(), error = %fault, "Redis connection doubted");
        self.line.suspect(generation);
    }

    pub(super) fn suspect_current(&self, fault: &RedisFault) {
        let generation = match &*self.line.state.borrow() {
            State::Ready(_, generation) => *generation,
            _ => return,
        };
        self.suspect(generation, fault);
    }

    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.line.connections.subscribe()
    }

    /// Counts a connection that somebody else made to the same servers.
    pub(super) fn count_connection(&self) {
        self.line.connections.send_modify(|count| *count = count.saturating_add(1));
    }

    pub(super) fn name(&self) -> &str {
        &self.line.name
    }

    pub(super) fn location(&self) -> &Location {
        &self.line.location
    }

    pub(super) fn close(&self) {
        self.task.abort();
        let _no_reader = self.line.state.send_replace(State::Closed);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keeper").field(&self.name()).finish()
    }
}

/// What the task and the handles share.
struct Line {
    location: Location,
    name: String,
    state: watch::Sender<State>,
    /// The newest generation that somebody doubts.
    suspected: watch::Sender<u64>,
    connections: watch::Sender<u64>,
}

impl Line {
    fn suspect(&self, generation: u64) {
        self.suspected.send_if_modified(|suspected| {
            let is_news = *suspected < generation;
            *suspected = (*suspected).max(generation);
            is_news
        });
    }

    /// A closed line stays closed, whatever the task was about to say.
    fn publish(&self, next: State) {
        self.state.send_if_modified(|state| {
            let is_open = !matches!(state, State::Closed);
            if is_open {
                *state = next;
            }
            is_open
        });
    }
}

async fn keep(line: Arc<Line>) {
    let mut suspected = line.suspected.subscribe();
    let mut pause = FIRST_PAUSE;
    for generation in 1.. {
        match Connection::open(&line.location, end_of(&line, generation)).await {
            Ok(connection) => {
                pause = FIRST_PAUSE;
                tracing::info!(redis = line.name, "Redis connected");
                line.publish(State::Ready(connection, generation));
                line.connections.send_modify(|count| *count = count.saturating_add(1));
                let _gone = suspected.wait_for(|suspected| *suspected >= generation).await;
                give_up(&line);
            }
            Err(error) => {
                note_failure(&line, RedisFault::new(&line.name, &error));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// A cluster's connection serves the other servers of the cluster until there is a better one.
fn give_up(line: &Line) {
    if !matches!(line.location.topology, Topology::Cluster(_)) {
        line.publish(State::Connecting);
    }
}

fn note_failure(line: &Line, fault: RedisFault) {
    let is_news = !matches!(&*line.state.borrow(), State::Down(_));
    if is_news {
        tracing::warn!(redis = line.name, error = %fault, "Redis cannot be reached");
    }
    line.publish(State::Down(fault));
}

fn end_of(line: &Arc<Line>, generation: u64) -> PushSink {
    let line = Arc::downgrade(line);
    Box::new(move |push| {
        if push.kind == PushKind::Disconnection
            && let Some(line) = line.upgrade()
        {
            line.suspect(generation);
        }
    })
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
