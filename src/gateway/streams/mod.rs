//! The streams of one worker that are still open, and what ends them before their time: the end of
//! their session, a rule that no longer allows them, or the end of the hours at which it does.
//!
//! A tunnel is entered when it begins, a response body when it is first found waiting for the backend
//! (or has become long), a request when the backend has kept it waiting for a while. So an ordinary
//! answer, which is there at once, costs a place in a table and no more. A watcher on the worker's own
//! thread, which runs only while there is something to watch, looks at all of them twice a second and
//! whenever a session ends anywhere in the process, and wakes those that may not go on. They end
//! themselves: a body with an error, a tunnel with a close frame, a waiting request with a refusal.
//!
//! Everything here belongs to one thread; there is no lock. Invariant: the watcher never waits for the
//! store; a session that only the store knows is asked about beside it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::sleep;

use super::Shared;
use super::record::Record;
use super::snapshot::Snapshot;
use crate::clock::Clock;
use crate::session::engine::Engine;
use crate::session::store::StoreError;
use crate::session::token::SessionId;
use crate::telemetry::metrics::{RequestCounters, StreamEnd};

mod silence;
mod stream;

use self::silence::{Patience, Unanswered};
pub use self::stream::{Grant, Stream};

/// The open streams of a worker.
pub struct Streams {
    engine: Engine,
    snapshot: Arc<ArcSwap<Snapshot>>,
    clock: Clock,
    counters: Arc<RequestCounters>,
    open: RefCell<HashMap<u64, Rc<Stream>>>,
    /// Requests that wait for the head of their answer, until the watcher has seen them once.
    waiting: RefCell<HashMap<u64, Waker>>,
    /// Sessions of which the store has not said yet whether they live.
    unanswered: RefCell<HashMap<SessionId, Unanswered>>,
    next: Cell<u64>,
    is_watched: Cell<bool>,
}

impl Streams {
    /// The streams of a worker that counts with `counters`; none yet.
    #[must_use]
    pub fn new(shared: &Shared, counters: Arc<RequestCounters>) -> Rc<Self> {
        Rc::new(Self {
            engine: shared.engine.clone(),
            snapshot: Arc::clone(&shared.snapshot),
            clock: shared.clock.clone(),
            counters,
            open: RefCell::default(),
            waiting: RefCell::default(),
            unanswered: RefCell::default(),
            next: Cell::new(0),
            is_watched: Cell::new(false),
        })
    }

    /// Waits for the answer to a request, for as long as the request is allowed.
    pub async fn wait_for<T>(
        self: &Rc<Self>,
        record: &Record,
        mut answer: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, StreamEnd> {
        let (mut place, mut ticket) = (Waiting { streams: self, number: None }, Ticket::new(self));
        poll_fn(|cx| {
            if let Some(end) = ticket.end() {
                return Poll::Ready(Err(end));
            }
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            if place.was_seen(cx) {
                return ticket.enter(record).poll_end(cx).map(Err);
            }
            Poll::Pending
        })
        .await
    }

    fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        number
    }

    fn add(self: &Rc<Self>, stream: Rc<Stream>) -> u64 {
        let number = self.number();
        self.open.borrow_mut().insert(number, stream);
        self.counters.streams_are_open(self.open.borrow().len());
        self.be_watched();
        number
    }

    fn remove(&self, number: u64) {
        self.open.borrow_mut().remove(&number);
        self.counters.streams_are_open(self.open.borrow().len());
    }

    fn be_watched(self: &Rc<Self>) {
        if !self.is_watched.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).watch());
        }
    }

    async fn watch(self: Rc<Self>) {
        let mut endings = self.engine.endings();
        while !(self.open.borrow().is_empty() && self.waiting.borrow().is_empty()) {
            tokio::select! {
                // Cannot fail: the engine is ours too.
                _ = endings.changed() => {}
                () = sleep(LOOK_EVERY) => {}
            }
            self.look();
            sleep(REST).await;
        }
        self.is_watched.set(false);
    }

    /// Looks at everything once.
    fn look(self: &Rc<Self>) {
        self.waiting.borrow_mut().drain().for_each(|(_, waker)| waker.wake());
        let (snapshot, now) = (self.snapshot.load_full(), self.clock.now());
        let mut by_session: HashMap<SessionId, Vec<Rc<Stream>>> = HashMap::new();
        for stream in self.open.borrow().values().filter(|stream| stream.end().is_none()) {
            if let Some(end) = stream.refused_by(&snapshot, now) {
                self.end(stream, end);
            } else if let Some(session) = &stream.session {
                by_session.entry(session.id()).or_default().push(Rc::clone(stream));
            }
        }
        self.unanswered.borrow_mut().retain(|id, _| by_session.contains_key(id));
        for (id, streams) in by_session {
            self.ask(id, streams);
        }
    }

    /// Asks whether the session of these streams lives; beside the watcher if that takes time.
    fn ask(self: &Rc<Self>, id: SessionId, streams: Vec<Rc<Stream>>) {
        let Some(session) = streams.first().and_then(|stream| stream.session.clone()) else { return };
        let patience = self.unanswered.borrow().get(&id).map_or(Patience::Ask, Unanswered::patience);
        match patience {
            Patience::Ask => {}
            Patience::Wait => return,
            Patience::Over => return self.end_all(&streams, StreamEnd::StoreSilent),
        }
        let engine = self.engine.clone();
        let mut question = Box::pin(async move { engine.still_lives(&session).await });
        if let Poll::Ready(answer) = question.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return self.hear(id, answer, &streams);
        }
        self.unanswered.borrow_mut().entry(id).or_default().is_asked = true;
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let answer = question.await;
            this.hear(id, answer, &streams);
        });
    }

    fn hear(&self, id: SessionId, answer: Result<bool, StoreError>, streams: &[Rc<Stream>]) {
        match answer {
            Ok(true) => {
                self.unanswered.borrow_mut().remove(&id);
                // Not before the session was found alive: late words revive nothing.
                for session in streams.iter().filter_map(|stream| stream.news_for()) {
                    self.engine.note_activity(session);
                }
            }
            Ok(false) => {
                self.unanswered.borrow_mut().remove(&id);
                self.end_all(streams, StreamEnd::SessionEnded);
            }
            // SECURITY: broken is not absent, but nobody may go on for long unasked.
            Err(error) => {
                tracing::debug!(%error, "session store did not say whether a session lives");
                self.unanswered.borrow_mut().entry(id).or_default().is_asked = false;
            }
        }
    }

    fn end_all(&self, streams: &[Rc<Stream>], end: StreamEnd) {
        for stream in streams {
            self.end(stream, end);
        }
    }

    fn end(&self, stream: &Stream, end: StreamEnd) {
        if stream.stop(end) {
            self.counters.count_stream_end(end);
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("open", &self.open.borrow().len()).finish_non_exhaustive()
    }
}

/// A stream's own hold on the table: not entered at first, and left when dropped.
#[derive(Debug)]
pub struct Ticket {
    streams: Rc<Streams>,
    entered: Option<(u64, Rc<Stream>)>,
}

impl Ticket {
    /// A ticket that is not used yet.
    #[must_use]
    pub fn new(streams: &Rc<Streams>) -> Self {
        Self { streams: Rc::clone(streams), entered: None }
    }

    /// Enters the stream of this request, unless it is entered.
    pub fn enter(&mut self, record: &Record) -> &Stream {
        let (_, stream) = self.entered.get_or_insert_with(|| {
            let stream = Rc::new(Stream::of(record));
            (self.streams.add(Rc::clone(&stream)), stream)
        });
        stream
    }

    /// Why the stream must end, if it is entered and must.
    #[must_use]
    pub fn end(&self) -> Option<StreamEnd> {
        self.entered.as_ref().and_then(|(_, stream)| stream.end())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some((number, _)) = self.entered.take() {
            self.streams.remove(number);
        }
    }
}

/// The place of a request that waits for the head of its answer.
struct Waiting<'a> {
    streams: &'a Rc<Streams>,
    number: Option<u64>,
}

impl Waiting<'_> {
    /// Whether the watcher has come by since this was first called; if not, it will wake the task.
    fn was_seen(&mut self, cx: &Context<'_>) -> bool {
        let streams = self.streams;
        let Some(number) = self.number else {
            let number = streams.number();
            self.number = Some(number);
            streams.waiting.borrow_mut().insert(number, cx.waker().clone());
            streams.be_watched();
            return false;
        };
        match streams.waiting.borrow_mut().entry(number) {
            Entry::Vacant(_) => true,
            Entry::Occupied(mut place) => {
                place.get_mut().clone_from(cx.waker());
                false
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.streams.waiting.borrow_mut().remove(&number);
        }
    }
}

/// How often everything is looked at without a call, so that a session that expired and a changed rule
/// end their streams within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the watcher rests between two looks when sessions end in quick succession.
const REST: Duration = Duration::from_millis(25);
