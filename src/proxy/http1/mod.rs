//! An HTTP/1.1 connection to a backend (RFC 9112), one exchange after the other.
//!
//! It has no task of its own: whoever waits for the answer, and then for its body, drives both directions.
//! Leaves timeouts, retries and the pool to [`super::exchange`] and [`super::pool`]. Invariants: an answer
//! whose end is in doubt is an error, never an end; a connection takes another request only after a whole
//! request and a whole answer, and if nothing came that nobody asked for.

mod content;
mod incoming;
mod outgoing;
mod response;
mod section;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::coop::unconstrained;

use self::content::Content;
use self::incoming::Incoming;
use self::outgoing::{Interrupted, Outgoing};
use self::section::SectionReader;
use super::ResponseFault;
use super::connection::Socket;
use super::headers::{self, Framing};
use super::upload::RequestBody;

/// An open connection.
pub(super) struct Connection {
    socket: Socket,
    outgoing: Outgoing,
    incoming: Incoming,
    head: SectionReader,
    content: Content,
    is_answer_due: bool,
    /// The answer to a HEAD has no content, whatever it says of it.
    is_head: bool,
    /// Why the backend does not take the request.
    unwritable: Option<io::Error>,
    is_spent: bool,
}

impl Connection {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            head: SectionReader::default(),
            content: Content::NONE,
            is_answer_due: false,
            is_head: false,
            unwritable: None,
            is_spent: false,
        }
    }

    /// Begins an exchange; nothing is sent before [`Self::poll_answer`]. The body is taken from the request.
    pub(super) fn begin(&mut self, request: &mut Request<RequestBody>) {
        self.is_answer_due = true;
        self.is_head = *request.method() == Method::HEAD;
        self.outgoing.begin(request);
    }

    /// Sends the request, as far as that goes, and reads the head of the answer.
    ///
    /// A backend that takes no more of the request may have answered all the same.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, ResponseFault>> {
        self.go_on_sending(cx)?;
        loop {
            if let Some(head) = self.head.take_from(&mut self.incoming.bytes)? {
                let response = response::parse(&head)?;
                if !is_interim(response.status()) {
                    return Poll::Ready(self.begin_content(&response).map(|()| response));
                }
                // However many of them come, the time for an answer passes.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match ready!(self.incoming.poll_fill(cx, &mut self.socket)) {
                Ok(0) => return Poll::Ready(Err(self.broken(None).into())),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.broken(Some(error)).into())),
            }
        }
    }

    /// The next part of the answer's content; goes on sending what is left of the request.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.go_on_sending(cx)?;
        loop {
            let frame = self.content.take_from(&mut self.incoming.bytes)?;
            if self.content.is_complete() {
                self.incoming.settle();
                return Poll::Ready(frame.map(Ok));
            }
            if let Some(frame) = frame {
                return Poll::Ready(Some(Ok(frame)));
            }
            match ready!(self.incoming.poll_fill(cx, &mut self.socket)) {
                Ok(0) if self.content.ends_with_the_connection() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(self.broken(None)))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(self.broken(Some(error))))),
            }
        }
    }

    /// Whether the answer is read to its end.
    pub(super) const fn is_answered(&self) -> bool {
        !self.is_answer_due && self.content.is_complete()
    }

    /// How much of the answer's content is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }

    /// Whether nothing of the request under way was sent.
    pub(super) const fn is_untouched(&self) -> bool {
        self.outgoing.is_untouched()
    }

    /// Whether it can take a request now. Asks the kernel only if it has told that something came.
    pub(super) fn is_ready(&mut self) -> bool {
        self.outgoing.is_sent() && !self.is_spent && self.is_quiet(&mut Context::from_waker(Waker::noop()))
    }

    /// Whether a part of the request is still to be sent.
    pub(super) const fn is_sending(&self) -> bool {
        !self.outgoing.is_sent()
    }

    /// Sends the rest of a request that was answered early; whether it can take another one then.
    pub(super) async fn finish(&mut self) -> bool {
        poll_fn(|cx| {
            if !self.is_quiet(cx) || self.go_on_sending(cx).is_err() || self.unwritable.is_some() {
                return Poll::Ready(false);
            }
            if self.outgoing.is_sent() { Poll::Ready(!self.is_spent) } else { Poll::Pending }
        })
        .await
    }

    /// The socket and what was read from it too early, once it carries something else.
    pub(super) fn into_raw(self) -> (Socket, Bytes) {
        (self.socket, self.incoming.bytes.freeze())
    }

    /// Whether the exchange is over and nothing came behind it, not even an end.
    fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        let heard = poll_fn(|cx| Pin::new(&mut self.socket).poll_read(cx, &mut ReadBuf::new(&mut byte)));
        // SECURITY: a task that has had its turn is told that nothing came, unless it asks in this way.
        let is_silent = pin!(unconstrained(heard)).poll(cx).is_pending();
        is_silent && self.is_answered() && self.incoming.bytes.is_empty()
    }

    /// Fails only if the request breaks off on its way here.
    fn go_on_sending(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if self.outgoing.is_sent() || self.unwritable.is_some() {
            return Ok(());
        }
        match self.outgoing.poll_send(cx, &mut self.socket) {
            Poll::Ready(Err(Interrupted::ByClient)) => return Err(Fault::Upload),
            Poll::Ready(Err(Interrupted::ByBackend(error))) => {
                self.unwritable = Some(error);
                self.is_spent = true;
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        Ok(())
    }

    fn begin_content(&mut self, response: &Response<()>) -> Result<(), ResponseFault> {
        self.is_answer_due = false;
        let (status, is_current) = (response.status(), response.version() == Version::HTTP_11);
        // What follows a switch is no content.
        let framing = match status {
            StatusCode::SWITCHING_PROTOCOLS => Framing::Length(0),
            _ => Framing::of(response.headers())?,
        };
        // RFC 9112 6.1: from a backend that does not know chunks, they are a fault.
        if framing == Framing::Chunked && !is_current {
            return Err(ResponseFault::Coding);
        }
        let is_bare = self.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.content = if is_bare { Content::NONE } else { Content::of(framing) };
        // A backend of HTTP/1.0 knows no chunked uploads: another request could be taken for one.
        self.is_spent |= !is_current || headers::closes_connection(response.headers());
        Ok(())
    }

    fn broken(&mut self, error: Option<io::Error>) -> Fault {
        self.is_spent = true;
        self.unwritable.take().or(error).map_or(Fault::Closed, Fault::Connection)
    }
}

/// Whether the answer proper is still to come (RFC 9110 section 15.2).
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Why there is no answer over HTTP/1.1, or no end of it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The backend closed the connection too early.
    #[error("the connection was closed")]
    Closed,
    /// The connection broke.
    #[error("the connection broke")]
    Connection(#[source] io::Error),
    /// The request broke off on its way here.
    #[error("the request broke off")]
    Upload,
    /// What came is no head of an answer, or one with too many fields.
    #[error("the head of the answer is not HTTP/1.1")]
    Head(#[source] httparse::Error),
    /// The head, or the section of trailers, is longer than anybody needs.
    #[error("the head of the answer is too long")]
    TooLong,
    /// What came is no chunk.
    #[error("the chunks of the answer are broken")]
    Chunk,
}

impl Fault {
    /// Whether the backend ended the connection instead of answering.
    pub(super) const fn is_hang_up(&self) -> bool {
        matches!(self, Self::Closed | Self::Connection(_))
    }
}
