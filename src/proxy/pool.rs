//! The keep-alive connections of one worker, and the queue for a connection slot.
//!
//! Idle connections are used last in, first out, so that few stay warm and the rest expire. Slots
//! are counted across workers by the [`Upstream`]; a worker that finds none free gives up idle
//! connections it cannot use, asks the other workers to do so, and waits in line.
//! Invariant: a connection lies in the pool only while hyper says that it can take a request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::pin;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::affinity::Affinity;
use super::connection::Connection;
use super::upstream::{Load, Slot, Upstream};
use super::{ForwardError, balance};

/// The pools of one worker, by upstream.
#[derive(Debug, Default)]
pub struct Pools {
    by_upstream: RefCell<HashMap<u64, Rc<Pool>>>,
}

impl Pools {
    /// Pools without a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the idle connections of every upstream that is not in `live`.
    ///
    /// Requests under way end as usual; their connections are closed soon after.
    pub fn retain(&self, live: &[u64]) {
        self.by_upstream.borrow_mut().retain(|id, pool| {
            let stays = live.contains(id);
            if !stays {
                pool.clear();
            }
            stays
        });
    }

    /// Idle connections of this worker.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.by_upstream.borrow().values().map(|pool| pool.idle_connections()).sum()
    }

    pub(super) fn of(&self, upstream: &Arc<Upstream>) -> Rc<Pool> {
        let mut pools = self.by_upstream.borrow_mut();
        Rc::clone(pools.entry(upstream.id()).or_insert_with(|| Rc::new(Pool::new(Arc::clone(upstream)))))
    }
}

/// One worker's connections to one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    upstream: Arc<Upstream>,
    /// By server; in each, the one used last is at the end.
    idle: RefCell<Vec<Vec<Idle>>>,
    /// The worker's place in the round over the servers.
    turn: Cell<usize>,
    /// Requests of this worker that wait for a connection.
    waiting: Cell<usize>,
    /// Wakes one of them when a connection came back.
    returned: Notify,
    /// Connections that came back while somebody waited.
    returns: Cell<usize>,
    /// How often the reaper looked; the age of idle connections is counted in this.
    round: Cell<u64>,
    reaping: Cell<bool>,
}

/// A connection that waits for its next request.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    since_round: u64,
}

/// Whether a connection that was used before will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    Allowed,
    Forbidden,
}

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Reused,
    Fresh,
}

/// A connection lent to one request.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Rc<Pool>,
    server: usize,
    pub(super) connection: Connection,
    load: Load,
    /// Whether another request may use the connection later.
    later: Reuse,
}

impl Lease {
    /// The index of the server at the other end.
    pub(super) const fn server(&self) -> usize {
        self.server
    }

    /// Makes this the last request over the connection.
    pub(super) const fn spend(&mut self) {
        self.later = Reuse::Forbidden;
    }

    /// Ends the loan of a connection that is not HTTP any more; what it carries still counts.
    pub(super) fn into_load(self) -> Load {
        self.load
    }

    /// Gives the connection back after a complete response.
    ///
    /// When the request body is still being sent, the connection comes back once that is done; it is
    /// dropped when the backend closes it.
    pub(super) fn release(self) {
        let Self { pool, server, mut connection, load, later } = self;
        drop(load);
        if later == Reuse::Forbidden {
            return;
        }
        if connection.sender.is_ready() {
            pool.put(server, connection);
        } else if !connection.sender.is_closed() {
            tokio::task::spawn_local(async move {
                if connection.sender.ready().await.is_ok() {
                    pool.put(server, connection);
                }
            });
        }
    }
}

impl Pool {
    fn new(upstream: Arc<Upstream>) -> Self {
        let idle = upstream.servers().iter().map(|_| Vec::new()).collect();
        Self {
            upstream,
            idle: RefCell::new(idle),
            turn: Cell::new(0),
            waiting: Cell::new(0),
            returned: Notify::new(),
            returns: Cell::new(0),
            round: Cell::new(0),
            reaping: Cell::new(false),
        }
    }

    pub(super) const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// A connection to a server that the balance chooses; where one cannot be reached the next
    /// one is tried, each at most once.
    pub(super) async fn lease(
        self: &Rc<Self>,
        reuse: Reuse,
        visitor: Affinity,
    ) -> Result<(Lease, Origin), ForwardError> {
        let mut tried = Vec::new();
        let mut failure = ForwardError::ConnectTimeout;
        while let Some(server) = balance::choose(&self.upstream, &self.turn, visitor, &tried) {
            let load = self.upstream.load(server);
            match self.checkout(server, reuse).await {
                Ok((connection, origin)) => {
                    let (pool, later) = (Rc::clone(self), Reuse::Allowed);
                    return Ok((Lease { pool, server, connection, load, later }, origin));
                }
                Err(
                    error @ (ForwardError::Connect(_) | ForwardError::ConnectTimeout | ForwardError::Tls(_)),
                ) => failure = error,
                Err(error) => return Err(error),
            }
            self.upstream.failed(server, &failure);
            tried.push(server);
        }
        Err(failure)
    }

    async fn checkout(&self, server: usize, reuse: Reuse) -> Result<(Connection, Origin), ForwardError> {
        if let Some(connection) = self.reuse(server, reuse) {
            return Ok((connection, Origin::Reused));
        }
        let slot = match self.upstream.try_slot() {
            Some(slot) => slot,
            None => match self.wait(server, reuse).await? {
                Turn::Slot(slot) => slot,
                Turn::Connection(connection) => return Ok((connection, Origin::Reused)),
            },
        };
        let connection = Connection::open(&self.upstream, server, slot).await?;
        Ok((connection, Origin::Fresh))
    }

    /// The idle connection that was used last and is still open.
    fn reuse(&self, server: usize, reuse: Reuse) -> Option<Connection> {
        if reuse == Reuse::Forbidden {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        let idle = idle.get_mut(server)?;
        while let Some(Idle { connection, .. }) = idle.pop() {
            if connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Waits in line for a slot or for a connection that another request gives back.
    async fn wait(&self, server: usize, reuse: Reuse) -> Result<Turn, ForwardError> {
        let _place = Place::take(self).ok_or(ForwardError::TooManyConnections)?;
        let turn = async {
            let slot = self.upstream.slot();
            pin!(slot);
            loop {
                // An idle connection that this request cannot use only holds a slot.
                if self.give_up_one() == GivenUp::None {
                    self.upstream.wanted().notify_one();
                }
                tokio::select! {
                    biased;
                    slot = &mut slot => return slot.map(Turn::Slot),
                    () = self.returned.notified() => {
                        if let Some(connection) = self.reuse(server, reuse) {
                            return Some(Turn::Connection(connection));
                        }
                    }
                }
            }
        };
        let turn = timeout(self.upstream.config().connect_timeout, turn).await;
        turn.ok().flatten().ok_or(ForwardError::TooManyConnections)
    }

    fn put(self: &Rc<Self>, server: usize, connection: Connection) {
        if self.owes_a_slot() {
            return;
        }
        if let Some(idle) = self.idle.borrow_mut().get_mut(server) {
            idle.push(Idle { connection, since_round: self.round.get() });
        }
        if self.waiting.get() > 0 {
            self.returned.notify_one();
        }
        self.start_reaper();
    }

    /// Whether a connection that came back shall be closed, so that another worker gets its slot.
    ///
    /// Always when only others wait; now and then when both do, so that a busy worker starves nobody.
    fn owes_a_slot(&self) -> bool {
        let (all, own) = (self.upstream.waiting(), self.waiting.get());
        if all <= own {
            return false;
        }
        self.returns.set(self.returns.get().wrapping_add(1));
        own == 0 || self.returns.get().is_multiple_of(FAIR_SHARE)
    }

    /// Closes the idle connection that waits longest at some server.
    fn give_up_one(&self) -> GivenUp {
        let mut idle = self.idle.borrow_mut();
        let oldest = idle.iter_mut().filter(|idle| !idle.is_empty());
        match oldest.min_by_key(|idle| idle.first().map(|idle| idle.since_round)) {
            Some(idle) => {
                idle.remove(0);
                GivenUp::One
            }
            None => GivenUp::None,
        }
    }

    fn clear(&self) {
        self.idle.borrow_mut().iter_mut().for_each(Vec::clear);
    }

    fn idle_connections(&self) -> usize {
        self.idle.borrow().iter().map(Vec::len).sum()
    }

    /// Keeps a task that closes old idle connections, for as long as there are any.
    fn start_reaper(self: &Rc<Self>) {
        if self.reaping.replace(true) {
            return;
        }
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while pool.idle_connections() > 0 {
                tokio::select! {
                    () = sleep(ROUND) => pool.reap(),
                    () = pool.upstream.wanted().notified() => pool.heed_others(),
                }
            }
            pool.reaping.set(false);
        });
    }

    /// Somebody wants a slot: gives one up, or lets another worker do so.
    fn heed_others(&self) {
        if self.idle_connections() == 0 {
            self.upstream.wanted().notify_one();
        } else if self.upstream.waiting() > self.waiting.get() {
            self.give_up_one();
        }
    }

    /// Closes what has been idle for [`ROUNDS`], and what the backend closed.
    fn reap(&self) {
        let round = self.round.get() + 1;
        self.round.set(round);
        for idle in self.idle.borrow_mut().iter_mut() {
            idle.retain(|idle| {
                round - idle.since_round <= u64::from(ROUNDS) && idle.connection.sender.is_ready()
            });
        }
    }
}

/// What a wait ended with.
enum Turn {
    Slot(Slot),
    Connection(Connection),
}

#[derive(PartialEq, Eq)]
enum GivenUp {
    None,
    One,
}

/// A place in the queue of this worker.
struct Place<'a>(&'a Pool);

impl<'a> Place<'a> {
    fn take(pool: &'a Pool) -> Option<Self> {
        if pool.waiting.get() >= QUEUE {
            return None;
        }
        pool.waiting.set(pool.waiting.get() + 1);
        pool.upstream.wait_begins();
        Some(Self(pool))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.upstream.wait_ends();
    }
}

/// How often idle connections are looked at.
const ROUND: Duration = Duration::from_millis(500);

/// Looks that an idle connection survives: it is closed after 1 to 1.5 seconds, before the
/// keep-alive of common servers ends (gunicorn: 2 s, Node: 5 s) and a request meets a closing socket.
const ROUNDS: u32 = 2;

const _: () = assert!(ROUND.as_millis() * (ROUNDS as u128 + 1) < 2000, "gunicorn closes after 2 s");

/// Requests of one worker that may wait for one upstream.
const QUEUE: usize = 1024;

/// When requests of this and of other workers wait, every so manyth connection goes to the others.
const FAIR_SHARE: usize = 8;
