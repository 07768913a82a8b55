//! A backend that speaks HTTP/2 in clear text and does whatever a test wants, down to GOAWAY.
//!
//! One task a request, on the runtime of the tests. Records what arrived.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, request};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{block_on, runtime};

/// An HTTP/2 backend on a free port.
pub(crate) struct H2Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

/// One request, to be answered.
pub(crate) struct Call {
    /// Its head.
    pub(crate) head: request::Parts,
    /// How many requests came before this one, on all connections.
    pub(crate) number: usize,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    ending: UnboundedSender<Ending>,
    gate: Arc<Notify>,
}

/// A response under way.
pub(crate) struct Reply(SendStream<Bytes>);

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: request::Parts,
    /// How many connections came before its own.
    pub(crate) connection: usize,
}

/// How a connection ends before its time.
enum Ending {
    Graceful,
    Abrupt(Reason),
    Dropped,
}

type Doing = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Shared {
    script: Box<dyn Fn(Call) -> Doing + Send + Sync>,
    streams: u32,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: watch::Sender<usize>,
    gate: Arc<Notify>,
    ends: Mutex<Vec<UnboundedSender<Ending>>>,
}

impl H2Backend {
    /// Answers everything with `200` and `hello`.
    pub(crate) fn start() -> Self {
        Self::with(|call| async move { call.answer("hello") })
    }

    /// Answers as the test says.
    pub(crate) fn with<F: Future<Output = ()> + Send + 'static>(
        script: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::limited(100, script)
    }

    /// The same, with so many requests at once on one connection.
    pub(crate) fn limited<F: Future<Output = ()> + Send + 'static>(
        streams: u32,
        script: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Box::new(move |call| Box::pin(script(call))),
            streams,
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: watch::Sender::new(0),
            gate: Arc::default(),
            ends: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let acceptor = runtime().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(socket));
            }
        });
        Self { address, shared, acceptor }
    }

    pub(crate) fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What arrived so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The paths that were asked for so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen().iter().map(|seen| seen.head.uri.path().to_owned()).collect()
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub(crate) fn open_connections(&self) -> usize {
        *self.shared.open.borrow()
    }

    /// Lets every request that waits go on.
    pub(crate) fn release(&self) {
        self.shared.gate.notify_waiters();
    }

    /// Closes every connection without a word.
    pub(crate) fn drop_connections(&self) {
        for end in lock(&self.shared.ends).drain(..) {
            let _over = end.send(Ending::Dropped);
        }
    }
}

impl Drop for H2Backend {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.drop_connections();
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, socket: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        self.open.send_modify(|open| *open += 1);
        let _ended = self.converse(socket, number).await;
        self.open.send_modify(|open| *open -= 1);
    }

    async fn converse(&self, socket: TcpStream, number: usize) -> Result<(), h2::Error> {
        socket.set_nodelay(true).expect("a socket");
        let mut builder = Builder::new();
        let mut connection = builder.max_concurrent_streams(self.streams).handshake(socket).await?;
        let (ending, mut endings) = unbounded_channel();
        lock(&self.ends).push(ending.clone());
        loop {
            tokio::select! {
                next = connection.accept() => {
                    let Some(next) = next else { return Ok(()) };
                    let (request, respond) = next?;
                    self.begin(request, respond, number, &ending);
                }
                Some(ending) = endings.recv() => match ending {
                    Ending::Graceful => connection.graceful_shutdown(),
                    Ending::Abrupt(reason) => connection.abrupt_shutdown(reason),
                    Ending::Dropped => return Ok(()),
                },
            }
        }
    }

    fn begin(
        &self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        connection: usize,
        ending: &UnboundedSender<Ending>,
    ) {
        let (head, body) = request.into_parts();
        let number = {
            let mut seen = lock(&self.seen);
            seen.push(Seen { head: head.clone(), connection });
            seen.len() - 1
        };
        let (ending, gate) = (ending.clone(), Arc::clone(&self.gate));
        tokio::spawn((self.script)(Call { head, number, body, respond, ending, gate }));
    }
}

impl Call {
    /// Answers with `200` and a text.
    pub(crate) fn answer(self, text: &'static str) {
        self.reply(Response::builder()).data(text).end();
    }

    /// Sends the head of a response; a body follows.
    pub(crate) fn reply(mut self, head: http::response::Builder) -> Reply {
        self.begin_reply(head)
    }

    /// The same, and goes on reading the request.
    pub(crate) fn begin_reply(&mut self, head: http::response::Builder) -> Reply {
        Reply(self.respond.send_response(head.body(()).expect("a head"), false).expect("an open stream"))
    }

    /// Sends a response that is nothing but a head.
    pub(crate) fn reply_bare(mut self, head: http::response::Builder) {
        self.respond.send_response(head.body(()).expect("a head"), true).expect("an open stream");
    }

    /// Waits until the test calls [`H2Backend::release`], or the gateway resets the stream.
    pub(crate) async fn wait(&mut self) -> Option<Reason> {
        let gate = Arc::clone(&self.gate);
        tokio::select! {
            () = gate.notified() => None,
            // Not seen once the response has begun.
            Ok(reset) = std::future::poll_fn(|cx| self.respond.poll_reset(cx)) => Some(reset),
        }
    }

    /// The next piece of the request's body; none at its end or if it breaks off.
    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        let piece = self.body.data().await?.ok()?;
        let _open = self.body.flow_control().release_capacity(piece.len());
        Some(piece)
    }

    /// The rest of the request's body, and its trailers.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, HeaderMap) {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await {
            body.extend_from_slice(&piece);
        }
        (body, self.body.trailers().await.ok().flatten().unwrap_or_default())
    }

    /// Resets the stream.
    pub(crate) fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Says that the connection takes no more requests; those under way go on.
    pub(crate) fn say_goodbye(&self) {
        let _over = self.ending.send(Ending::Graceful);
    }

    /// Breaks the connection off with a GOAWAY.
    pub(crate) fn break_off(&self, reason: Reason) {
        let _over = self.ending.send(Ending::Abrupt(reason));
    }

    /// Closes the connection without a word.
    pub(crate) fn hang_up(&self) {
        let _over = self.ending.send(Ending::Dropped);
    }
}

impl Reply {
    /// Sends a piece of the body.
    pub(crate) fn data(mut self, piece: impl Into<Bytes>) -> Self {
        self.send(piece);
        self
    }

    /// The same, where the gateway may have reset the stream.
    pub(crate) fn send(&mut self, piece: impl Into<Bytes>) -> bool {
        self.0.send_data(piece.into(), false).is_ok()
    }

    /// Ends the body.
    pub(crate) fn end(mut self) {
        let _reset = self.0.send_data(Bytes::new(), true);
    }

    /// Ends with trailers.
    pub(crate) fn trailers(mut self, lines: &[(&'static str, &'static str)]) {
        let pairs = lines.iter().map(|(name, value)| {
            (name.parse::<http::HeaderName>().expect("a name"), value.parse().expect("a value"))
        });
        let _reset = self.0.send_trailers(pairs.collect());
    }

    /// Breaks the response off.
    pub(crate) fn reset(mut self, reason: Reason) {
        self.0.send_reset(reason);
    }

    /// Waits until the gateway resets the stream.
    pub(crate) async fn is_reset(&mut self) -> Option<Reason> {
        std::future::poll_fn(|cx| self.0.poll_reset(cx)).await.ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
