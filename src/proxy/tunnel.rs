//! Bytes both ways between a client and a backend that has switched protocols.
//!
//! The sockets are opened and closed by others. A tunnel may idle for as long as it likes, but when one
//! side has ended the other cannot keep it open for long. Its owner can stop it: from then on nothing
//! passes but the end of the frame that the client is just receiving, and the client is told why by a
//! close frame. Invariant: nothing of ours ever stands inside a frame of the backend's.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::timeout;

use super::stall::StallTimer;
use super::websocket::{CloseCode, Frames, Place, Sender, close_frame};

/// One side of a tunnel, with what was read from it too early.
#[derive(Debug)]
pub struct Side<IO> {
    /// The connection.
    pub io: IO,
    /// The bytes that come before all that is still to be read.
    pub read_ahead: Bytes,
}

/// Copies both ways until both sides have ended, or one has and the other does not follow, or until
/// `stop` is ready.
///
/// The end of one side is passed on to the other. `said` grows with the bytes of the client's messages;
/// the pongs that a browser sends by itself are not among them. The backend's connection is closed when this returns, the client's is its owner's to close.
pub async fn tunnel<C, B>(
    client: Side<&mut C>,
    backend: Side<B>,
    said: &Cell<u64>,
    stop: impl Future<Output = ()>,
) -> Tunnelled
where
    C: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (valve, received) = (Valve::new(), Cell::new(0));
    let mut client = End::new(client, Role::Client, &valve, said);
    let ended = {
        let mut backend = End::new(backend, Role::Backend, &valve, &received);
        let copy = copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER);
        copy_until(copy, stop, &valve).await
    };
    let ended = match ended {
        Ended::Copied(result) => result,
        Ended::Stopped => {
            take_leave(client.io, valve.given.get().place()).await;
            Ok(())
        }
    };
    Tunnelled { received: received.get(), ended }
}

/// What passed through a tunnel.
#[derive(Debug)]
pub struct Tunnelled {
    /// Bytes from the backend.
    pub received: u64,
    /// Whether both connections ended in order.
    pub ended: io::Result<()>,
}

enum Ended {
    Copied(io::Result<()>),
    Stopped,
}

async fn copy_until(
    copy: impl Future<Output = io::Result<(u64, u64)>>,
    stop: impl Future<Output = ()>,
    valve: &Valve,
) -> Ended {
    let (mut copy, mut stop) = (pin!(copy), pin!(stop));
    let (mut last_words, mut last_frame) = (StallTimer::default(), StallTimer::default());
    poll_fn(|cx| {
        if !valve.is_shut.get() && stop.as_mut().poll(cx).is_ready() {
            valve.is_shut.set(true);
        }
        let copied = copy.as_mut().poll(cx);
        if valve.is_shut.get() {
            let is_inside = valve.given.get().place() == Place::Inside;
            if is_inside && copied.is_pending() {
                ready!(last_frame.poll(cx, LAST_FRAME));
            }
            return Poll::Ready(Ended::Stopped);
        }
        match copied {
            Poll::Ready(result) => Poll::Ready(Ended::Copied(result.map(drop))),
            Poll::Pending if valve.one_has_ended.get() => {
                last_words.poll(cx, LAST_WORDS).map(|()| Ended::Copied(Ok(())))
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Tells the client why the tunnel ends, where that can be said.
async fn take_leave<C: AsyncWrite + Unpin + ?Sized>(client: &mut C, place: Place) {
    if place != Place::Border {
        return;
    }
    let farewell = async {
        client.write_all(&close_frame(SESSION_ENDED, SESSION_ENDED_REASON)).await?;
        client.flush().await
    };
    // A client that does not take it is left without.
    let _gone = timeout(LAST_FRAME, farewell).await;
}

/// What both ends of a tunnel know.
struct Valve {
    /// The tunnel was stopped.
    is_shut: Cell<bool>,
    one_has_ended: Cell<bool>,
    /// What the client has been given of the backend's frames.
    given: Cell<Frames>,
    /// What the client has sent of its own.
    taken: Cell<Frames>,
}

impl Valve {
    const fn new() -> Self {
        Self {
            is_shut: Cell::new(false),
            one_has_ended: Cell::new(false),
            given: Cell::new(Frames::of(Sender::Server)),
            taken: Cell::new(Frames::of(Sender::Client)),
        }
    }

    /// How many of these bytes the client may still get.
    fn admitted(&self, data: &[u8]) -> usize {
        if self.is_shut.get() { self.given.get().rest_of_frame(data) } else { data.len() }
    }
}

/// Follows the next bytes; answers how many are of messages.
fn advance(frames: &Cell<Frames>, bytes: &[u8]) -> usize {
    let mut following = frames.get();
    let said = following.advance(bytes);
    frames.set(following);
    said
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Backend,
}

/// One end of a tunnel: gives first what was read too early, counts, and heeds the valve.
struct End<'a, IO> {
    io: IO,
    ahead: Bytes,
    role: Role,
    valve: &'a Valve,
    count: &'a Cell<u64>,
}

impl<'a, IO> End<'a, IO> {
    fn new(side: Side<IO>, role: Role, valve: &'a Valve, count: &'a Cell<u64>) -> Self {
        Self { io: side.io, ahead: side.read_ahead, role, valve, count }
    }

    /// Notes what was read; nothing is the end.
    fn note(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.valve.one_has_ended.set(true);
        }
        let counted = match self.role {
            Role::Client => advance(&self.valve.taken, bytes),
            Role::Backend => bytes.len(),
        };
        self.count.set(self.count.get().saturating_add(u64::try_from(counted).unwrap_or(u64::MAX)));
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for End<'_, IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.role == Role::Client && self.valve.is_shut.get() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if self.ahead.has_remaining() {
            let size = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(size));
        } else {
            ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        }
        self.note(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for End<'_, IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.role == Role::Backend {
            if self.valve.is_shut.get() {
                return Poll::Pending;
            }
            return Pin::new(&mut self.io).poll_write(cx, data);
        }
        let data = data.get(..self.valve.admitted(data)).unwrap_or_default();
        if data.is_empty() {
            return Poll::Pending;
        }
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, data))?;
        advance(&self.valve.given, data.get(..written).unwrap_or(data));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.valve.is_shut.get() {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Bytes that a tunnel holds for each direction.
const BUFFER: usize = 16 * 1024;

/// How long one side may go on after the other has ended.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How long the frame under way may take to its end once the tunnel is stopped, and the close frame
/// after it.
const LAST_FRAME: Duration = Duration::from_millis(200);

/// A private code (RFC 6455 section 7.4.2) that reads like the status 401.
const SESSION_ENDED: CloseCode = CloseCode(4401);

const SESSION_ENDED_REASON: &str = "session ended";

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::runtime::Builder;
    use tokio::sync::oneshot;

    use super::*;

    fn side<IO>(io: IO, read_ahead: &'static str) -> Side<IO> {
        Side { io, read_ahead: Bytes::from(read_ahead) }
    }

    #[test]
    fn what_was_read_too_early_comes_first_and_ends_are_passed_on() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ((mut browser, mut client), (mut app, backend)) = (duplex(64), duplex(64));
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
            let said = Cell::new(0);
            let tunnel = tunnel(side(&mut client, "early"), side(backend, "hello"), &said, pending());
            let (counts, (heard, seen)) = tokio::join!(tunnel, people);
            assert_eq!((heard.as_str(), seen.as_str()), ("early-late", "hello-answer"));
            assert_eq!((said.get(), counts.received), (10, 12));
        });
    }

    #[test]
    fn a_side_that_does_not_follow_cannot_keep_the_tunnel() {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let ((browser, mut client), (_app, backend)) = (duplex(64), duplex(64));
            drop(browser);
            let said = Cell::new(0);
            let passed = tunnel(side(&mut client, ""), side(backend, ""), &said, pending()).await;
            assert_eq!((said.get(), passed.received), (0, 0));
        });
    }

    /// Runs a tunnel that is stopped once the browser has got `first`, while the backend then sends
    /// `rest`; everything the browser got.
    fn got(first: &'static [u8], rest: &'static [u8]) -> Vec<u8> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let ((mut browser, mut client), (mut app, backend)) = (duplex(1024), duplex(1024));
            let (stop, stopped) = oneshot::channel::<()>();
            let people = async {
                app.write_all(first).await.unwrap();
                let mut seen = vec![0; first.len()];
                browser.read_exact(&mut seen).await.unwrap();
                stop.send(()).unwrap();
                app.write_all(rest).await.unwrap();
                browser.write_all(b"too late").await.unwrap();
                heard_nothing(&mut app).await;
                (seen, browser)
            };
            let said = Cell::new(0);
            let stop = async { stopped.await.unwrap() };
            let tunnel = tunnel(side(&mut client, ""), side(backend, ""), &said, stop);
            let (_, (mut seen, mut browser)) = tokio::join!(tunnel, people);
            drop(client);
            browser.read_to_end(&mut seen).await.unwrap();
            seen
        })
    }

    /// Waits for the end of the backend's connection.
    async fn heard_nothing(app: &mut DuplexStream) {
        let mut heard = Vec::new();
        let _broken = app.read_to_end(&mut heard).await;
        assert!(heard.is_empty());
    }

    #[test]
    fn a_stopped_tunnel_says_why_at_a_border() {
        assert_eq!(got(b"\x81\x02hi", b""), b"\x81\x02hi\x88\x0f\x11\x31session ended");
        assert_eq!(got(b"", b""), b"\x88\x0f\x11\x31session ended");
    }

    #[test]
    fn a_stopped_tunnel_lets_the_frame_under_way_end_and_nothing_follow() {
        assert_eq!(got(b"\x81\x05he", b"llo\x81\x04more"), b"\x81\x05hello\x88\x0f\x11\x31session ended");
    }

    #[test]
    fn a_frame_that_does_not_end_is_followed_by_nothing() {
        assert_eq!(got(b"\x81\x05he", b"ll"), b"\x81\x05hell");
    }

    #[test]
    fn what_is_no_websocket_is_followed_by_nothing() {
        assert_eq!(got(b"SSH-2.0", b"more"), b"SSH-2.0");
    }
}
