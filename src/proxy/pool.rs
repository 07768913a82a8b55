//! The keep-alive connections of one worker, and the queue for a connection slot.
//!
//! Those of HTTP/2, which requests share, lie in [`super::shared`] by server. Of the others, idle
//! connections are used last in, first out, so that few stay warm and the rest expire. Slots
//! are counted across workers by the [`Upstream`]; a worker that finds none free gives up idle
//! connections it cannot use, asks the other workers to do so, and waits in line.
//! Invariant: a connection lies in the pool only while it can take a request, as far as was seen.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::pin;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::affinity::Affinity;
use super::connection::{Connection, Opened};
use super::host_name::no_address;
use super::lease::Lease;
use super::server::Server;
use super::shared::{Opening, Shared};
use super::upgrade::Switch;
use super::upstream::{Slot, Upstream};
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
    /// By server: the connections that requests share.
    shared: Box<[Shared]>,
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

/// What a request asks of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) reuse: Reuse,
    pub(super) switch: Switch,
}

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Reused,
    Fresh,
}

impl Pool {
    fn new(upstream: Arc<Upstream>) -> Self {
        let idle = upstream.servers().iter().map(|_| Vec::new()).collect();
        let shared = upstream.servers().iter().map(|_| Shared::default()).collect();
        Self {
            upstream,
            idle: RefCell::new(idle),
            shared,
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
        wish: Wish,
        visitor: Affinity,
    ) -> Result<(Lease, Origin), ForwardError> {
        let mut tried = self.upstream.unfit(wish.switch);
        let mut failure =
            if tried.is_empty() { ForwardError::ConnectTimeout } else { ForwardError::NoSwitch };
        while let Some(server) = balance::choose(&self.upstream, &self.turn, visitor, &tried) {
            let load = self.upstream.load(server);
            match self.checkout(server, wish).await {
                Ok((connection, origin)) => {
                    let (pool, later) = (Rc::clone(self), self.later(server, wish.switch));
                    return Ok((Lease::new(pool, server, connection, load, later), origin));
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

    /// Among servers of HTTP/2, a connection for a WebSocket is the only one of its kind.
    fn later(&self, server: usize, switch: Switch) -> Reuse {
        let is_odd = switch != Switch::No && self.upstream.server(server).is_some_and(Server::is_shared);
        if is_odd { Reuse::Forbidden } else { Reuse::Allowed }
    }

    async fn checkout(
        self: &Rc<Self>,
        server: usize,
        wish: Wish,
    ) -> Result<(Connection, Origin), ForwardError> {
        match self.reuse(server, wish) {
            Some(connection) => Ok((connection, Origin::Reused)),
            // Boxed, because it is large and seldom: most requests find a connection.
            None => Box::pin(self.obtain(server, wish)).await,
        }
    }

    /// Opens a connection, or waits for one where no more may be opened.
    async fn obtain(
        self: &Rc<Self>,
        server: usize,
        wish: Wish,
    ) -> Result<(Connection, Origin), ForwardError> {
        let _turn = match self.join(server, wish).await? {
            Joined::Connection(connection) => return Ok((connection, Origin::Reused)),
            Joined::Turn(turn) => turn,
        };
        let slot = match self.upstream.try_slot() {
            Some(slot) => slot,
            None => match self.wait(server, wish).await? {
                Turn::Slot(slot) => slot,
                Turn::Connection(connection) => return Ok((connection, Origin::Reused)),
            },
        };
        Ok((self.open(server, slot, wish.switch).await?, Origin::Fresh))
    }

    /// Where a connection has room for many, waits while another request opens one.
    async fn join(&self, server: usize, wish: Wish) -> Result<Joined<'_>, ForwardError> {
        let is_shared = || self.upstream.server(server).is_some_and(Server::is_shared);
        let Some(shared) = self.shared.get(server).filter(|_| wish.switch == Switch::No && is_shared())
        else {
            return Ok(Joined::Turn(None));
        };
        let failures = shared.failures();
        let joining = async {
            while is_shared() {
                let news = shared.news().notified();
                if let Some(turn) = shared.begin_opening() {
                    return Ok(Joined::Turn(Some(turn)));
                }
                news.await;
                if let Some(connection) = self.reuse(server, wish) {
                    return Ok(Joined::Connection(connection));
                }
                // What happened to the other would happen to this one.
                if shared.failures() != failures {
                    return Err(ForwardError::ConnectTimeout);
                }
            }
            Ok(Joined::Turn(None))
        };
        let joined = timeout(self.upstream.config().connect_timeout, joining).await;
        joined.unwrap_or(Err(ForwardError::TooManyConnections))
    }

    async fn open(
        self: &Rc<Self>,
        server: usize,
        slot: Slot,
        switch: Switch,
    ) -> Result<Connection, ForwardError> {
        let shared = self.shared.get(server).ok_or_else(|| ForwardError::Connect(no_address()))?;
        let opened = Opened::open(&self.upstream, server, slot, switch, shared.news()).await;
        match opened.inspect_err(|_| shared.failed())? {
            Opened::Own(connection) => Ok(connection),
            Opened::Shared(connection) => {
                let place = connection.place().ok_or_else(|| ForwardError::Connect(no_address()))?;
                shared.add(connection);
                self.start_reaper();
                Ok(Connection::shared(place))
            }
        }
    }

    /// The idle connection that was used last and is still open, or room on a shared one.
    fn reuse(&self, server: usize, wish: Wish) -> Option<Connection> {
        if wish.reuse == Reuse::Forbidden {
            return None;
        }
        {
            let mut idle = self.idle.borrow_mut();
            let idle = idle.get_mut(server)?;
            while let Some(Idle { mut connection, .. }) = idle.pop() {
                if connection.is_ready() {
                    return Some(connection);
                }
            }
        }
        let shared = self.shared.get(server).filter(|_| wish.switch == Switch::No)?;
        shared.place().map(Connection::shared)
    }

    /// Waits in line for a slot or for a connection that another request gives back.
    async fn wait(&self, server: usize, wish: Wish) -> Result<Turn, ForwardError> {
        let _place = Place::take(self).ok_or(ForwardError::TooManyConnections)?;
        let shared = self.shared.get(server).ok_or(ForwardError::TooManyConnections)?;
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
                    () = self.returned.notified() => {}
                    () = shared.news().notified() => {}
                }
                if let Some(connection) = self.reuse(server, wish) {
                    return Some(Turn::Connection(connection));
                }
            }
        };
        let turn = timeout(self.upstream.config().connect_timeout, turn).await;
        turn.ok().flatten().ok_or(ForwardError::TooManyConnections)
    }

    /// Takes a connection back that can take another request.
    pub(super) fn put(self: &Rc<Self>, server: usize, connection: Connection) {
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

    /// Closes the idle connection that waits longest at some server, or else one that is shared.
    fn give_up_one(&self) -> GivenUp {
        let mut idle = self.idle.borrow_mut();
        let oldest = idle.iter_mut().filter(|idle| !idle.is_empty());
        match oldest.min_by_key(|idle| idle.first().map(|idle| idle.since_round)) {
            Some(idle) => {
                idle.remove(0);
                GivenUp::One
            }
            None if self.shared.iter().any(Shared::close_idle) => GivenUp::One,
            None => GivenUp::None,
        }
    }

    fn clear(&self) {
        self.idle.borrow_mut().iter_mut().for_each(Vec::clear);
        self.shared.iter().for_each(Shared::clear);
    }

    fn idle_connections(&self) -> usize {
        let shared: usize = self.shared.iter().map(Shared::idle).sum();
        self.idle.borrow().iter().map(Vec::len).sum::<usize>() + shared
    }

    /// Whether there is anything that may have to be closed.
    fn has_connections(&self) -> bool {
        self.idle.borrow().iter().any(|idle| !idle.is_empty()) || !self.shared.iter().all(Shared::is_empty)
    }

    /// Keeps a task that closes old idle connections, for as long as there are any.
    fn start_reaper(self: &Rc<Self>) {
        if self.reaping.replace(true) {
            return;
        }
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while pool.has_connections() {
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
        if !self.has_connections() {
            self.upstream.wanted().notify_one();
        } else if self.upstream.waiting() > self.waiting.get() && self.give_up_one() == GivenUp::None {
            // None of the shared ones is idle: one of them ends with its requests.
            let _gives_way = self.shared.iter().any(Shared::let_one_leave);
        }
    }

    /// Closes what has been idle for [`ROUNDS`], and what the backend closed.
    fn reap(&self) {
        self.shared.iter().for_each(|shared| shared.reap(SHARED_ROUNDS));
        let round = self.round.get() + 1;
        self.round.set(round);
        for idle in self.idle.borrow_mut().iter_mut() {
            idle.retain_mut(|idle| {
                round - idle.since_round <= u64::from(ROUNDS) && idle.connection.is_ready()
            });
        }
    }
}

/// What waiting for the connection of another request ended with.
enum Joined<'a> {
    Connection(Connection),
    /// A new connection is needed; where many can share it, nobody else opens one meanwhile.
    Turn(Option<Opening<'a>>),
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

/// Looks that an idle connection of HTTP/2 survives: half a minute. It says goodbye before it closes
/// (GOAWAY), so no request is lost on it.
const SHARED_ROUNDS: u32 = 60;

const _: () = assert!(ROUND.as_millis() * (ROUNDS as u128 + 1) < 2000, "gunicorn closes after 2 s");

/// Requests of one worker that may wait for one upstream.
const QUEUE: usize = 1024;

/// When requests of this and of other workers wait, every so manyth connection goes to the others.
const FAIR_SHARE: usize = 8;
