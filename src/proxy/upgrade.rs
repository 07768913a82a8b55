//! Switching a request to the WebSocket protocol, and the tunnel that follows.
//!
//! Leaves the client's side of the socket to the server room. Invariants: a connection becomes raw
//! only after the backend's 101 to a complete request for exactly that; a tunnel may idle, but when
//! one side has ended the other cannot keep it open.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use super::connection::Socket;
use super::headers::{names_websocket, strip_hop_by_hop};
use super::pool::Lease;
use super::stall::StallTimer;
use super::upstream::Load;
use super::{ForwardError, ResponseFault};

/// The backend switched protocols: its answer, and its side of the tunnel.
#[derive(Debug)]
pub struct Upgraded {
    /// The 101 for the client.
    pub response: Response<()>,
    /// The backend's raw connection.
    pub backend: Backend,
    /// What the backend sent behind its answer.
    pub read_ahead: Bytes,
}

/// A raw connection to a backend; counts as one of the upstream's connections while it lives.
pub struct Backend {
    socket: Socket,
    _load: Load,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl AsyncRead for Backend {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Backend {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Copies both ways until both sides have ended, or one has and the other does not follow.
///
/// The end of one side is passed on to the other.
pub async fn tunnel<C, B>(
    client: C,
    client_read_ahead: Bytes,
    backend: B,
    backend_read_ahead: Bytes,
) -> Tunnelled
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (sent, received) = (Meter::default(), Meter::default());
    let mut client = End { io: client, ahead: client_read_ahead, meter: &sent };
    let mut backend = End { io: backend, ahead: backend_read_ahead, meter: &received };
    let mut copy = pin!(copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER));
    let mut timer = StallTimer::default();
    let ended = poll_fn(|cx| match copy.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result.map(drop)),
        Poll::Pending if sent.ended.get() || received.ended.get() => timer.poll(cx, LAST_WORDS).map(Ok),
        Poll::Pending => Poll::Pending,
    })
    .await;
    Tunnelled { sent: sent.bytes.get(), received: received.bytes.get(), ended }
}

/// What passed through a tunnel.
#[derive(Debug)]
pub struct Tunnelled {
    /// Bytes from the client.
    pub sent: u64,
    /// Bytes from the backend.
    pub received: u64,
    /// Whether both connections ended in order.
    pub ended: io::Result<()>,
}

/// Whether a request switches protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    No,
    WebSocket,
}

impl Switch {
    /// What the client asks for, under the rules that leave no doubt (RFC 9110 7.8).
    ///
    /// SECURITY: anything less than a GET of HTTP/1.1 without a body, naming exactly `websocket`, is an
    /// ordinary request; reading on past its end as raw bytes would smuggle requests.
    pub(super) fn asked<B: Body>(request: &Request<B>) -> Self {
        let plain = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && request.body().is_end_stream();
        if plain && names_websocket(request.headers()) { Self::WebSocket } else { Self::No }
    }
}

/// Takes over the backend's socket after its 101.
pub(super) async fn take_over(
    mut response: Response<Incoming>,
    lease: Lease,
) -> Result<Upgraded, ForwardError> {
    if !names_websocket(response.headers()) {
        return Err(ResponseFault::Switched.into());
    }
    let upgraded = hyper::upgrade::on(&mut response).await.map_err(ResponseFault::Broken)?;
    let parts = upgraded.downcast::<TokioIo<Socket>>().map_err(|_| ResponseFault::Switched)?;
    let mut response = response.map(drop);
    strip_hop_by_hop(response.headers_mut());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    let backend = Backend { socket: parts.io.into_inner(), _load: lease.into_load() };
    Ok(Upgraded { response, backend, read_ahead: parts.read_buf })
}

/// One end of a tunnel: gives first what was read too early, and counts.
struct End<'a, IO> {
    io: IO,
    ahead: Bytes,
    meter: &'a Meter,
}

#[derive(Default)]
struct Meter {
    bytes: Cell<u64>,
    ended: Cell<bool>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for End<'_, IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.ahead.has_remaining() {
            let size = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(size));
        } else {
            std::task::ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        }
        let read = buffer.filled().len().saturating_sub(before);
        self.meter.ended.set(read == 0);
        self.meter.bytes.set(self.meter.bytes.get() + u64::try_from(read).unwrap_or(0));
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for End<'_, IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Bytes that a tunnel holds for each direction.
const BUFFER: usize = 16 * 1024;

/// How long one side may go on after the other has ended.
const LAST_WORDS: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::runtime::Builder;

    use super::*;

    fn request(method: Method, version: Version, upgrade: &'static str) -> Request<Empty<Bytes>> {
        let request = Request::builder().method(method).version(version);
        request.header(CONNECTION, "Upgrade").header(UPGRADE, upgrade).body(Empty::new()).unwrap()
    }

    #[test]
    fn only_a_bodyless_get_of_http_1_1_may_switch() {
        let ask = |method, version| Switch::asked(&request(method, version, "websocket"));
        assert_eq!(ask(Method::GET, Version::HTTP_11), Switch::WebSocket);
        assert_eq!(ask(Method::POST, Version::HTTP_11), Switch::No);
        assert_eq!(ask(Method::GET, Version::HTTP_10), Switch::No);
        assert_eq!(ask(Method::GET, Version::HTTP_2), Switch::No);
        assert_eq!(Switch::asked(&request(Method::GET, Version::HTTP_11, "h2c")), Switch::No);
        let with_body =
            request(Method::GET, Version::HTTP_11, "websocket").map(|_| Full::<Bytes>::from("body"));
        assert_eq!(Switch::asked(&with_body), Switch::No);
    }

    #[test]
    fn what_was_read_too_early_comes_first_and_ends_are_passed_on() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ((mut browser, client), (mut app, backend)) = (duplex(64), duplex(64));
            let people = async {
                browser.write_all(b"-late").await.unwrap();
                browser.shutdown().await.unwrap();
                let (mut heard, mut seen) = (String::new(), String::new());
                app.read_to_string(&mut heard).await.unwrap();
                app.write_all(b"-answer").await.unwrap();
                drop(app);
                browser.read_to_string(&mut seen).await.unwrap();
                (heard, seen)
            };
            let tunnel = tunnel(client, Bytes::from("early"), backend, Bytes::from("hello"));
            let (counts, (heard, seen)) = tokio::join!(tunnel, people);
            assert_eq!((heard.as_str(), seen.as_str()), ("early-late", "hello-answer"));
            assert_eq!((counts.sent, counts.received), (10, 12));
        });
    }

    #[test]
    fn a_side_that_does_not_follow_cannot_keep_the_tunnel() {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let ((browser, client), (_app, backend)) = (duplex(64), duplex(64));
            drop(browser);
            let passed = tunnel(client, Bytes::new(), backend, Bytes::new()).await;
            assert_eq!((passed.sent, passed.received), (0, 0));
        });
    }
}
