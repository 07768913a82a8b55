//! One HTTP/2 connection to a backend, shared by many requests (RFC 9113).
//!
//! hyper speaks the protocol; this knows how many requests there are and how many there may be, so that
//! none waits within a connection that has no room for it. Invariants: a connection takes no request
//! before the backend has said how many it takes at once; one that is over, or that the backend is
//! about to close, takes none.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use http::uri::Scheme;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tracing::debug;

use super::connection::Socket;
use super::heard::{Heard, Listening};
use super::upload::RequestBody;

/// A request and the answer to it, or the request back if nothing of it was sent.
pub(super) type Failure = TrySendError<http::Request<RequestBody>>;

/// An HTTP/2 connection that is open for requests.
#[derive(Debug)]
pub(super) struct Multiplexed {
    /// None once it has been given up and its last request has ended: without it hyper closes.
    sender: RefCell<Option<SendRequest<RequestBody>>>,
    /// What the backend is told to be asked by.
    scheme: Scheme,
    state: Rc<State>,
    streams: Cell<usize>,
    is_leaving: Cell<bool>,
    idle_looks: Cell<u32>,
    heard: Heard,
}

impl Multiplexed {
    /// Speaks HTTP/2 over `socket`, and waits until the backend does too.
    ///
    /// `news` is told when there is room for more requests.
    pub(super) async fn open(socket: Socket, scheme: Scheme, news: Rc<Notify>) -> io::Result<Rc<Self>> {
        let state = Rc::new(State { news, ..State::default() });
        let tasks = Tasks { state: Rc::clone(&state) };
        socket.give_up_lost_bytes()?;
        let (socket, heard) = Listening::to(socket);
        let shaken = settings(tasks).handshake(TokioIo::new(socket)).await;
        let (sender, connection) = shaken.map_err(io::Error::other)?;
        tokio::task::spawn_local(drive(connection, Rc::clone(&state)));
        state.settled().await?;
        Ok(Rc::new(Self {
            sender: RefCell::new(Some(sender)),
            scheme,
            state,
            streams: Cell::new(0),
            is_leaving: Cell::new(false),
            idle_looks: Cell::new(0),
            heard,
        }))
    }

    /// Room for one request, if there is some.
    pub(super) fn place(self: &Rc<Self>) -> Option<Place> {
        let is_open = !self.is_over() && !self.is_leaving.get();
        if !is_open || self.streams.get() >= self.state.limit.get() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        self.idle_looks.set(0);
        Some(Place { connection: Rc::clone(self), heard_before: Cell::new(self.heard.bytes()) })
    }

    /// Whether it can never take a request again.
    pub(super) fn is_over(&self) -> bool {
        self.state.is_over.get() || self.sender.borrow().is_none()
    }

    /// Whether no request is under way.
    pub(super) const fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.is_leaving.get()
    }

    /// Takes no request any more, and closes with the last one that is under way.
    pub(super) fn leave(&self) {
        self.is_leaving.set(true);
        self.close_if_done();
    }

    /// Notes a look at an idle connection; answers how many there were in a row.
    pub(super) fn looked_at_idle(&self) -> u32 {
        self.idle_looks.set(self.idle_looks.get().saturating_add(1));
        self.idle_looks.get()
    }

    fn close_if_done(&self) {
        if self.is_leaving() && self.is_idle() {
            self.sender.replace(None);
        }
    }
}

/// The right to one request over a shared connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    connection: Rc<Multiplexed>,
    /// What was heard on the connection before the request was sent.
    heard_before: Cell<u64>,
}

impl Place {
    /// The scheme of requests that are sent here.
    pub(super) fn scheme(&self) -> Scheme {
        self.connection.scheme.clone()
    }

    /// Sends the request.
    pub(super) fn send(
        &self,
        request: http::Request<RequestBody>,
    ) -> impl Future<Output = Result<http::Response<hyper::body::Incoming>, Failure>> + use<> {
        // Held by this place, the connection is not given up, so there is a sender.
        let sender = self.connection.sender.borrow().clone();
        self.heard_before.set(self.connection.heard.bytes());
        let sent = sender.map(|mut sender| sender.try_send_request(request));
        async move {
            match sent {
                Some(sent) => sent.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Notes that the request waited for its answer in vain. If not even anything else was heard since it was
    /// sent, the connection is as good as lost, and nobody else shall wait on it.
    pub(super) fn timed_out(&self) {
        if self.connection.heard.bytes() == self.heard_before.get() {
            self.connection.leave();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get() - 1);
        self.connection.close_if_done();
        self.connection.state.news.notify_one();
    }
}

/// What a connection's own task tells those who use it.
#[derive(Debug, Default)]
struct State {
    /// Requests at once; zero until the backend has said how many.
    limit: Cell<usize>,
    is_over: Cell<bool>,
    /// Wakes who opens the connection.
    changed: Notify,
    /// Wakes requests that wait for room.
    news: Rc<Notify>,
    driver: RefCell<Option<Waker>>,
    has_reader: Cell<bool>,
}

impl State {
    /// Ready when the backend has sent its settings; an error if it never will.
    async fn settled(&self) -> io::Result<()> {
        loop {
            let changed = self.changed.notified();
            if self.is_over.get() {
                return Err(io::Error::other("it does not speak HTTP/2"));
            }
            if self.limit.get() > 0 {
                return Ok(());
            }
            changed.await;
        }
    }

    fn set_limit(&self, limit: usize) {
        let limit = limit.min(MOST_STREAMS);
        if self.limit.replace(limit) < limit {
            self.tell();
        }
    }

    fn tell(&self) {
        self.changed.notify_waiters();
        self.news.notify_waiters();
    }

    /// Something arrived: whoever gives out the requests has to look again.
    fn wake_driver(&self) {
        if let Some(driver) = self.driver.borrow().as_ref() {
            driver.wake_by_ref();
        }
    }
}

/// Ends what [`drive`] began, also when its task is dropped.
struct Over(Rc<State>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.is_over.set(true);
        self.0.tell();
    }
}

/// Gives out the requests of a connection until it is over.
async fn drive<C: Driven>(connection: C, state: Rc<State>) {
    let over = Over(state);
    let mut connection = pin!(connection);
    let ended = poll_fn(|cx| {
        over.0.driver.replace(Some(cx.waker().clone()));
        let polled = connection.as_mut().poll(cx);
        over.0.set_limit(connection.streams());
        polled
    });
    if let Err(error) = ended.await {
        debug!(%error, "backend connection ended");
    }
}

/// hyper's connection, whose type has a name that says nothing.
trait Driven: Future<Output = hyper::Result<()>> {
    /// How many requests the backend takes at once.
    fn streams(&self) -> usize;
}

impl Driven for http2::Connection<TokioIo<Listening>, RequestBody, Tasks> {
    fn streams(&self) -> usize {
        self.current_max_send_streams()
    }
}

/// Runs the tasks of a connection on the worker's own thread.
#[derive(Clone, Debug)]
struct Tasks {
    state: Rc<State>,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        // The first is the one that reads: what it hears (settings, GOAWAY) concerns the others.
        if self.state.has_reader.replace(true) {
            tokio::task::spawn_local(task);
            return;
        }
        let state = Rc::clone(&self.state);
        tokio::task::spawn_local(async move {
            let mut task: Pin<&mut F> = pin!(task);
            poll_fn(|cx| {
                let polled = task.as_mut().poll(cx);
                state.wake_driver();
                polled
            })
            .await;
        });
    }
}

/// Bounds for what a backend may make us keep in memory.
fn settings(tasks: Tasks) -> http2::Builder<Tasks> {
    let mut settings = http2::Builder::new(tasks);
    settings
        .timer(TokioTimer::new())
        // What the backend says counts, and only from when it says it.
        .initial_max_send_streams(Some(0))
        .max_header_list_size(HEAD)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    settings
}

/// Requests that share one connection, whatever more the backend allows: what is lost when it breaks.
const MOST_STREAMS: usize = 100;

/// The greatest response head and the greatest trailer section, in bytes, as over HTTP/1.1.
const HEAD: u32 = 64 * 1024;

/// What a backend may send ahead on one stream, in bytes: what one slow client makes us keep.
const STREAM_WINDOW: u32 = 160 * 1024;

/// What a backend may send ahead on one connection, in bytes: what all its slow clients make us keep.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

const _: () = assert!(
    MOST_STREAMS as u64 * STREAM_WINDOW as u64 <= CONNECTION_WINDOW as u64,
    "slow clients on all streams but one must not stop that one"
);

/// What is kept of an upload that the backend does not take, in bytes for each stream.
const SEND_BUFFER: usize = 128 * 1024;

/// How often a silent backend with requests under way is asked whether it is still there. Servers of
/// gRPC take more than one such question in five minutes for an attack, and close.
const PING_INTERVAL: Duration = Duration::from_secs(330);

/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
