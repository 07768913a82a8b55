//! A backend that records exactly the bytes that reached it and answers whatever a test wants.
//!
//! One thread a connection, blocking sockets. A test gives it a closure; without one it says hello.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::PATIENCE;

/// A recording backend on a free port.
pub(crate) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    requests: Mutex<Receiver<Received>>,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Request line and header lines, without the empty line.
    pub(crate) head: String,
    /// The body with its chunk framing removed.
    pub(crate) body: Vec<u8>,
    /// The lines after the last chunk.
    pub(crate) trailers: String,
    /// Every byte of the request.
    pub(crate) bytes: Vec<u8>,
}

/// What the backend does with the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    KeepAlive,
    Close,
}

/// The other end of one exchange, for a test's closure.
pub(crate) struct Peer<'a> {
    /// What was asked.
    pub(crate) request: Received,
    /// How many requests came before this one, on all connections.
    pub(crate) number: usize,
    /// How many connections came before its own.
    pub(crate) connection: usize,
    stream: &'a mut TcpStream,
    gate: &'a Gate,
}

type Answer = dyn Fn(&mut Peer<'_>) -> After + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    reading: Reading,
    sender: Mutex<Sender<Received>>,
    gate: Gate,
    requests: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    is_over: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

/// Whether the body is read before the closure answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Whole,
    HeadOnly,
}

/// Lets answers wait for the test.
#[derive(Default)]
struct Gate {
    passes: Mutex<usize>,
    changed: Condvar,
}

impl Backend {
    /// Answers everything with `200` and `hello`.
    pub(crate) fn start() -> Self {
        Self::answering(HELLO)
    }

    /// Answers everything with these bytes, on a kept-alive connection.
    pub(crate) fn answering(bytes: &'static str) -> Self {
        Self::with(move |peer| {
            peer.write(bytes);
            After::KeepAlive
        })
    }

    /// Answers everything with these bytes and closes.
    pub(crate) fn closing_after(bytes: &'static str) -> Self {
        Self::with(move |peer| {
            peer.write(bytes);
            After::Close
        })
    }

    /// Reads every request and never answers.
    pub(crate) fn silent() -> Self {
        Self::with(|peer| {
            peer.wait();
            After::Close
        })
    }

    /// Answers as the test says, once the whole request is there.
    pub(crate) fn with(answer: impl Fn(&mut Peer<'_>) -> After + Send + Sync + 'static) -> Self {
        Self::new(Reading::Whole, Box::new(answer))
    }

    /// Answers as the test says, once the head is there.
    pub(crate) fn with_head(answer: impl Fn(&mut Peer<'_>) -> After + Send + Sync + 'static) -> Self {
        Self::new(Reading::HeadOnly, Box::new(answer))
    }

    /// Takes a WebSocket upgrade and sends back every byte.
    pub(crate) fn echoing_tunnel() -> Self {
        Self::with_head(|peer| {
            peer.write(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            );
            while let Some(bytes) = peer.read_some() {
                peer.write(bytes);
            }
            After::Close
        })
    }

    fn new(reading: Reading, answer: Box<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, receiver) = channel();
        let shared = Arc::new(Shared {
            answer,
            reading,
            sender: Mutex::new(sender),
            gate: Gate::default(),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            sockets: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Self { address, shared, requests: Mutex::new(receiver) }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The next request that arrived.
    #[track_caller]
    pub(crate) fn received(&self) -> Received {
        lock(&self.requests).recv_timeout(PATIENCE).expect("a request at the backend")
    }

    /// Everything that arrived beyond what was taken by [`Self::received`].
    pub(crate) fn all_received(&self) -> Vec<Received> {
        lock(&self.requests).try_iter().collect()
    }

    /// What arrived next, if anything did so far.
    pub(crate) fn next_received(&self) -> Option<Received> {
        lock(&self.requests).try_recv().ok()
    }

    /// Whether nothing has arrived beyond what was taken by [`Self::received`].
    pub(crate) fn saw_nothing(&self) -> bool {
        lock(&self.requests).try_recv().is_err()
    }

    /// How many requests arrived.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Lets one answer that waits go on.
    pub(crate) fn release(&self) {
        self.shared.gate.open(1);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.gate.open(usize::MAX / 2);
        for socket in lock(&self.shared.sockets).iter() {
            let _closed = socket.shutdown(Shutdown::Both);
        }
        let _woken = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            lock(&self.sockets).push(stream.try_clone().expect("a socket"));
            let connection = self.connections.fetch_add(1, Ordering::SeqCst);
            self.open.fetch_add(1, Ordering::SeqCst);
            let shared = Arc::clone(self);
            thread::spawn(move || {
                shared.serve(stream, connection);
                shared.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    fn serve(&self, mut stream: TcpStream, connection: usize) {
        let _best_effort = stream.set_nodelay(true);
        while let Some(request) = read_request(&mut stream, self.reading) {
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            let _test_is_over = lock(&self.sender).send(request.clone());
            let mut peer = Peer { request, number, connection, stream: &mut stream, gate: &self.gate };
            match (self.answer)(&mut peer) {
                After::KeepAlive => {}
                After::Close => break,
            }
        }
        let _closed = stream.shutdown(Shutdown::Both);
    }
}

impl Peer<'_> {
    /// Sends bytes; the gateway may have closed.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Waits until the test calls [`Backend::release`].
    pub(crate) fn wait(&self) {
        self.gate.pass();
    }

    /// Reads what comes next; none when the gateway closes.
    pub(crate) fn read_some(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                buffer.truncate(count);
                Some(buffer)
            }
        }
    }

    /// Says that the answer ends here, and goes on reading.
    pub(crate) fn finish_writing(&self) {
        let _closed = self.stream.shutdown(Shutdown::Write);
    }
}

impl Received {
    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// The request target.
    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a header, in the order of its lines, with that name in any case.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The header's only value, or nothing.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let values = self.values(name);
        assert!(values.len() < 2, "{name} stands {} times in {}", values.len(), self.head);
        values.first().copied().unwrap_or_default()
    }

    /// The values of every header that a CGI or WSGI server takes for `name`.
    pub(crate) fn folded(&self, name: &str) -> Vec<&str> {
        let fold = |name: &str| name.to_ascii_lowercase().replace('_', "-");
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.filter(|(key, _)| fold(key) == fold(name)).map(|(_, value)| value.trim()).collect()
    }
}

impl Gate {
    fn open(&self, passes: usize) {
        let mut open = lock(&self.passes);
        *open = open.saturating_add(passes);
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut passes = lock(&self.passes);
        while *passes == 0 {
            passes = self.changed.wait(passes).unwrap_or_else(PoisonError::into_inner);
        }
        *passes -= 1;
    }
}

fn read_request(stream: &mut TcpStream, reading: Reading) -> Option<Received> {
    let mut bytes = Vec::new();
    let head = read_past(stream, &mut bytes, b"\r\n\r\n")?;
    let head_text = String::from_utf8_lossy(&bytes[..head - 4]).into_owned();
    let mut request =
        Received { head: head_text, body: Vec::new(), trailers: String::new(), bytes: Vec::new() };
    if reading == Reading::Whole {
        if request.header("transfer-encoding").contains("chunked") {
            read_chunks(stream, &mut bytes, &mut request)?;
        } else {
            let length: usize = request.header("content-length").parse().unwrap_or(0);
            read_at_least(stream, &mut bytes, head + length)?;
            request.body = bytes[head..].to_vec();
        }
    }
    request.bytes = bytes;
    Some(request)
}

fn read_chunks(stream: &mut TcpStream, bytes: &mut Vec<u8>, request: &mut Received) -> Option<()> {
    loop {
        let start = bytes.len();
        let end = read_past(stream, bytes, b"\r\n")?;
        let size = String::from_utf8_lossy(&bytes[start..end]).trim().to_owned();
        let size = usize::from_str_radix(&size, 16).expect("a chunk size from the gateway");
        if size == 0 {
            return read_trailers(stream, bytes, request);
        }
        read_at_least(stream, bytes, end + size + 2)?;
        request.body.extend_from_slice(&bytes[end..end + size]);
    }
}

fn read_trailers(stream: &mut TcpStream, bytes: &mut Vec<u8>, request: &mut Received) -> Option<()> {
    loop {
        let start = bytes.len();
        let end = read_past(stream, bytes, b"\r\n")?;
        if end - start == 2 {
            return Some(());
        }
        request.trailers.push_str(&String::from_utf8_lossy(&bytes[start..end]));
    }
}

/// Reads byte by byte up to the end of `mark`, so that nothing of what follows is taken.
fn read_past(stream: &mut TcpStream, bytes: &mut Vec<u8>, mark: &[u8]) -> Option<usize> {
    let start = bytes.len();
    let mut byte = [0];
    while !bytes[start..].ends_with(mark) {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return None,
        }
    }
    Some(bytes.len())
}

fn read_at_least(stream: &mut TcpStream, bytes: &mut Vec<u8>, length: usize) -> Option<()> {
    let start = bytes.len();
    bytes.resize(length.max(start), 0);
    stream.read_exact(&mut bytes[start..]).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer of a backend that nothing else was said of.
pub(crate) const HELLO: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
