//! News of keys that anybody changes, pushed by Redis (RESP3 client tracking in broadcast mode).
//!
//! A connection of its own to every server that takes writes, with a heartbeat: silence alone does not
//! tell a quiet Redis from a dead line. Invariant: [`Watcher::confirmed`] is called only after every
//! one of them has answered, so that no push from before that can be still on its way.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::connection::{self, ANSWER_DEADLINE, PushSink};
use super::keeper::Keeper;
use super::location::{Address, Location, Topology};
use super::{Redis, RedisFault};

/// Hears of changes. No call may block.
pub trait Watcher: Send + Sync {
    /// From now on every change is told.
    fn began(&self);
    /// No change was missed until now.
    fn confirmed(&self);
    /// Somebody changed or removed this key.
    fn changed(&self, key: &[u8]);
    /// Changes may be missed until the next beginning.
    fn lost(&self);
}

/// Tracking goes on as long as this lives.
#[derive(Debug)]
pub struct Tracking(JoinHandle<()>);

impl Drop for Tracking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Redis {
    /// Tells `watcher` of every change to a key that begins with `prefix`, from now on.
    #[must_use]
    pub fn track(&self, prefix: String, watcher: Arc<dyn Watcher>) -> Tracking {
        let keeper = Arc::downgrade(&self.keeper);
        Tracking(tokio::spawn(async move {
            let mut tracker = Tracker { prefix, watcher, pause: FIRST_PAUSE, is_failing: false };
            while let Some(keeper) = keeper.upgrade() {
                tracker.round(&keeper).await;
            }
        }))
    }

    /// Whether the server lets us track, as far as can be told now: `Err` only where it refuses.
    pub async fn may_track(&self, prefix: &str) -> Result<(), RedisFault> {
        if !self.keeper.is_ready() {
            return Ok(());
        }
        let signals = Signals::unheard();
        let trial = begin(self.keeper.location(), prefix, &signals);
        match timeout(TRIAL_DEADLINE, trial).await {
            Ok(Err(error)) => {
                let fault = RedisFault::new(self.name(), &error);
                if fault.is_forbidden() { Err(fault) } else { Ok(()) }
            }
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }
}

struct Tracker {
    prefix: String,
    watcher: Arc<dyn Watcher>,
    pause: Duration,
    is_failing: bool,
}

impl Tracker {
    /// From one beginning to the next loss.
    async fn round(&mut self, keeper: &Keeper) {
        let signals = Signals { watcher: Some(Arc::clone(&self.watcher)), broken: Arc::new(Notify::new()) };
        let nodes = begin(keeper.location(), &self.prefix, &signals).await;
        let fault = match nodes {
            Ok(nodes) => {
                self.is_failing = false;
                self.pause = FIRST_PAUSE;
                self.watcher.began();
                keeper.count_connection();
                let error = self.watch(keeper, nodes, &signals).await;
                self.watcher.lost();
                RedisFault::new(keeper.name(), &error)
            }
            Err(error) => RedisFault::new(keeper.name(), &error),
        };
        if !self.is_failing {
            self.is_failing = true;
            tracing::warn!(redis = keeper.name(), error = %fault, "Redis tells no changes");
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Confirms once a second, until something is wrong.
    ///
    /// A broken line is noticed at once, a silent one by the heartbeat, and one that leads to a server
    /// of yesterday by asking who takes the writes now.
    async fn watch(&self, keeper: &Keeper, mut nodes: Vec<Node>, signals: &Signals) -> RedisError {
        let mut ticks = interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 1_usize.. {
            tokio::select! {
                () = signals.broken.notified() => return connection::closed("the connection broke"),
                _ = ticks.tick() => {}
            }
            if let Err(error) = beat(keeper.location(), &nodes).await {
                return error;
            }
            self.watcher.confirmed();
            if tick.is_multiple_of(RECHECK) {
                // Another server answers each time: one that lags must not decide alone.
                nodes.rotate_left(1);
                if has_moved(keeper.location(), &nodes).await {
                    keeper.suspect_current(&RedisFault::new(keeper.name(), &moved()));
                    return moved();
                }
            }
        }
        moved()
    }
}

/// What the connections of one round call.
#[derive(Clone)]
struct Signals {
    watcher: Option<Arc<dyn Watcher>>,
    broken: Arc<Notify>,
}

impl Signals {
    fn unheard() -> Self {
        Self { watcher: None, broken: Arc::new(Notify::new()) }
    }

    fn sink(&self) -> PushSink {
        let signals = self.clone();
        Box::new(move |push| signals.hear(&push))
    }

    fn hear(&self, push: &PushInfo) {
        match (&push.kind, push.data.first()) {
            (PushKind::Invalidate, Some(Value::Array(keys))) => {
                let keys = keys.iter().filter_map(|key| match key {
                    Value::BulkString(key) => Some(key.as_slice()),
                    _ => None,
                });
                if let Some(watcher) = &self.watcher {
                    keys.for_each(|key| watcher.changed(key));
                }
            }
            // Everything was flushed: a new beginning says so.
            (PushKind::Invalidate | PushKind::Disconnection, _) => self.broken.notify_one(),
            _ => {}
        }
    }
}

/// A server and the connection on which it pushes.
struct Node {
    address: Address,
    connection: MultiplexedConnection,
}

/// Finds the servers and lets all of them track.
async fn begin(location: &Location, prefix: &str, signals: &Signals) -> RedisResult<Vec<Node>> {
    let addresses = find(location, &[]).await?;
    let mut connecting = JoinSet::new();
    for address in addresses {
        let (location, prefix, signals) = (location.clone(), prefix.to_owned(), signals.clone());
        connecting.spawn(async move {
            let connection = connection::node(&location, &address, signals.sink()).await?;
            ask(
                &connection,
                redis::cmd("CLIENT").arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(prefix),
            )
            .await?;
            Ok(Node { address, connection })
        });
    }
    let mut nodes = all(connecting).await?;
    beat(location, &nodes).await?;
    nodes.sort_by(|one, other| one.address.cmp(&other.address));
    Ok(nodes)
}

/// Whether every server answers and still takes writes.
async fn beat(location: &Location, nodes: &[Node]) -> RedisResult<()> {
    let mut beating = JoinSet::new();
    let is_alone = matches!(location.topology, Topology::Single(_));
    for node in nodes {
        let connection = node.connection.clone();
        beating.spawn(async move {
            if is_alone {
                return ask(&connection, &redis::cmd("PING")).await.map(drop);
            }
            let role = ask(&connection, &redis::cmd("ROLE")).await?;
            if connection::is_master(&role) { Ok(()) } else { Err(moved()) }
        });
    }
    all(beating).await.map(drop)
}

/// Whether others take writes now. Who cannot be asked tells nothing.
async fn has_moved(location: &Location, nodes: &[Node]) -> bool {
    let Ok(found) = find(location, nodes).await else { return false };
    let mut known: Vec<&Address> = nodes.iter().map(|node| &node.address).collect();
    known.sort();
    !found.iter().eq(known)
}

/// The servers that take writes, in order.
async fn find(location: &Location, known: &[Node]) -> RedisResult<Vec<Address>> {
    match &location.topology {
        Topology::Single(address) => Ok(vec![address.clone()]),
        Topology::Sentinel(watch) => Ok(vec![connection::ask_sentinels(location, watch).await?]),
        Topology::Cluster(seeds) => match known.first() {
            Some(node) => primaries(&node.connection, &node.address).await,
            None => find_by_seeds(location, seeds).await,
        },
    }
}

async fn find_by_seeds(location: &Location, seeds: &[Address]) -> RedisResult<Vec<Address>> {
    let mut last = connection::closed("there is no server");
    for seed in seeds {
        let asked = async {
            let connection = connection::node(location, seed, Box::new(drop)).await?;
            primaries(&connection, seed).await
        };
        match asked.await {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => last = connection::closed("no server of the cluster holds keys"),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn primaries(connection: &MultiplexedConnection, address: &Address) -> RedisResult<Vec<Address>> {
    let slots = ask(connection, redis::cmd("CLUSTER").arg("SLOTS")).await?;
    Ok(connection::primaries(&slots, address))
}

async fn ask(connection: &MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
    let mut connection = connection.clone();
    let answer = timeout(ANSWER_DEADLINE, connection.send_packed_command(command)).await;
    answer.unwrap_or_else(|_| Err(connection::closed("it does not answer")))?.extract_error()
}

async fn all<T: 'static>(mut tasks: JoinSet<RedisResult<T>>) -> RedisResult<Vec<T>> {
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        done.push(joined.map_err(|_| connection::closed("it was given up"))??);
    }
    Ok(done)
}

fn moved() -> RedisError {
    connection::closed("another server takes the writes now")
}

const HEARTBEAT: Duration = Duration::from_secs(1);
/// Every how many heartbeats the servers are looked up again.
const RECHECK: usize = 3;
const TRIAL_DEADLINE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
