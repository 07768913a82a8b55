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

/// A response body that holds its backend connection until it is read.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    lease: Option<Lease>,
    /// Ends with the response, so that nobody goes on talking to a backend that has hung up.
    conversation: Option<Conversation>,
    /// None for a stream of events, which may be silent for as long as it likes.
    stall: Option<Duration>,
}

impl UpstreamBody {
    pub(super) fn new(
        incoming: Incoming,
        lease: Lease,
        conversation: Option<Conversation>,
        stall: Option<Duration>,
    ) -> Self {
        let mut body = Self { incoming, lease: Some(lease), conversation, stall };
        if body.incoming.is_end_stream() {
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

    fn accept(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(lease) = &mut self.lease {
            lease.connection.timer.moved();
        }
        // Nobody polls again after the last byte of a body whose length is known.
        if self.incoming.is_end_stream() {
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

    /// Gives the connection up: what is left on it belongs to nobody.
    fn fail(&mut self, error: BodyError) -> BodyError {
        self.conversation = None;
        self.lease = None;
        error
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
        Poll::Ready(match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Some(Ok(this.accept(frame))),
            Poll::Ready(Some(Err(error))) => Some(Err(this.fail(BodyError::Broken(error)))),
            Poll::Ready(None) => {
                this.release();
                None
            }
            Poll::Pending => {
                let (Some(lease), Some(stall)) = (&mut this.lease, this.stall) else {
                    return Poll::Pending;
                };
                ready!(lease.connection.timer.poll(cx, stall));
                Some(Err(this.fail(BodyError::Stalled)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Why a response body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The backend closed the connection or sent what is no body.
    #[error("the backend broke off the response")]
    Broken(#[source] hyper::Error),
    /// The backend sent nothing for longer than allowed.
    #[error("the response stalled")]
    Stalled,
    /// The request would no longer be allowed.
    #[error("the request is no longer allowed")]
    Revoked,
}
