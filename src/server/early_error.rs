//! Our answers to request heads that hyper refuses by itself.
//!
//! hyper answers an unreadable head with a bare `HTTP/1.1 400 Bad Request`, without security headers.
//! [`Guarded`] stands between hyper and the connection and holds that answer back; hyper then ends with
//! a parse error, and [`Guarded::refusal`] says which answer of ours is to be sent in its place.
//!
//! What hyper would repair in silence, [`Scanner`] finds first. The byte that shows the flaw becomes a
//! NUL, at which hyper refuses the head as it refuses any other, in its turn behind the responses that
//! are still due; of what the client sent behind that byte, hyper sees nothing.
//!
//! What is held back is never a response of a handler: [`Progress`] knows while bytes of one are on
//! their way, and these pass whatever they look like. (So does hyper's answer, in the one case that it
//! is written together with the end of a response: the client gets it without our headers.)
//!
//! Invariants: no byte of a response is lost, doubled or reordered; no request with a flaw reaches a
//! handler; a tunnel gets every byte that the client sent ahead of it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::phase::Progress;
use super::refusal::Refusal;
use super::scanner::Scanner;

/// What is answered to requests that do not reach the request path.
#[derive(Clone, Debug)]
pub struct EarlyErrors {
    /// On the https listeners.
    pub secure: Refusals,
    /// On the clear-text listeners, where `Strict-Transport-Security` must not stand (RFC 6797 section 7.2).
    pub clear: Refusals,
    /// The headers of a redirect from the clear-text listeners.
    pub redirect: HeaderMap,
}

/// Whole HTTP/1.1 responses for requests that never became one, with `Connection: close`.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// 400: the head is malformed.
    pub bad_request: Bytes,
    /// 408: the head did not become complete in time.
    pub timeout: Bytes,
    /// 414: the target is too long.
    pub uri_too_long: Bytes,
    /// 431: the head is too large.
    pub header_too_large: Bytes,
}

impl Refusals {
    /// The answer to what was refused; none where the connection is closed instead.
    pub(super) const fn answer(&self, refusal: Refusal) -> Option<&Bytes> {
        match refusal {
            Refusal::Malformed => Some(&self.bad_request),
            Refusal::Late => Some(&self.timeout),
            Refusal::UriTooLong => Some(&self.uri_too_long),
            Refusal::HeaderTooLarge => Some(&self.header_too_large),
            Refusal::BrokenHttp2 | Refusal::TooManyConnections | Refusal::NoProxyHeader => None,
        }
    }
}

/// A connection that holds back the one answer that hyper writes of its own accord, and the requests
/// that hyper should have answered so.
pub(super) struct Guarded<S> {
    io: S,
    progress: Rc<Progress>,
    held: Vec<u8>,
    scanner: Scanner,
    spoilt: Option<Box<Spoilt>>,
}

/// What became of the bytes of a client that sent a flaw.
struct Spoilt {
    /// What hyper is still to read: the end of the head that it must refuse.
    end: &'static [u8],
    /// What stood where the NUL is now.
    byte: u8,
    /// What came with it in the same read.
    rest: Vec<u8>,
}

impl<S> Guarded<S> {
    pub(super) const fn new(io: S, progress: Rc<Progress>) -> Self {
        Self { io, progress, held: Vec::new(), scanner: Scanner::new(), spoilt: None }
    }

    /// The connection itself, once hyper is done with it.
    pub(super) fn into_inner(self) -> S {
        self.io
    }

    /// What is to be answered in place of hyper's own words to `head`, of which it reads `limit` bytes;
    /// none if hyper did not answer.
    pub(super) fn refusal(&self, head: &[u8], limit: usize) -> Option<Refusal> {
        let Some(status) = self.held.get(STATUS) else {
            // To HTTP/2 that was not agreed upon hyper says nothing at all.
            return head.starts_with(b"PRI * HTTP/2").then_some(Refusal::Malformed);
        };
        Some(match status {
            b"414" => Refusal::UriTooLong,
            // hyper measures the head as a whole; here not even its first line fits.
            b"431" if !head.iter().take(limit).any(|&byte| byte == b'\n') => Refusal::UriTooLong,
            b"431" => Refusal::HeaderTooLarge,
            _ => Refusal::Malformed,
        })
    }

    /// What the client sent ahead, of what hyper has `read` and not used.
    ///
    /// Behind a request to switch protocols no head needs to follow, and what looks like a flaw is none.
    pub(super) fn read_ahead(&self, read: Bytes) -> Bytes {
        let Some(spoilt) = &self.spoilt else { return read };
        let told = END_OF_HEAD.len() - spoilt.end.len();
        let intact = read.len().saturating_sub(told + 1);
        [read.get(..intact).unwrap_or_default(), &[spoilt.byte], &spoilt.rest].concat().into()
    }

    /// Lets the scanner see what is new in `buffer` behind `known` bytes, and cuts it at a flaw.
    fn examine(&mut self, buffer: &mut ReadBuf<'_>, known: usize) {
        let new = buffer.filled_mut().get_mut(known..).unwrap_or_default();
        let Err((at, flaw)) = self.scanner.scan(new) else { return };
        let Some((byte, rest)) = new.get_mut(at..).and_then(<[u8]>::split_first_mut) else { return };
        tracing::debug!(%flaw, "request refused");
        let rest = rest.to_vec();
        let byte = std::mem::take(byte);
        buffer.set_filled(known + at + 1);
        self.spoilt = Some(Box::new(Spoilt { end: END_OF_HEAD, byte, rest }));
    }

    /// Keeps `data` if it is hyper's own answer.
    fn hold_back(&mut self, data: &[u8]) -> bool {
        let hold = !self.progress.is_answering() && is_refusal(data);
        if hold {
            self.held.extend_from_slice(data);
        }
        hold
    }
}

impl Spoilt {
    /// Ends the head: hyper waits for that before it looks for what is wrong. Then, the connection.
    fn tell(&mut self, buffer: &mut ReadBuf<'_>) {
        let (now, later) = self.end.split_at(self.end.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.end = later;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(spoilt) = &mut self.spoilt {
            spoilt.tell(buffer);
            return Poll::Ready(Ok(()));
        }
        let known = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.examine(buffer, known);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.hold_back(data) {
            return Poll::Ready(Ok(data.len()));
        }
        Pin::new(&mut self.io).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // An answer of hyper's own is a head alone, which is always in one piece.
        if let [head] = data
            && self.hold_back(head)
        {
            return Poll::Ready(Ok(head.len()));
        }
        Pin::new(&mut self.io).poll_write_vectored(context, data)
    }

    // Without it, hyper would copy every body into a buffer that stays as large as the largest.
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes only when it has written all it had.
        self.progress.answer_is_written();
        Pin::new(&mut self.io).poll_flush(context)
    }

    /// Flushes only: the connection is still needed, for our last words or for a tunnel.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }
}

/// Whether `data` is how hyper refuses a head: a status from 400 to 499 and hardly any headers.
fn is_refusal(data: &[u8]) -> bool {
    data.len() <= LONGEST_REFUSAL
        && (data.starts_with(b"HTTP/1.1 4") || data.starts_with(b"HTTP/1.0 4"))
        && data.ends_with(b"\r\n\r\n")
}

/// By which hyper knows that a head is complete.
const END_OF_HEAD: &[u8] = b"\n\n";

/// Where a response has its status.
const STATUS: std::ops::Range<usize> = 9..12;

/// hyper's own answers have a status line, `connection`, `content-length` and `date`.
const LONGEST_REFUSAL: usize = 160;
