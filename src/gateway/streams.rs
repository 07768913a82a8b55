//! The streams of one worker that are still open, and what ends them before their time: the end of
//! their session, or a rule that no longer allows them.
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
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Method;
use tokio::time::sleep;

use super::canonical::Canonical;
use super::decision::{self, Caller, Decision, Guest, Question};
use super::record::Record;
use super::refuse_ambiguity;
use super::snapshot::Snapshot;
use crate::clock::Stopwatch;
use crate::proxy::Upstream;
use crate::session::engine::Engine;
use crate::session::record::Session;
use crate::session::store::StoreError;
use crate::session::token::SessionId;
use crate::telemetry::metrics::{RequestCounters, StreamEnd};

/// The open streams of a worker.
pub struct Streams {
    engine: Engine,
    snapshot: Arc<ArcSwap<Snapshot>>,
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
    pub fn new(engine: Engine, snapshot: Arc<ArcSwap<Snapshot>>, counters: Arc<RequestCounters>) -> Rc<Self> {
        Rc::new(Self {
            engine,
            snapshot,
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
        answer: impl Future<Output = T>,
    ) -> Result<T, StreamEnd> {
        let (mut answer, mut place) = (pin!(answer), Waiting { streams: self, number: None });
        let mut ticket = Ticket::new(self);
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
        let snapshot = self.snapshot.load_full();
        let mut by_session: HashMap<SessionId, Vec<Rc<Stream>>> = HashMap::new();
        for stream in self.open.borrow().values().filter(|stream| stream.end.get().is_none()) {
            if !stream.is_allowed(&snapshot) {
                self.end(stream, StreamEnd::RuleChanged);
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
            Patience::Over => {
                return streams.iter().for_each(|stream| self.end(stream, StreamEnd::StoreSilent));
            }
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
            Ok(lives) => {
                self.unanswered.borrow_mut().remove(&id);
                for stream in streams {
                    if lives {
                        self.pass_on_activity(stream);
                    } else {
                        self.end(stream, StreamEnd::SessionEnded);
                    }
                }
            }
            // SECURITY: broken is not absent, but nobody may go on for long unasked.
            Err(error) => {
                tracing::debug!(%error, "session store did not say whether a session lives");
                self.unanswered.borrow_mut().entry(id).or_default().is_asked = false;
            }
        }
    }

    /// Only after the session was found alive: late bytes revive nothing.
    fn pass_on_activity(&self, stream: &Stream) {
        let said = stream.said.get();
        if stream.noted.replace(said) != said
            && let Some(session) = &stream.session
        {
            self.engine.note_activity(session);
        }
    }

    fn end(&self, stream: &Stream, end: StreamEnd) {
        if stream.end.get().is_none() {
            stream.end.set(Some(end));
            self.counters.count_stream_end(end);
            if let Some(waker) = stream.waker.take() {
                waker.wake();
            }
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("open", &self.open.borrow().len()).finish_non_exhaustive()
    }
}

/// What a request was allowed as, kept to decide again.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What was asked for.
    pub canonical: Canonical,
    /// The snapshot that allowed it.
    pub generation: u64,
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

/// One open stream: what it was allowed as, and what the watcher has to say to it.
#[derive(Debug)]
pub struct Stream {
    grant: Option<Grant>,
    method: Method,
    client: IpAddr,
    session: Option<Arc<Session>>,
    upstream: Option<Arc<Upstream>>,
    /// The last snapshot that allowed it.
    allowed_by: Cell<u64>,
    /// Bytes of the client's messages, which are activity of its session.
    pub said: Cell<u64>,
    /// What of `said` was passed on as activity.
    noted: Cell<u64>,
    end: Cell<Option<StreamEnd>>,
    waker: RefCell<Option<Waker>>,
}

impl Stream {
    /// Why it must end, if it must.
    pub fn end(&self) -> Option<StreamEnd> {
        self.end.get()
    }

    /// Ready when it must end.
    pub fn poll_end(&self, cx: &Context<'_>) -> Poll<StreamEnd> {
        if let Some(end) = self.end() {
            return Poll::Ready(end);
        }
        match &mut *self.waker.borrow_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn of(record: &Record) -> Self {
        Self {
            method: record.method().clone(),
            client: record.client,
            session: record.session.clone(),
            upstream: record.upstream.clone(),
            allowed_by: Cell::new(record.grant.as_ref().map_or(u64::MAX, |grant| grant.generation)),
            grant: record.grant.clone(),
            said: Cell::default(),
            noted: Cell::default(),
            end: Cell::default(),
            waker: RefCell::default(),
        }
    }

    /// Whether the present rules would let the request pass once more.
    fn is_allowed(&self, snapshot: &Snapshot) -> bool {
        if self.allowed_by.get() == snapshot.generation {
            return true;
        }
        let is_allowed = self.grant.as_ref().is_some_and(|grant| self.passes(snapshot, &grant.canonical));
        if is_allowed {
            self.allowed_by.set(snapshot.generation);
        }
        is_allowed
    }

    fn passes(&self, snapshot: &Snapshot, canonical: &Canonical) -> bool {
        let named = self.upstream.as_ref().map(|upstream| upstream.name());
        let has_upstream = snapshot.upstreams.iter().any(|upstream| Some(upstream.name()) == named);
        let Some(place) = snapshot.routes.find(canonical.host(), canonical.path()) else { return false };
        let caller = match &self.session {
            Some(session) => Caller::Known(session.identity()),
            None => Caller::Guest(Guest::New),
        };
        let question = Question { route: &place.route, method: &self.method, client: self.client, caller };
        has_upstream
            && snapshot.portal_page(canonical.path()).is_none()
            && refuse_ambiguity(snapshot, canonical).is_ok()
            && matches!(decision::decide(question), Decision::Allow(_))
    }
}

/// A session of which the store has not said yet whether it lives.
struct Unanswered {
    since: Stopwatch,
    is_asked: bool,
}

impl Unanswered {
    fn patience(&self) -> Patience {
        Patience::after(self.since.elapsed(), self.is_asked)
    }
}

impl Default for Unanswered {
    fn default() -> Self {
        Self { since: Stopwatch::start(), is_asked: false }
    }
}

/// What to do about a session that the store has been silent about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Ask the store (again).
    Ask,
    /// It is being asked.
    Wait,
    /// Its streams have gone on unasked for long enough.
    Over,
}

impl Patience {
    fn after(silence: Duration, is_asked: bool) -> Self {
        match (silence >= SILENCE, is_asked) {
            (true, _) => Self::Over,
            (false, true) => Self::Wait,
            (false, false) => Self::Ask,
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

/// How long streams go on while the store does not say whether their session lives: long enough for a
/// store to restart or fail over, short enough that a session that was ended elsewhere meanwhile is
/// not served for long.
const SILENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_store_is_asked_one_question_at_a_time_and_not_for_ever() {
        let short = SILENCE - Duration::from_millis(1);
        for (silence, is_asked, expected) in [
            (Duration::ZERO, false, Patience::Ask),
            (Duration::ZERO, true, Patience::Wait),
            (short, false, Patience::Ask),
            (short, true, Patience::Wait),
            (SILENCE, false, Patience::Over),
            (SILENCE, true, Patience::Over),
        ] {
            assert_eq!(Patience::after(silence, is_asked), expected, "{silence:?}, {is_asked}");
        }
    }
}
