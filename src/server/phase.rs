//! Where one client connection is between two requests, and how long it may stay there.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::Limits;
use super::drain::{Count, Counted};
use crate::clock::Stopwatch;
use crate::pace::{Pace, TooSlow};

/// What a connection does at the moment.
#[derive(Debug)]
pub(super) struct Progress {
    requests: Count,
    between: Between,
    open: Cell<usize>,
    answering: Cell<bool>,
    was_cut: Cell<bool>,
    closing: Cell<bool>,
    turn: Cell<Turn>,
    taken: Cell<u64>,
    waiting: Cell<Waiting>,
    since: Cell<Stopwatch>,
    writing: RefCell<Pace>,
}

/// What a connection without a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The first request of all.
    First,
    /// Another request.
    Request,
    /// The rest of a request head.
    Head,
}

/// Whether bytes that come between two requests must be the head of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// As in HTTP/1.1.
    Heads,
    /// As in HTTP/2, where window updates and pings may come at any time.
    Anything,
}

/// Who has to act next for a response to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing was asked of the response.
    Unknown,
    /// The client: something of the response is to be sent.
    Client,
    /// The handler or its backend: there is nothing to send yet.
    Server,
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// No request came: the connection just ends.
    Idle,
    /// No request came for a while: an HTTP/1 connection gives back what it needs for one.
    Rest,
    /// A request head did not become complete.
    Head,
    /// The client does not take the response, or takes it too slowly.
    Write,
}

impl Progress {
    pub(super) fn new(requests: Count, between: Between) -> Self {
        Self {
            requests,
            between,
            open: Cell::new(0),
            answering: Cell::new(false),
            was_cut: Cell::new(false),
            closing: Cell::new(false),
            turn: Cell::new(Turn::Unknown),
            taken: Cell::new(0),
            waiting: Cell::new(Waiting::First),
            since: Cell::new(Stopwatch::start()),
            writing: RefCell::default(),
        }
    }

    /// Bytes came in: between requests they may begin a head.
    pub(super) fn received(&self) {
        let begins_head = self.between == Between::Heads && self.open.get() == 0;
        if begins_head && self.waiting.get() != Waiting::Head {
            self.wait_for(Waiting::Head);
        }
    }

    /// Grants the time of a fresh connection once more.
    pub(super) fn start_over(&self) {
        self.wait_for(Waiting::First);
    }

    /// Whether bytes of a handler's response may still be on their way through hyper.
    pub(super) fn is_answering(&self) -> bool {
        self.answering.get()
    }

    /// hyper was given something of a response.
    pub(super) fn answer_goes_on(&self) {
        self.answering.set(true);
    }

    /// hyper has written all that it was given.
    pub(super) fn answer_is_written(&self) {
        self.answering.set(false);
    }

    /// Whether a response broke off before its end.
    pub(super) fn was_cut(&self) -> bool {
        self.was_cut.get()
    }

    /// Lets the next response be the last one of an HTTP/1 connection, and say so.
    pub(super) fn close_after_next(&self) {
        self.closing.set(true);
    }

    pub(super) fn turn(&self) -> Turn {
        self.turn.get()
    }

    /// Bytes of bodies that were taken to be sent since [`Self::ask_whose_turn`].
    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Forgets whose turn it was, to learn it anew.
    pub(super) fn ask_whose_turn(&self) {
        self.turn.set(Turn::Unknown);
        self.taken.set(0);
    }

    /// There is no room for more bytes until the client has taken some.
    pub(super) fn write_is_blocked(&self) {
        self.writing.borrow_mut().wait();
    }

    /// So many bytes were written, or there is room again.
    pub(super) fn wrote(&self, bytes: usize) {
        let mut writing = self.writing.borrow_mut();
        writing.go_on();
        writing.passed(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// A request head is complete.
    pub(super) fn begin(self: &Rc<Self>) -> Exchange {
        self.open.set(self.open.get() + 1);
        Exchange { progress: Rc::clone(self), _counted: self.requests.add_one() }
    }

    /// A piece of a response is to be sent.
    fn take(&self, bytes: usize) {
        self.taken.set(self.taken.get().saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)));
        self.turn.set(Turn::Client);
        self.answer_goes_on();
    }

    /// Keeps the connection from being idle for something that is no request.
    pub(super) fn hold(self: &Rc<Self>) -> Hold {
        self.open.set(self.open.get() + 1);
        Hold(Rc::clone(self))
    }

    fn end(&self) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.wait_for(Waiting::Request);
        }
    }

    /// For how long a connection that rests may still do so.
    pub(super) fn rest_left(&self, limits: &Limits) -> Duration {
        limits.keep_alive.saturating_sub(self.since.get().elapsed())
    }

    fn wait_for(&self, waiting: Waiting) {
        self.waiting.set(waiting);
        self.since.set(Stopwatch::start());
    }

    /// What is overdue, or for how long nothing can be.
    fn check(&self, limits: &Limits) -> Result<Duration, Overdue> {
        // What is waited for may change while the timer runs.
        let at_most = limits.request_head.min(limits.keep_alive).min(limits.body_stall);
        if let Some(left) = self.check_writing(limits)? {
            return Ok(left.min(at_most));
        }
        if self.open.get() > 0 {
            return Ok(at_most);
        }
        let at_most = if self.between == Between::Heads { at_most.min(limits.rest_after) } else { at_most };
        match self.waiting.get() {
            Waiting::First => left(limits.request_head, self.since.get()).ok_or(Overdue::Idle),
            Waiting::Request if self.between == Between::Heads => self.rests_in(limits),
            Waiting::Request => left(limits.keep_alive, self.since.get()).ok_or(Overdue::Idle),
            Waiting::Head => left(limits.request_head, self.since.get()).ok_or(Overdue::Head),
        }
        .map(|left| left.min(at_most))
    }

    /// None if the client takes what there is.
    fn check_writing(&self, limits: &Limits) -> Result<Option<Duration>, Overdue> {
        let mut writing = self.writing.borrow_mut();
        let Some(blocked) = writing.current_wait() else { return Ok(None) };
        let next_look = writing.check(&limits.least_pace()).map_err(|TooSlow| Overdue::Write)?;
        left(limits.body_stall, blocked).ok_or(Overdue::Write).map(|left| Some(left.min(next_look)))
    }

    /// When an HTTP/1 connection that waits for another request has waited long enough to rest.
    fn rests_in(&self, limits: &Limits) -> Result<Duration, Overdue> {
        let idle = left(limits.keep_alive, self.since.get()).ok_or(Overdue::Idle)?;
        match left(limits.rest_after, self.since.get()) {
            Some(left) => Ok(left.min(idle)),
            // Part of the answer is still to be written, or the last call for requests is not over.
            None if self.is_answering() || self.closing.get() => Ok(idle),
            None => Err(Overdue::Rest),
        }
    }
}

/// A connection that is in use while this lives.
#[derive(Debug)]
pub(super) struct Hold(Rc<Progress>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// One request and its response; ends with the last byte of the response.
#[derive(Debug)]
pub(super) struct Exchange {
    progress: Rc<Progress>,
    _counted: Counted,
}

impl Exchange {
    /// Its response, which keeps it open until the end.
    pub(super) fn answer_with<B>(self, mut response: Response<B>) -> Response<Tracked<B>> {
        if self.progress.closing.get() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.progress.answer_goes_on();
        response.map(|body| Tracked { body, exchange: self })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.progress.end();
    }
}

/// A response body that ends its exchange.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: B,
    exchange: Exchange,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.exchange.progress.turn.set(Turn::Server);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.as_ref().is_some_and(Result::is_err) {
            self.exchange.progress.was_cut.set(true);
        }
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        self.exchange.progress.take(data.map_or(0, Bytes::len));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Fires when something is overdue; one timer for the whole life of a connection.
pub(super) struct Deadline(Pin<Box<Sleep>>);

impl Deadline {
    pub(super) fn new(progress: &Progress, limits: &Limits) -> Self {
        Self(Box::pin(tokio::time::sleep(progress.check(limits).unwrap_or_default())))
    }

    /// Ready when a deadline has passed.
    pub(super) fn poll(
        &mut self,
        progress: &Progress,
        limits: &Limits,
        context: &mut Context<'_>,
    ) -> Poll<Overdue> {
        while self.0.as_mut().poll(context).is_ready() {
            match progress.check(limits) {
                Ok(left) => self.0.set(tokio::time::sleep(left)),
                Err(overdue) => return Poll::Ready(overdue),
            }
        }
        Poll::Pending
    }
}

fn left(limit: Duration, since: Stopwatch) -> Option<Duration> {
    limit.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
}
