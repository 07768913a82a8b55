//! The body of a response on its way to the client, and the bounds of bodies.
//!
//! Invariants: the backend connection returns to the pool exactly when the response was read to its
//! end; a response that breaks off or stalls ends with an error, never as if it were complete.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::Line;
use super::http1;
use super::lease::Lease;
use super::trailers::TrailerFilter;
use super::upload::Conversation;

/// Bounds of the bodies of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request body; none = no limit.
    pub body_bytes: Option<u64>,
    /// How long the next piece of a body may take, in either direction.
    pub body_stall: Duration,
    /// Bytes a second that a client must send on average while it is waited for; 0 = any.
    pub min_rate: u64,
}

/// Where the content of a response comes from.
#[derive(Debug)]
pub(super) enum Content {
    /// From the connection, which carries nothing else.
    Own,
    /// From a stream of a connection that others use too.
    Shared(Incoming),
}

/// A response body that holds its backend connection until it is read.
#[derive(Debug)]
pub struct UpstreamBody {
    content: Content,
    /// Given back after the last of the content.
    lease: Option<Lease>,
    /// Ends with the response, so that nobody goes on talking to a backend that has hung up.
    conversation: Option<Conversation>,
    /// None for a stream of events, which may be silent for as long as it likes.
    stall: Option<Duration>,
    /// Why it broke off, until that is told.
    fault: Option<BodyError>,
}

impl UpstreamBody {
    pub(super) fn new(
        content: Content,
        lease: Lease,
        conversation: Option<Conversation>,
        stall: Option<Duration>,
    ) -> Self {
        let mut body = Self { content, lease: Some(lease), conversation, stall, fault: None };
        if body.is_end_stream() {
            body.release();
        }
        body
    }

    fn release(&mut self) {
        self.conversation = None;
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
    }

    fn own_connection(&self) -> Option<&http1::Connection> {
        match &self.lease.as_ref()?.connection.line {
            Line::Own(connection) => Some(connection),
            Line::Shared(_) => None,
        }
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match (&mut self.content, self.lease.as_mut().map(|lease| &mut lease.connection.line)) {
            (Content::Own, Some(Line::Own(connection))) => {
                connection.poll_frame(cx).map_err(BodyError::Http1)
            }
            (Content::Own, _) => Poll::Ready(None),
            (Content::Shared(incoming), _) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::Http2),
        }
    }

    fn accept(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(lease) = &mut self.lease {
            lease.connection.timer.moved();
        }
        // Nobody polls again after the last byte of a body whose length is known.
        if self.is_end_stream() {
            self.release();
        }
        match frame.into_trailers() {
            Ok(mut trailers) => {
                TrailerFilter::default().apply(&mut trailers);
                Frame::trailers(trailers)
            }
            Err(data) => data,
        }
    }

    /// Gives the connection up, because what is left on it belongs to nobody. That is told a turn later: who
    /// writes the response forgets at an error what it has not yet sent.
    fn fail(&mut self, error: BodyError, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.conversation = None;
        self.lease = None;
        self.fault = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(error) = this.fault.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match this.poll_content(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(this.accept(frame)))),
            Poll::Ready(Some(Err(error))) => this.fail(error, cx),
            Poll::Ready(None) => {
                this.release();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let (Some(lease), Some(stall)) = (&mut this.lease, this.stall) else {
                    return Poll::Pending;
                };
                ready!(lease.connection.timer.poll(cx, stall));
                this.fail(BodyError::Stalled, cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            _ if self.fault.is_some() => false,
            Content::Own => self.own_connection().is_none_or(http1::Connection::is_answered),
            Content::Shared(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own => {
                self.own_connection().map_or(SizeHint::with_exact(0), http1::Connection::size_hint)
            }
            Content::Shared(incoming) => incoming.size_hint(),
        }
    }
}

/// Why a response body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The backend closed the connection or sent what is no body, over HTTP/1.1.
    #[error("the backend broke off the response")]
    Http1(#[source] http1::Fault),
    /// The backend reset the stream, closed the connection or sent what is no body, over HTTP/2.
    #[error("the backend broke off the response")]
    Http2(#[source] hyper::Error),
    /// The backend sent nothing for longer than allowed.
    #[error("the response stalled")]
    Stalled,
    /// The request would no longer be allowed.
    #[error("the request is no longer allowed")]
    Revoked,
}
